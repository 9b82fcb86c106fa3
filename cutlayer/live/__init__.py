"""A room full of people: devices, phones among them, and what an attacker on the server sees of each right now."""
