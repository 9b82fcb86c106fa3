"""The device: head, defense, codec, and the client that sends requests."""
