"""How a tensor becomes bytes: one file for each codec."""
