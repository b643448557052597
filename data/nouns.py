"""Nouns of captions, and which nouns people use for the same thing, learned from annotated phrases.

Flickr30k Entities (Plummer et al. 2015, arXiv:1505.04870) mark the phrases of captions and number
what they name: the last word of a phrase is a noun, and two phrases with one number name one thing.
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
"""Times that a word ends a phrase, or two name one thing, before that counts."""
_MOSTLY = 0.5
"""Share of a noun's occurrences that end a phrase."""
_OFTEN = 0.1
"""Share of the things that the rarer of two nouns names which the other names as well."""
_NOTHING = {"notvisual", "something", "other", "others", "one", "ones"}
"""Kinds and words that name nothing to be seen."""
_PLURALS = {"men": "man", "women": "woman", "children": "child", "people": "person"}


class Nouns:
    """Nouns, each with the others that people use for the same thing.

    Args:
        same: by noun, singular; each of these is among the nouns.
        plurals: plural forms, and the noun that each is of.
    """

    def __init__(self, same: Mapping[str, frozenset[str]], plurals: Mapping[str, str]) -> None:
        self.same = same
        self._plurals = plurals

    def find(self, text: str) -> list[Mention]:
        """Return the nouns of a caption, in order, each as a mention of its singular."""
        names = (self.singular(plain(word)) for word in text.split())
        return [Mention(place, 1, name) for place, name in enumerate(names) if name in self.same]

    def known_from(self, text: str) -> set[str]:
        """Return the words of a reference, nouns as singulars, and other nouns for the same."""
        words = {self.singular(plain(word)) for word in text.split()}
        return words.union(*(self.same.get(word, ()) for word in words))

    def singular(self, word: str) -> str:
        """Return the singular of a noun; any other word as it is."""
        return self._plurals.get(word, word)


def load_nouns(path: Path, *, split: str = "train") -> Nouns:
    """Learn nouns from the captions of a split.

    Args:
        path: Flickr30k Entities, in the form that `data.boxes` shows.
        split: use another one for evaluation.

    Raises:
        DataError: the file is unreadable, of another form, or holds too little of this split.
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
            f"Boxes {path} are not those of Flickr30k Entities ({error!r}); see data/boxes.py."
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
            f"Boxes {path} hold too few phrases of split {split!r} to learn nouns from; give the "
            "whole file of Flickr30k Entities."
        )
    plurals = {noun: one for noun in nouns if (one := _singular(noun, nouns)) != noun}
    return Nouns(_same(nouns, plurals, things), plurals)


def _ends(sentence: Mapping[str, Any]) -> Iterator[tuple[str, list[str], str]]:
    """Yield the last word of each phrase, its kinds, and the number of what it names."""
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
    """Find out which nouns often name what another one names."""
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
