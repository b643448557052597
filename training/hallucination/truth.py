"""What a caption names, and whether its photo is known to show it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from data.coco import Record
from data.instances import Instances
from data.nouns import Nouns
from data.objects import Mention, ObjectWords, plain


class Naming(NamedTuple):
    """A name in a caption."""

    place: int
    """Of its last word in `text.split()`."""
    name: str
    """What is named."""
    invented: bool
    """Whether nothing says that the photo shows it."""


class Truth(Protocol):
    """Knows what photos show."""

    def judge(self, photo: int, text: str, *, without: int | None = None) -> list[Naming]:
        """Return what a caption names.

        Args:
            photo: number of the record.
            text: the caption.
            without: a reference that is not asked, the caption itself where people wrote it.
        """


class ObjectTruth:
    """COCO's objects: those with instances, and those that references name, are there.

    Args:
        records: photos and their references.
        words: finds objects in captions.
        instances: of these photos; without them, references alone are asked.
    """

    def __init__(
        self,
        records: Sequence[Record],
        words: ObjectWords,
        instances: Instances | None = None,
    ) -> None:
        self._words = words
        self._seen = [
            set(instances.of(record.image) or ()) if instances else set() for record in records
        ]
        self._said = [
            [{mention.name for mention in words.find(text)} for text in record.captions]
            for record in records
        ]

    def judge(self, photo: int, text: str, *, without: int | None = None) -> list[Naming]:
        """See `Truth`."""
        there = self._seen[photo].union(*_others(self._said[photo], without))
        return [_naming(own, invented=own.name not in there) for own in self._words.find(text)]


class NounTruth:
    """All nouns: those that references have, or another noun for the same thing, are there.

    Args:
        records: photos and their references.
        nouns: what counts as a noun, and which nouns name the same thing.
    """

    def __init__(self, records: Sequence[Record], nouns: Nouns) -> None:
        self._nouns = nouns
        self._said = [
            [{nouns.singular(plain(word)) for word in text.split()} for text in record.captions]
            for record in records
        ]

    def judge(self, photo: int, text: str, *, without: int | None = None) -> list[Naming]:
        """See `Truth`."""
        there: set[str] = set().union(*_others(self._said[photo], without))
        return [
            _naming(own, invented=there.isdisjoint({own.name, *self._nouns.same[own.name]}))
            for own in self._nouns.find(text)
        ]


def _others(said: Sequence[set[str]], without: int | None) -> list[set[str]]:
    return [names for number, names in enumerate(said) if number != without]


def _naming(mention: Mention, *, invented: bool) -> Naming:
    return Naming(mention.first + mention.words - 1, mention.name, invented)
