"""The questions that people ask of a machine and a model, each a sweep that answers it."""
