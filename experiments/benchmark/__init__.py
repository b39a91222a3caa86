"""Speed, as ratios of things measured in one process: ``make bench``, docs/benchmark.md."""
