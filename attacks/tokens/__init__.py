"""Attacks on smashed data that read the tokens of a sentence."""
