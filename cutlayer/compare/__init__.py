"""Two profiles side by side, for continuous integration."""
