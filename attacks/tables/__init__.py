"""Attacks on smashed data that read the columns of a row."""
