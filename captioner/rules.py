"""What a caption must say, must not say and must not repeat: the settings of a search, in ids."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from captioner.config import SearchConfig
from captioner.errors import ConfigError
from captioner.tokenizer import Tokenizer

Phrase = tuple[int, ...]
"""Ids that follow each other: a word, the pieces of one, or several words."""

_MOST_STATES = 16
"""A beam is kept for everything that may have been said already, so four words take 16 beams."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which words may follow which; without arguments, all.

    A word that would break a rule is passed over; the others keep the probability that the model
    gives them.
    """

    forbidden: tuple[Phrase, ...] = ()
    """Never said."""
    no_repeat: int = 0
    """No run of so many tokens is said twice; 0 lets all be said again."""
    no_end: Phrase = ()
    """A caption does not end with one of these."""
    required: tuple[Phrase, ...] = ()
    """All of these are said, in any order."""

    def broken_by(self, said: Sequence[int], *, end_id: int) -> set[int]:
        """Return the words that may not come next; what is required is another matter."""
        said = tuple(said)
        words = {last for *before, last in self.forbidden if _ends_with(said, tuple(before))}
        if any(_ends_with(said, (last,)) for last in self.no_end):
            words.add(end_id)
        if 0 < self.no_repeat <= len(said):
            latest = said[len(said) - self.no_repeat + 1 :]
            runs = (said[i : i + self.no_repeat] for i in range(len(said) - self.no_repeat + 1))
            words |= {run[-1] for run in runs if run[:-1] == latest}
        return words


NO_RULES = Rules()


def rules_of(config: SearchConfig, tokenizer: Tokenizer) -> Rules:
    """Look up the words that a search is to use and to avoid.

    A forbidden word that is not known needs no rule: it is never said.

    Raises:
        ConfigError: a required word is not known, or they are too many, or too long for a caption.
    """
    required = tuple(_required(text, tokenizer) for text in config.require)
    if math.prod(len(phrase) + 1 for phrase in required) > _MOST_STATES:
        raise ConfigError(
            f"search.require is {list(config.require)}; that is too much to look for at once, so "
            "leave some out (four words can be required, or fewer if they are long)."
        )
    if sum(map(len, required)) > config.max_words:
        raise ConfigError(
            f"search.require is {list(config.require)}, which does not fit into "
            f"search.max_words = {config.max_words}; raise it."
        )
    return Rules(
        forbidden=tuple(_known(config.forbid, tokenizer)),
        no_repeat=config.no_repeat,
        no_end=tuple(phrase[-1] for phrase in _known(config.no_end, tokenizer)),
        required=required,
    )


def _ends_with(said: Phrase, phrase: Phrase) -> bool:
    return said[len(said) - len(phrase) :] == phrase if len(phrase) <= len(said) else False


def _known(texts: Iterable[str], tokenizer: Tokenizer) -> list[Phrase]:
    """Return the ids of those texts that could be said at all."""
    phrases = [tuple(tokenizer.encode(text)) for text in texts]
    return [phrase for phrase in phrases if phrase and tokenizer.unk_id not in phrase]


def _required(text: str, tokenizer: Tokenizer) -> Phrase:
    for phrase in _known([text], tokenizer):
        return phrase
    near = tokenizer.similar(text)
    hint = f"did you mean {' or '.join(near)}?" if near else "choose another word."
    raise ConfigError(f"search.require: {text!r} is no word this model can say; {hint}")
