"""The baseline in transformers: an encoder-decoder as large as the shipped checkpoints."""

from typing import Any

import torch

WORDS = 3250
"""Vocabulary size of the shipped checkpoints."""
ENCODER_WIDTH, ENCODER_LAYERS, ENCODER_HEADS = 192, 12, 3
"""Width of ViT-Tiny."""
WIDTH, LAYERS, HEADS, FEEDFORWARD = 256, 3, 4, 1024
"""Layers of the shipped Transformer decoder."""
PAD, START, END = 0, 1, 2


def transformers() -> Any:
    """Import transformers, which takes seconds."""
    import transformers as package  # noqa: PLC0415

    return package


def build_peer(*, encoder_layers: int = ENCODER_LAYERS) -> Any:
    """Build a VisionEncoderDecoderModel of ViT and GPT-2 with random weights."""
    package = transformers()
    reads = package.ViTConfig(
        hidden_size=ENCODER_WIDTH,
        num_hidden_layers=encoder_layers,
        num_attention_heads=ENCODER_HEADS,
        intermediate_size=4 * ENCODER_WIDTH,
    )
    writes = package.GPT2Config(
        vocab_size=WORDS,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        n_inner=FEEDFORWARD,
        n_positions=64,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=PAD,
        add_cross_attention=True,
    )
    both = package.VisionEncoderDecoderConfig.from_encoder_decoder_configs(reads, writes)
    return package.VisionEncoderDecoderModel(both).eval()


def generation(*, beam: int, words: int) -> Any:
    """Return settings of `generate` that write exactly this many tokens."""
    return transformers().GenerationConfig(
        num_beams=beam,
        do_sample=False,
        min_new_tokens=words,
        max_new_tokens=words,
        decoder_start_token_id=START,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=PAD,
    )


@torch.inference_mode()
def caption_files(model: Any, files: list[str], *, beam: int, words: int, batch: int) -> int:
    """Caption photos in a plain loop over batches; return the number of tokens written."""
    from PIL import Image  # noqa: PLC0415

    processor = transformers().ViTImageProcessor()
    settings = generation(beam=beam, words=words)
    tokens = 0
    for start in range(0, len(files), batch):
        images = [Image.open(file).convert("RGB") for file in files[start : start + batch]]
        pixels = processor(images, return_tensors="pt")["pixel_values"]
        pixels = pixels.to(model.device, model.dtype)
        tokens += model.generate(pixels, generation_config=settings).numel()
    return tokens
