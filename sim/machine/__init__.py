"""Time passes here: device, links and clock, on SimPy."""
