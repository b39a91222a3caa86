"""Sweeps: points of a product of axes, run in many processes, stored as they finish."""
