"""Rooms below meet here: the parts of a run are found, checked and put together from its config."""
