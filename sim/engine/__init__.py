"""What a run decides (order, residency, loads) is here; time is not."""
