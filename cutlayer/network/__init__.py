"""The network between device and cloud where there is none yet: named ones, and two ways to have them."""
