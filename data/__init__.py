"""Captions and images for training; the images themselves are not in git."""
