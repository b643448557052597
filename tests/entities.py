"""Captions with annotated phrases, in the form of Flickr30k Entities."""

from collections.abc import Sequence
from typing import Any


def sentence(text: str, *phrases: tuple[str, str, str]) -> dict[str, Any]:
    """A caption; each phrase is (its words, number of what it names, kind)."""
    words = text.split()
    found = []
    for phrase, number, kind in phrases:
        own = phrase.split()
        first = next(n for n in range(len(words)) if words[n : n + len(own)] == own)
        found.append(
            {
                "first_word_index": first,
                "phrase": phrase,
                "phrase_id": number,
                "phrase_type": [kind],
            }
        )
    return {"text": text, "phrases": found}


def entry(split: str, *sentences: dict[str, Any], boxes: Sequence[str] = ()) -> dict[str, Any]:
    """A photo of 60 x 40 pixels; the things with these numbers fill its top left quarter."""
    return {
        "split": split,
        "orig_size": [60, 40],
        "boxes_orig_xyxy": {number: [[0, 0, 30, 20]] for number in boxes},
        "sentences": list(sentences),
    }


def pets() -> dict[str, Any]:
    """Three training photos that tell dogs, puppies, men and the sea, and one to test on."""
    table = {
        f"{number}.jpg": entry(
            "train",
            sentence(
                "a man with two dogs by the sea",
                ("a man", "1", "people"),
                ("two dogs", "2", "animals"),
                ("the sea", "3", "scene"),
            ),
            sentence(
                "a puppy and a dog see him", ("a puppy", "2", "animals"), ("him", "1", "people")
            ),
            sentence(
                "the red dog looks at the camera",
                ("the red dog", "2", "animals"),
                ("the camera", "0", "notvisual"),
            ),
            sentence("a red ball for a dog", ("a dog", "2", "animals")),
        )
        for number in range(3)
    }
    return {**table, "test.jpg": entry("test", sentence("a dog", ("a dog", "1", "animals")))}
