"""Emulated networks between device and cloud: named profiles, and two ways to emulate them."""
