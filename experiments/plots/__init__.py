"""Figures of a sweep, drawn from its results alone."""

import os
import sys

if "ipykernel" not in sys.modules:  # a notebook shows its own figures with the backend it names
    os.environ["MPLBACKEND"] = "agg"  # elsewhere one would be looked for, and is of no use here
