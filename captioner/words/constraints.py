"""Constraints of a search as token ids: required and forbidden phrases, n-gram blocking."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from captioner.config import SearchConfig
from captioner.errors import ConfigError
from captioner.words.tokenizer import Tokenizer

Phrase = tuple[int, ...]
"""Consecutive token ids: a word, its pieces, or several words."""

_MOST_STATES = 16
"""Maximum number of states of the constraint automaton, each with its own beam; four words need
16."""


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """Constraints of one search, as token ids.

    Tokens that would break a constraint are skipped; the others keep the model's probabilities.
    """

    prefix: tuple[int, ...]
    """Tokens before the first word: START and the prompt; not part of the result."""
    end_id: int
    """Token that finishes a caption; not part of the result."""
    never_written: tuple[int, ...] = ()
    """Tokens that are never generated, such as padding, START and unknown."""
    forbidden: tuple[Phrase, ...] = ()
    """Phrases that captions must not contain; one that ends in END must not end a caption."""
    no_repeat: int = 0
    """Size of the n-grams that must not repeat; 0 for none."""
    required: tuple[Phrase, ...] = ()
    """Phrases that captions must contain, in any order."""
    task: tuple[int, ...] = ()
    """Task that replaces the encoder's own; empty keeps that."""


def constraints_of(config: SearchConfig, tokenizer: Tokenizer) -> Constraints:
    """Convert the required, forbidden and prompt words of a search to token ids.

    Forbidden words outside the vocabulary are ignored: they are never generated.

    Raises:
        ConfigError: a required word or one of the prompt is not in the vocabulary; the required
            words are too many, or too long for a caption; or the prompt is a task.
    """
    required = tuple(_required(text, tokenizer) for text in config.require)
    if math.prod(len(phrase) + 1 for phrase in required) > _MOST_STATES:
        raise ConfigError(
            f"search.require is {list(config.require)}; that is too much for one search, so "
            "leave some out (four words can be required, or fewer if they are long)."
        )
    if sum(map(len, required)) > config.max_words:
        raise ConfigError(
            f"search.require is {list(config.require)}, which does not fit into "
            f"search.max_words = {config.max_words}; raise it."
        )
    endings = ((phrase[-1], tokenizer.end_id) for phrase in _known(config.no_end, tokenizer))
    return Constraints(
        prefix=tokenizer.behind(config.prompt).prefix,
        end_id=tokenizer.end_id,
        never_written=tuple(tokenizer.never_written),
        forbidden=(*_known(config.forbid, tokenizer), *endings),
        no_repeat=config.no_repeat,
        required=required,
    )


def _known(texts: Iterable[str], tokenizer: Tokenizer) -> list[Phrase]:
    """Return the ids of the texts that the vocabulary can express, in each spelling."""
    phrases = [tuple(ids) for text in texts for ids in tokenizer.spellings(text)]
    return [phrase for phrase in phrases if phrase and tokenizer.knows(phrase)]


def _required(text: str, tokenizer: Tokenizer) -> Phrase:
    for phrase in _known([text], tokenizer):
        return phrase
    near = tokenizer.similar(text)
    hint = f"did you mean {' or '.join(near)}?" if near else "choose another word."
    raise ConfigError(f"search.require: {text!r} is not in the vocabulary of this model; {hint}")
