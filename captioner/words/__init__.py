"""Text: tokenizer, writing systems, constraints."""
