"""The objects that a caption names, and whether its photo shows them."""

from collections.abc import Sequence
from typing import NamedTuple

from data.coco import Record
from data.instances import Instances
from data.objects import Names


class Naming(NamedTuple):
    """An object named in a caption."""

    place: int
    """Index of its last word in `text.split()`."""
    name: str
    """The object."""
    invented: bool
    """Whether nothing says that the photo shows it (a hallucination)."""


class Truth:
    """Knows what photos show: what references name, and what has instances.

    Args:
        records: photos and their references.
        names: what is looked for in captions.
        instances: of these photos; without them, references alone are asked.
    """

    def __init__(
        self, records: Sequence[Record], names: Names, instances: Instances | None = None
    ) -> None:
        self._names = names
        self._seen = [
            set(instances.of(record.image) or ()) if instances else set() for record in records
        ]
        self._said = [[names.known_from(text) for text in record.captions] for record in records]

    def judge(self, photo: int, text: str, *, without: int | None = None) -> list[Naming]:
        """Return the objects that a caption names.

        Args:
            photo: index of the record.
            text: the caption.
            without: index of a reference to ignore: the caption itself, where people wrote it.
        """
        said = (names for number, names in enumerate(self._said[photo]) if number != without)
        there = self._seen[photo].union(*said)
        return [
            Naming(own.first + own.words - 1, own.name, own.name not in there)
            for own in self._names.find(text)
        ]
