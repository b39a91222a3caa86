"""Figures of a sweep, drawn from its ``results.parquet`` alone."""

import os

os.environ["MPLBACKEND"] = "agg"  # a notebook's would be looked for, and is of no use here
