"""A client that trains."""
