"""Text: words to ids and back, the world's writing systems, constraints on the search."""
