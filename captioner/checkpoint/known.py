"""Captioners that others trained and people know, by short names.

Sizes, licences and scores are those that their pages and papers gave; what was not seen there is
None. CIDEr is on the Karpathy test split of COCO, by the decoding that each family recommends.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Known:
    """One line about a repository of the hub."""

    name: str
    """What to ask for it by."""
    address: str
    """hf:OWNER/NAME."""
    parameters: float
    """Millions of weights, encoder included."""
    megabytes: int | None
    """Of the weights that are fetched."""
    licence: str | None
    """Identifier on its page."""
    cider: float | None
    """Published, a fraction."""


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
    )
}
"""By name."""
