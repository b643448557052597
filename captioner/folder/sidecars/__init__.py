"""Captions beside photos and inside them."""
