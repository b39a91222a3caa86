"""What one day with a GPU measures: see ``experiments/gpu_day.sh``."""
