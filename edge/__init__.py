"""What runs on the device: head, defense, codec, and the client that sends."""
