"""Photos into sentences, with an attention map for every word.

    from captioner import Captioner

    caption = Captioner.load().caption("photo.jpg")
    print(caption.text)

Importing this package is instant: PyTorch is loaded with the first use of `Captioner`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner.checkpoint.shipped import list_checkpoints
    from captioner.config import AttentionConfig, SearchConfig
    from captioner.errors import CaptionerError
    from captioner.photo import load_photo, load_reduced
    from captioner.photo.framing import Geometry
    from captioner.pipeline import Captioner
    from captioner.result.caption import Caption, Word

__all__ = [
    "AttentionConfig",
    "Caption",
    "Captioner",
    "CaptionerError",
    "Geometry",
    "SearchConfig",
    "Word",
    "__version__",
    "list_checkpoints",
    "load_photo",
    "load_reduced",
]

__version__ = "0.1.0"

_HOMES = {
    "AttentionConfig": "config",
    "Caption": "result.caption",
    "Captioner": "pipeline",
    "CaptionerError": "errors",
    "Geometry": "photo.framing",
    "SearchConfig": "config",
    "Word": "result.caption",
    "list_checkpoints": "checkpoint.shipped",
    "load_photo": "photo",
    "load_reduced": "photo",
}
"""Module of each public name; it is imported with the first use of the name."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"captioner.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'captioner' has no attribute {name!r}")
