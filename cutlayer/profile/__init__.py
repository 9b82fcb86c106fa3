"""Where to cut a model on this device: every cut run for real, its costs, and the best one for each network."""
