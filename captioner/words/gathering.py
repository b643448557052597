"""Detokenization: tokens -> displayed words, by kind of vocabulary."""

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass

from captioner.words.writing import may_break

ENDINGS = frozenset(("'s", "'re", "'ve", "'ll", "'d", "'m", "n't"))
"""Possessives and contractions, split as in the Penn Treebank: man 's, do n't."""

_GLUE = frozenset("-/")
"""Pieces that join both neighbours: t - shirt."""
_GLUED = _GLUE | frozenset(",.!?;:'")
"""Pieces that join the one before."""


@dataclass(frozen=True)
class DisplayWord:
    """A displayed word, and the tokens it consists of."""

    text: str
    """The word, including endings such as 's."""
    tokens: tuple[int, ...]
    """Positions of its tokens among the ids, ascending."""
    spaced: bool = True
    """Whether a space separates it from the word before; false in Chinese, for example."""


def join_words(words: Iterable[DisplayWord]) -> str:
    """Join words to a sentence; if all are spaced, this is `" ".join` of their texts."""
    return "".join(" " * word.spaced + word.text for word in words).removeprefix(" ")


def gather_words(tokens: list[tuple[int, str]]) -> list[DisplayWord]:
    """Join possessives and contractions to their words."""
    words: list[DisplayWord] = []
    for position, token in tokens:
        if words and token in ENDINGS:
            stem = words.pop()
            words.append(DisplayWord(stem.text + token, (*stem.tokens, position)))
        else:
            words.append(DisplayWord(token, (position,)))
    return words


def gather_wordpieces(tokens: list[tuple[int, str]]) -> list[DisplayWord]:
    """Join BERT's word pieces: ## continues a word, and punctuation stands between words."""
    words: list[DisplayWord] = []
    glued = True  # whether the next piece belongs to the word before
    for position, token in tokens:
        piece = token.removeprefix("##")
        before = words[-1].text if words else ""
        ends = tuple(ENDINGS) if before != "o'" else piece  # dogs ' tails stay apart
        shortened = before.endswith("'") and (before + piece).endswith(ends)
        if words and (glued or shortened or piece != token or piece in _GLUED):
            last = words.pop()
            words.append(DisplayWord(last.text + piece, (*last.tokens, position)))
        else:
            words.append(DisplayWord(piece, (position,)))
        glued = piece in _GLUE
    return words


def gather_pieces(tokens: list[tuple[int, str]]) -> list[DisplayWord]:
    """Join byte-level pieces to words: at spaces, or at every character in unspaced writing."""
    words: list[DisplayWord] = []
    waiting: tuple[int, ...] = ()  # tokens that show nothing go with the next word
    space = False
    for text, positions in _whole_characters(tokens):
        waiting += positions
        space = space or text[:1] == " "
        shown = " ".join(text.split())
        if shown:
            if words and not space and not may_break(words[-1].text[-1], shown[0]):
                last = words.pop()
                shown, waiting, space = last.text + shown, last.tokens + waiting, last.spaced
            words.append(DisplayWord(shown, waiting, spaced=space))
            waiting = ()
            space = text[-1] == " "
    if words and waiting:
        last = words.pop()
        words.append(DisplayWord(last.text, last.tokens + waiting, spaced=last.spaced))
    return words


def _whole_characters(tokens: list[tuple[int, str]]) -> list[tuple[str, tuple[int, ...]]]:
    """Decode tokens to text, together if a character is spread over several of them.

    Bytes that are not UTF-8 are dropped; control characters become spaces.
    """
    spelled: list[tuple[str, tuple[int, ...]]] = []
    decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
    text = ""
    positions: tuple[int, ...] = ()
    for position, token in tokens:
        text += decoder.decode(bytes(BYTES[c] for c in token))
        positions += (position,)
        if not decoder.getstate()[0]:
            spelled.append((text, positions))
            text, positions = "", ()
    spelled.append((text, positions))
    blank = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")
    return [(blank.sub(" ", text), at) for text, at in spelled]


def capitalise(word: DisplayWord) -> DisplayWord:
    """Capitalise a word, unless it contains a capital."""
    if any(c.isupper() for c in word.text):  # iPad
        return word
    return DisplayWord(word.text[0].title() + word.text[1:], word.tokens, word.spaced)


def _byte_alphabet() -> dict[str, int]:
    """Return the byte for each character of byte-level pieces: itself if printable in Latin-1.

    Source: byte-level BPE of GPT-2 (Radford et al. 2019), as in `tokenizers`.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


BYTES = _byte_alphabet()
