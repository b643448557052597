"""Tokenizer: text to token ids and back.

A `Tokenizer` is trained on captions, on whole words or on subwords, or comes with a pretrained
model. It is stored as JSON in the checkpoint. Text is encoded by Hugging Face `tokenizers`;
`gathering` turns tokens back into words.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers

from captioner.errors import CheckpointError, ConfigError, DataError, wrap_library_errors
from captioner.words.gathering import (
    BYTES,
    DisplayWord,
    capitalise,
    gather_pieces,
    gather_wordpieces,
    gather_words,
    join_words,
)
from captioner.words.writing import is_unspaced

# Neither a word nor the alphabet of bytes holds an angle bracket, so no text encodes to a special.
SPECIALS = ("⟨pad⟩", "⟨start⟩", "⟨end⟩", "⟨unk⟩")

# Possessives and contractions are words of their own, as in the Penn Treebank: man 's, do n't.
_ENDING = r"'(?:s|re|ve|ll|d|m)\b"
_NEGATION = r"n't\b"

_LETTER = r"[\p{L}\p{M}\p{N}]"
_WORD = (
    rf"{_NEGATION}|{_ENDING}|{_LETTER}+?(?={_NEGATION})|"
    # t-shirt, o'clock and 7:30 stay whole.
    rf"{_LETTER}+(?:(?:-|'(?!t\b)(?!(?:s|re|ve|ll|d|m)\b)|(?<=\p{{N}})[.,:](?=\p{{N}})){_LETTER}+)*"
)

_STOPS = ".,!?;:)\u060c\u061b\u061f\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f"
"""Punctuation without a space before it, including Arabic and Chinese."""
_DIRECTIONS = "[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
"""Invisible characters that set the text direction; letters imply it already."""
_LONGEST_PIECE = 16
"""Maximum size of a piece in bytes: enough for nearly any English word, or five Chinese characters.
Without spaces to end it, a piece would grow to a whole caption that occurs twice."""

TASKS = {
    "<CAPTION>": "What does the image describe?",
    "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
    "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
}
"""Prompts that stand for questions to Florence-2's encoder, for captions, from its authors'
processing_florence2.py."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Ids of special tokens; the defaults are those of vocabularies trained here."""

    pad: int = 0
    """Padding."""
    start: int = 1
    """First token of every caption."""
    end: int = 2
    """Token that ends a caption; may equal `start`."""
    unk: int | None = 3
    """Unknown word; None if every text can be encoded."""
    then: tuple[int, ...] = ()
    """Tokens after `start` in every caption."""
    others: tuple[int, ...] = ()
    """Further ids that never occur in captions, such as mask tokens."""


class Tokenizer:
    """Encodes text as token ids, and decodes ids to words.

    Args:
        engine: tokenizer of the library.
        marks: ids of special tokens; by default the first four.
    """

    def __init__(self, engine: tokenizers.Tokenizer, marks: Marks | None = None) -> None:
        self._engine = engine
        ids = engine.get_vocab()
        self._vocabulary = sorted(ids, key=ids.__getitem__)
        self._gather = _GATHER[type(engine.model)]
        self.marks = marks = marks or Marks()
        self.pad_id, self.start_id, self.end_id = marks.pad, marks.start, marks.end
        self.unk_id = marks.unk
        self.prefix = (marks.start, *marks.then)
        """Tokens before the first word of every caption."""
        self._space = ""
        unknown = () if marks.unk is None else (marks.unk,)
        self._hidden = frozenset({marks.pad, *self.prefix, marks.end, *unknown, *marks.others})
        self.never_written = tuple(sorted(self._hidden - {marks.end}))
        """Ids that are never generated; END is, and ends the caption."""

    @classmethod
    def train_words(cls, captions: Iterable[str], *, min_count: int) -> "Tokenizer":
        """Train a vocabulary of words that occur `min_count` times or more, most frequent first.

        Words are lower-case, without punctuation, as in scoring.

        Raises:
            ConfigError: `min_count` is below 1, or exceeds the count of every word; or the captions
                have no spaces between words, as in Chinese.
            DataError: there are no captions.
        """
        if min_count < 1:
            raise ConfigError(f"min_count is {min_count}; it must be 1 or more.")
        engine = _words_engine({})
        read, split = engine.normalizer.normalize_str, engine.pre_tokenizer.pre_tokenize_str
        counts: Counter[str] = Counter()
        for part, n in Counter(x for caption in captions for x in caption.split(" ")).items():
            for word, _ in split(read(part)):
                counts[word] += n
        if not counts:
            raise DataError("There are no words to learn: the captions are missing or empty.")
        if sum(n for word, n in counts.items() if is_unspaced(word[0])) > counts.total() / 2:
            raise ConfigError(
                "The captions have no spaces between words, so whole sentences would be learned "
                'as words; learn subwords instead: data.words = "bpe".'
            )
        most = max(counts.values())
        if most < min_count:
            raise ConfigError(
                f"min_count is {min_count}, but the most frequent word occurs only {most} times; "
                f"choose {most} or less."
            )
        frequent = sorted(w for w, n in counts.items() if n >= min_count)
        frequent.sort(key=counts.__getitem__, reverse=True)
        return cls(_words_engine(_number(frequent)))

    @classmethod
    def train_bpe(cls, captions: Iterable[str], *, vocabulary: int) -> "Tokenizer":
        """Train a byte-level BPE vocabulary, which covers any text in any language.

        Source: Sennrich et al. 2016 (arXiv:1508.07909), on the bytes of UTF-8.

        Args:
            captions: texts to train on.
            vocabulary: maximum number of ids, including 4 special tokens and 256 bytes.

        Raises:
            ConfigError: `vocabulary` is too small for special tokens and bytes.
            DataError: there are no captions.
        """
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        least = len(SPECIALS) + len(alphabet)
        if vocabulary < least:
            raise ConfigError(f"vocabulary is {vocabulary}; it must be {least} or more.")
        texts = [caption for caption in captions if caption.strip()]
        if not texts:
            raise DataError("There are no subwords to learn: the captions are missing or empty.")
        engine = _pieces_engine(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary - len(SPECIALS),
            min_frequency=2,
            initial_alphabet=alphabet,
            max_token_length=_LONGEST_PIECE,
            show_progress=False,
        )
        engine.train_from_iterator(texts, trainer)
        # Special tokens would be matched in every text, so the specials are added as plain ids.
        learned = json.loads(engine.to_str())["model"]
        pieces = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
        merges = [tuple(pair) for pair in learned["merges"]]
        model = models.BPE(vocab=_number(pieces), merges=merges)
        return cls(_pieces_engine(model))

    @classmethod
    def from_json(cls, text: str, marks: Marks | None = None) -> "Tokenizer":
        """Read what `to_json` returned.

        Args:
            text: JSON.
            marks: special tokens of a pretrained vocabulary.

        Raises:
            CheckpointError: the text is not a tokenizer, or one of another program without `marks`.
        """
        with _explained():
            engine = tokenizers.Tokenizer.from_str(text)
            engine.no_padding()
            engine.no_truncation()
        if type(engine.model) not in _GATHER:
            raise CheckpointError(
                f"The checkpoint's tokenizer is of type {type(engine.model).__name__}; choose one "
                f"of type {' or '.join(kind.__name__ for kind in _GATHER)}."
            )
        tokenizer = cls(engine, marks)
        tokenizer.encode(f"a {SPECIALS[3]}")  # it is seen now whether unknown words have an id
        if marks is None and tuple(tokenizer._vocabulary[: len(SPECIALS)]) != SPECIALS:
            raise CheckpointError(
                f"The checkpoint's vocabulary does not begin with {', '.join(SPECIALS)}; "
                "its tokenizer comes from another program."
            )
        tokenizer._check_vocabulary()
        return tokenizer

    def _check_vocabulary(self) -> None:
        """Check that every id below the vocabulary size can be decoded.

        Raises:
            CheckpointError: an id is missing, also of a special token, or a token is empty or not
                bytes.
        """
        outside = self._hidden - set(range(len(self)))
        if outside:
            raise CheckpointError(
                f"The checkpoint's vocabulary has no id {min(outside)}, which its header gives to "
                "a special token. Download or save it again."
            )
        ids, bytewise = self._engine.get_vocab(), self._gather is gather_pieces
        for number, token in enumerate(self._vocabulary):
            written = number in self._hidden or not bytewise or BYTES.keys() >= set(token)
            if ids[token] != number or not token or not written:
                raise CheckpointError(
                    f"The checkpoint's vocabulary is damaged at {token!r}, id {ids[token]}. "
                    "Download or save it again."
                )

    def to_json(self) -> str:
        """Serialise to JSON, deterministically."""
        return self._engine.to_str()

    def is_same(self, other: "Tokenizer") -> bool:
        """Whether both map every text to the same ids, and every id to the same text."""
        return self.marks == other.marks and self.to_json() == other.to_json()

    def __len__(self) -> int:
        """Vocabulary size, special tokens included."""
        return len(self._vocabulary)

    def behind(self, prompt: str) -> "Tokenizer":
        """Return a tokenizer for captions that continue a prompt, which becomes part of the prefix.

        Raises:
            ConfigError: the prompt has a word outside the vocabulary, or is a task for an encoder.
        """
        if prompt in TASKS:
            raise ConfigError(
                f"search.prompt is {prompt!r}, a task of Florence-2, which this model does not "
                "have; leave it out."
            )
        ids = self.encode(prompt.strip())
        if not self.knows(ids):
            raise ConfigError(
                f"search.prompt is {prompt!r}, which has a word that this model does not know; "
                "use other words, or leave it out."
            )
        other = copy(self)
        other.prefix, other._space = (*self.prefix, *ids), " " if ids else self._space
        return other

    def encode(self, text: str) -> list[int]:
        """Encode a caption as ids, without prefix and END; unknown words become UNK.

        Raises:
            CheckpointError: a malicious tokenizer fails on this text.
        """
        return self._encode(self._space + text.lstrip() if self._space and text.strip() else text)

    def encode_each(self, captions: Iterable[Iterable[str]]) -> Iterator[list[list[int]]]:
        """Encode the captions of many images as `encode` does, encoding each word only once.

        Raises:
            CheckpointError: as in `encode`.
        """
        if self._gather is gather_pieces:  # pieces depend on their context
            yield from ([self.encode(text) for text in own] for own in captions)
            return
        read = cache(self._encode)
        for own in captions:
            yield [[i for part in text.split(" ") for i in read(part)] for text in own]

    def _encode(self, text: str) -> list[int]:
        with _explained():
            return self._engine.encode(text, add_special_tokens=False).ids

    def spellings(self, text: str) -> list[list[int]]:
        """Return the ids of a text inside a caption, and at its beginning if they differ."""
        first, within = (self._encode(space + text.strip()) for space in ("", " "))
        return [within] if within == first else [within, first]

    def knows(self, ids: Iterable[int]) -> bool:
        """Whether none of the ids is a special token, such as UNK."""
        return self._hidden.isdisjoint(ids)

    def similar(self, word: str) -> list[str]:
        """Return words with a similar spelling; none for subword vocabularies."""
        if self._gather is not gather_words:
            return []
        return get_close_matches(word.lower(), self._vocabulary[len(SPECIALS) :], n=3)

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids to a sentence."""
        return join_words(self.words(ids))

    def words(self, ids: Sequence[int]) -> list[DisplayWord]:
        """Decode ids to displayed words; the first is capitalised.

        Special tokens, UNK included, are dropped. Every other token belongs to one word, unless the
        whole caption decodes to nothing visible.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        for i in ids:
            if not 0 <= i < len(self):
                raise ValueError(f"Id {i} is outside the vocabulary of {len(self)}.")
        tokens = [(p, self._vocabulary[i]) for p, i in enumerate(ids) if i not in self._hidden]
        words = self._gather(tokens)
        return [capitalise(words[0]), *words[1:]] if words else []


_GATHER = {
    models.WordLevel: gather_words,
    models.BPE: gather_pieces,
    models.WordPiece: gather_wordpieces,
}
"""Functions that join tokens to words, by model of the vocabulary."""


def _explained() -> AbstractContextManager[None]:
    """Turn errors of the library about a stored tokenizer into a CheckpointError."""
    return wrap_library_errors(  # it raises nothing narrower than Exception, or panics
        CheckpointError,
        lambda error: (
            f"The checkpoint's tokenizer cannot be read: {error}. Download or save it again."
        ),
    )


def _number(tokens: Iterable[str]) -> dict[str, int]:
    return {token: i for i, token in enumerate((*SPECIALS, *tokens))}


def _words_engine(vocabulary: dict[str, int]) -> tokenizers.Tokenizer:
    engine = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIALS[3]))
    engine.normalizer = normalizers.Sequence(
        [
            # Before NFKC, which would take the acute accent apart.
            normalizers.Replace(Regex("[\u2018\u2019\u201b\u02bc\u00b4`]"), "'"),
            normalizers.NFKC(),
            normalizers.Lowercase(),
        ]
    )
    engine.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    return engine


def _pieces_engine(model: models.BPE) -> tokenizers.Tokenizer:
    engine = tokenizers.Tokenizer(model)
    engine.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(Regex(_DIRECTIONS), ""),
            normalizers.Replace(Regex(r"[\s\p{Cc}]+"), " "),
            # Captions are often published with their words already set apart: "the dog 's ball ."
            normalizers.Replace(Regex(rf" (?=[{_STOPS}]|{_ENDING}|{_NEGATION})"), ""),
            # Some captions end with a full stop and some do not; it would say nothing.
            normalizers.Replace(Regex(r"[.。।\u06d4]+\s*$"), ""),
            normalizers.Strip(),
        ]
    )
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return engine
