"""Defenses of what a model's answers and weights tell of the samples it was trained on."""
