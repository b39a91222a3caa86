"""Durations, from model shape and profile, and what else is in memory."""
