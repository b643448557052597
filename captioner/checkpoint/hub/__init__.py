"""Checkpoints on the Hugging Face hub: `hf:owner/name` -> files, and a checkpoint -> a repository.

A repository of ours holds `model.safetensors`, optionally its ONNX graphs, and the model card
`README.md`. Pretrained captioners are read too; pickled weights by PyTorch's restricted unpickler
only.

    fetch      hf:owner/name@revision -> files in the hub's local cache
    backbones  weights of timm's encoders
    card       header and README -> a card with the metadata that the hub shows
    push       checkpoint and card -> a repository
"""
