"""Figures of a sweep, drawn from its ``results.parquet`` alone."""
