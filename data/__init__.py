"""Captions and photos for training; the photos themselves are not in git."""
