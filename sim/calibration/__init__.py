"""Measures the machine at hand and makes profiles of it: what ``hardware calibrate`` does."""
