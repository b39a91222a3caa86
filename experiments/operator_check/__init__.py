"""Operators of the paper's models, measured one by one, against figures calibrated from them."""
