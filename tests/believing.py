"""What checkpoints of toys know about how far they can be believed."""

from captioner.checkpoint.confidence import ConfidenceConfig, LogisticConfig

KNOWN = ConfidenceConfig(
    token=LogisticConfig(weights=(0.5, -0.5), bias=-1.0),
    doubtful=0.2,
    caption=LogisticConfig(weights=(1.0, 0.5, 0.25), bias=1.0),
    medium=0.3,
    high=0.6,
    photo=LogisticConfig(weights=(2.0, -1.0, 0.5), bias=0.25),
    threshold=0.4,
)
"""For images whose summary has three numbers."""
