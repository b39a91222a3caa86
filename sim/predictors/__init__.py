"""Predictors: one file each, from what is known so far to the experts of a layer still to come."""
