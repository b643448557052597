"""Checkpoints: header and weights in one file, found by name, path or on the hub."""
