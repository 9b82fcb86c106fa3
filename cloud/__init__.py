"""The server: tail, service, tap."""
