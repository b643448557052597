"""Well-known pretrained captioners, by short names.

Sizes, licences and scores are those of their pages and papers; None if not stated there. CIDEr is
on the Karpathy test split of COCO, with each family's recommended decoding.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Known:
    """Summary of a repository on the hub."""

    name: str
    """Name to load it by."""
    address: str
    """hf:OWNER/NAME."""
    parameters: float
    """Millions of parameters, encoder included."""
    megabytes: int | None
    """Size of the download in megabytes."""
    licence: str | None
    """Licence identifier on its page."""
    cider: float | None
    """Published CIDEr, a fraction."""


KNOWN = {
    known.name: known
    for known in (
        Known(
            name="blip-base",
            address="hf:Salesforce/blip-image-captioning-base",
            parameters=224.0,
            megabytes=990,
            licence="bsd-3-clause",
            cider=1.335,  # LAVIS, docs/benchmark.rst
        ),
        Known(
            name="blip-large",
            address="hf:Salesforce/blip-image-captioning-large",
            parameters=446.3,
            megabytes=1880,
            licence="bsd-3-clause",
            cider=1.367,  # LAVIS, dataset card of COCO
        ),
        Known(
            name="florence-2-base-ft",
            address="hf:florence-community/Florence-2-base-ft",
            parameters=231.5,
            megabytes=None,
            licence="mit",
            cider=1.400,  # model card
        ),
        Known(
            name="florence-2-large-ft",
            address="hf:florence-community/Florence-2-large-ft",
            parameters=770.3,
            megabytes=None,
            licence="mit",
            cider=1.433,  # model card
        ),
        Known(
            name="git-base-coco",
            address="hf:microsoft/git-base-coco",
            parameters=176.6,
            megabytes=707,
            licence="mit",
            cider=1.314,  # README of the authors' code
        ),
        Known(
            name="git-large-coco",
            address="hf:microsoft/git-large-coco",
            parameters=394.2,
            megabytes=1580,
            licence="mit",
            cider=1.3845,  # README of the authors' code
        ),
        Known(
            name="vit-gpt2",
            address="hf:nlpconnect/vit-gpt2-image-captioning",
            parameters=238.7,
            megabytes=982,
            licence="apache-2.0",
            cider=None,
        ),
    )
}
"""By name."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Measured speed of beam search on the machine of benchmarks/README.md."""

    photos_per_second: float
    cores: int


SPEEDS = {
    "vit-tiny-transformer": Speed(photos_per_second=90.9, cores=2),
    "vit-tiny-lstm": Speed(photos_per_second=97.9, cores=2),
    # With random weights of that size, 20 words:
    "blip-base": Speed(photos_per_second=0.62, cores=1),
    "git-base-coco": Speed(photos_per_second=1.3, cores=1),
}
"""Measured speeds by checkpoint name; others are unknown."""
