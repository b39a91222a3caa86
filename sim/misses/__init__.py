"""What to do with experts that are missing when their layer is routed: one file a policy."""
