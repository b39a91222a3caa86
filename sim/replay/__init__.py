"""A real device stands here beside the simulated one: it takes the same decisions, in real time."""
