"""A model as one file: header, weights, where files are found, the hub."""
