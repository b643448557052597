"""Recipes to train, evaluate and score captioners, run with `python -m training.<name>`."""
