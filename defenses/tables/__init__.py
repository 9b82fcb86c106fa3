"""Defenses of what a model trained on a table tells about columns of its rows."""
