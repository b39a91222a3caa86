"""Prefetch policies: one file each, from a prediction to the experts worth loading now."""
