"""Scores of reconstructions, and the intervals around them."""
