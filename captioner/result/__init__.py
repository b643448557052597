"""Results of captioning, from the candidates of a search to a `Caption`."""
