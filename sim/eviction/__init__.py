"""Evictions: one file each, a score per resident expert; the lowest score leaves first."""
