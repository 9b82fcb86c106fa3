"""Defenses of updates: what a client does so that its gradients or weights tell less of its samples."""
