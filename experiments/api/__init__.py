"""What ``import prefetch_sim`` gives in Python: docs/python.md."""
