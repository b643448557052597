"""Metrics whose scores a checkpoint may hold."""

METRICS = {
    **{f"Bleu_{n}": f"BLEU-{n}" for n in range(1, 5)},
    "METEOR": "METEOR",
    "ROUGE_L": "ROUGE-L",
    "CIDEr": "CIDEr",
    "SPICE": "SPICE",
}
"""coco-caption's key of each metric -> the metric's usual name."""
