"""Data sets as arrays in [0, 1], each cut into four disjoint parts."""
