"""Attacks on answers: what a party that only asks a model learns of the data behind it."""
