"""Two runs of the same requests side by side: how far apart, whether really, and what it is of."""
