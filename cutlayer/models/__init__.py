"""Models by name, where they can be cut, and the two halves in every form that travels."""
