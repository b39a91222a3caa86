"""Measured against simulated: the same policies over the same trace, on a real device and not."""
