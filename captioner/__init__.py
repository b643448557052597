"""Photos into sentences, and where the model looked for every word.

    from captioner import Captioner

    caption = Captioner.load().caption("photo.jpg")
    print(caption.text)

Importing this package is instant: PyTorch is loaded with the first use of `Captioner`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner.pipeline import Caption, Captioner

__all__ = ["Caption", "Captioner", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("Caption", "Captioner"):
        from captioner import pipeline  # noqa: PLC0415  # loaded on first use

        return getattr(pipeline, name)
    raise AttributeError(f"module 'captioner' has no attribute {name!r}")
