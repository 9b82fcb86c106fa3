"""Pages and terminal tables of runs and of profiles, from their records alone."""
