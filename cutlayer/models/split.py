"""A model as two halves."""
