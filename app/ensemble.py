"""An ensemble among the models to choose from; loaded on first use, since it imports PyTorch."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner import Captioner


class LazyEnsemble:
    """A lazily loaded ensemble with the interface of `Captioner`.

    Args:
        members: models of the ensemble.
        load: loads the ensemble.
    """

    def __init__(self, members: "Sequence[Captioner]", load: "Callable[[], Captioner]") -> None:
        name = " + ".join(member.header.name for member in members)
        self.header = replace(members[0].header, name=name)
        self._load = load

    @cached_property
    def _loaded(self) -> "Captioner":
        return self._load()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loaded, name)
