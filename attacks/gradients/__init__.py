"""Attacks on updates: what a party that sees only gradients or weights learns of the data behind them."""
