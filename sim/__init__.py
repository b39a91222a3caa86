"""The simulator: a forward pass over a recorded trace, on modelled hardware."""
