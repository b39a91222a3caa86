"""Time: device, links and clock, on SimPy."""
