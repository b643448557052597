"""What captioning an image returns, from the candidates of a search to a `Caption`."""
