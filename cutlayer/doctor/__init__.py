"""Checks of what a device needs, each with advice."""
