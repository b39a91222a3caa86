"""The package: the folders of the repository under one import name."""
