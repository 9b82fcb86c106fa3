"""What runs on the server: tail, service, tap."""
