"""Decisions of a run: order, residency, loads. No clock of its own."""
