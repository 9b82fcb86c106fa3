"""Networks between device and cloud where there is none: named ones, and two ways to emulate them."""
