"""The vocabulary of a config, its files and errors, and what a name means."""
