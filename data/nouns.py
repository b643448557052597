"""Nouns in captions and their synonyms, learned from annotated phrases.

Flickr30k Entities (Plummer et al. 2015, arXiv:1505.04870) marks phrases in captions and numbers the
objects they name: the last word of a phrase is a noun, and two phrases with the same number name
the same object.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from captioner.errors import DataError
from data.boxes import read_json
from data.objects import Mention, plain

_LEAST = 3
"""Minimum number of phrases that end in a word, or of objects that two words both name."""
_MOSTLY = 0.5
"""Minimum fraction of a noun's occurrences that end a phrase."""
_OFTEN = 0.1
"""Synonyms: minimum fraction of the rarer noun's objects that the other one names, too."""
_NOTHING = {"notvisual", "something", "other", "others", "one", "ones"}
"""Phrase types and words that name nothing visible."""
_PLURALS = {"men": "man", "women": "woman", "children": "child", "people": "person"}


class Nouns:
    """Nouns and their synonyms.

    Args:
        same: singular noun -> its synonyms, which are nouns themselves.
        plurals: plural form -> singular.
    """

    def __init__(self, same: Mapping[str, frozenset[str]], plurals: Mapping[str, str]) -> None:
        self.same = same
        self._plurals = plurals

    def find(self, text: str) -> list[Mention]:
        """Return the nouns of a caption in order, as mentions of their singular."""
        names = (self.singular(plain(word)) for word in text.split())
        return [Mention(index, 1, name) for index, name in enumerate(names) if name in self.same]

    def known_from(self, text: str) -> set[str]:
        """Return the words of a reference, nouns as singulars, and other nouns for the same."""
        words = {self.singular(plain(word)) for word in text.split()}
        return words.union(*(self.same.get(word, ()) for word in words))

    def singular(self, word: str) -> str:
        """Return the singular of a noun, and any other word unchanged."""
        return self._plurals.get(word, word)


def load_nouns(path: Path, *, split: str = "train") -> Nouns:
    """Learn nouns from the captions of a split.

    Args:
        path: Flickr30k Entities, in the format of `data.boxes`.
        split: split to learn from; evaluate on another one.

    Raises:
        DataError: the file cannot be read, is malformed, or has too few phrases in this split.
    """
    table = read_json(path)
    endings: Counter[str] = Counter()
    unseen: Counter[str] = Counter()
    occurrences: Counter[str] = Counter()
    things: list[set[str]] = []
    try:
        for entry in table.values():
            if entry["split"] == split:
                named: dict[str, set[str]] = defaultdict(set)
                for sentence in entry["sentences"]:
                    occurrences.update(plain(word) for word in sentence["text"].split())
                    for noun, kinds, number in _ends(sentence):
                        endings[noun] += 1
                        unseen[noun] += not _NOTHING.isdisjoint(kinds)
                        named[number].add(noun)
                things += [nouns for number, nouns in named.items() if str(number) != "0"]
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(
            f"Boxes {path} are not Flickr30k Entities; data/boxes.py shows the format."
        ) from error
    nouns = {
        noun
        for noun, count in endings.items()
        if count >= max(_LEAST, _MOSTLY * occurrences[noun])
        and unseen[noun] < _MOSTLY * count
        and noun not in _NOTHING
    }
    if not nouns:
        raise DataError(
            f"Boxes {path} have too few phrases in split {split!r} to learn nouns from; use the "
            "complete file of Flickr30k Entities."
        )
    plurals = {noun: one for noun in nouns if (one := _singular(noun, nouns)) != noun}
    return Nouns(_same(nouns, plurals, things), plurals)


def _ends(sentence: Mapping[str, Any]) -> Iterator[tuple[str, list[str], str]]:
    """Yield the last word of each phrase, its types, and the number of the object it names."""
    for phrase in sentence["phrases"]:
        yield plain(phrase["phrase"].split()[-1]), phrase["phrase_type"], phrase["phrase_id"]


def _singular(noun: str, nouns: set[str]) -> str:
    forms = [_PLURALS.get(noun, "")]
    if noun.endswith("s"):
        forms += [noun[:-1], noun[:-2], f"{noun[:-3]}y"]
    return next((form for form in forms if form in nouns), noun)


def _same(
    nouns: set[str], plurals: Mapping[str, str], things: list[set[str]]
) -> dict[str, frozenset[str]]:
    """Find pairs of nouns that often name the same object."""
    counts: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for thing in things:
        here = sorted({plurals.get(noun, noun) for noun in thing & nouns})
        counts.update(here)
        pairs.update(combinations(here, 2))
    same: dict[str, set[str]] = {plurals.get(noun, noun): set() for noun in nouns}
    for (one, other), count in pairs.items():
        if count >= max(_LEAST, _OFTEN * min(counts[one], counts[other])):
            same[one].add(other)
            same[other].add(one)
    return {noun: frozenset(others) for noun, others in same.items()}
