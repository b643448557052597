"""Checkpoints on the Hugging Face hub: `hf:owner/name` -> a file, and a checkpoint -> a repository.

A repository holds `model.safetensors` and its card, `README.md`; nothing else is read or written,
and nothing is ever unpickled.

fetch      hf:owner/name@revision -> the file in the hub's local cache
card       header and README -> a card with the metadata that the hub shows
push       checkpoint and card -> a repository
"""
