"""Search for captions: greedy, beam and sampling, written once for any decoder.

Search knows words, hypotheses and probabilities; it never asks which decoder it has, and it carries
no attention: read the winner back with `decoder.forward(..., with_attention=True)`.

A word's probability is the softmax of the decoder's logits over the words that are not forbidden,
whatever the method: temperature, top-k, top-p and rules decide what is taken, not what is reported.

Each image is searched on its own: those around it in the batch change nothing but the rounding of
the decoder's arithmetic. Of equally likely hypotheses the one with the better parent goes first,
then the one with the lower word id.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from captioner.candidates import Candidates
from captioner.config import SearchConfig
from captioner.errors import ConfigError
from captioner.model.decoder import Decoder
from captioner.rules import NO_RULES, Rules
from captioner.search.beam import beam_search
from captioner.search.hypotheses import Steps, candidates, log_probabilities
from captioner.search.walk import likeliest, sampler, walk

__all__ = ["Candidates", "log_probabilities", "search", "search_steps"]


@torch.inference_mode()
def search(
    decoder: Decoder,
    features: Float[Tensor, "B P D"],
    *,
    config: SearchConfig,
    start_id: int,
    end_id: int,
    forbidden: Sequence[int],
    rules: Rules = NO_RULES,
    mask: Bool[Tensor, "B P"] | None = None,
) -> list[Candidates]:
    """Caption every image: `config.beam` candidates by beam search, one by the other methods.

    A hypothesis of `max_words` words is read once more: it is finished if END comes next, and
    otherwise competes as it stands.

    Args:
        decoder: in evaluation mode.
        features: regions of the images, from the encoder.
        config: method and limits.
        start_id: the word every caption is begun with; not part of the result.
        end_id: the word that finishes a caption; not part of the result.
        forbidden: words that are never produced, such as padding, START and unknown; they have no
            probability.
        rules: what captions must say, must not say and must not repeat.
        mask: True marks a real region.

    Returns:
        Candidates of each image. There are fewer than `beam` only where fewer captions exist.

    Raises:
        ValueError: the decoder is in training mode, so dropout would make captions random.
        ConfigError: no caption follows the rules.
    """
    steps = _begin(
        decoder,
        features,
        config=config,
        start_id=start_id,
        end_id=end_id,
        forbidden=forbidden,
        rules=rules,
        mask=mask,
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return _require_captions(end.value)


def search_steps(
    decoder: Decoder,
    features: Float[Tensor, "1 P D"],
    *,
    config: SearchConfig,
    start_id: int,
    end_id: int,
    forbidden: Sequence[int],
    rules: Rules = NO_RULES,
) -> Iterator[Candidates]:
    """Caption one image as `search` does, and show what it has after every word.

    Args:
        decoder: as in `search`, and so are the others.
        features: regions of the image, from the encoder.
        config: method and limits.
        start_id: the word every caption is begun with.
        end_id: the word that finishes a caption.
        forbidden: words that are never produced.
        rules: what the caption must say, must not say and must not repeat.

    Yields:
        The unfinished captions in play, one word longer each time, by probability; beam search may
        drop the first for another. At last, what `search` returns.

    Raises:
        ValueError: the decoder is in training mode.
        ConfigError: no caption follows the rules.
    """
    steps = _begin(
        decoder,
        features,
        config=config,
        start_id=start_id,
        end_id=end_id,
        forbidden=forbidden,
        rules=rules,
        mask=None,
    )
    while True:
        try:
            with torch.inference_mode():
                rows = next(steps)
        except StopIteration as end:
            yield from _require_captions(end.value)
            return
        yield from candidates(rows, end_id=end_id, length_penalty=0.0)


def _begin(
    decoder: Decoder,
    features: Float[Tensor, "B P D"],
    *,
    config: SearchConfig,
    start_id: int,
    end_id: int,
    forbidden: Sequence[int],
    rules: Rules,
    mask: Bool[Tensor, "B P"] | None,
) -> Steps:
    if getattr(decoder, "training", False):
        raise ValueError("search needs a decoder in evaluation mode; call .eval() first.")
    state = decoder.init_state(features, mask)
    latest = torch.full((len(features), 1), start_id, device=features.device)
    banned = torch.tensor(list(forbidden), dtype=torch.long, device=features.device)
    how: dict[str, Any] = {"config": config, "end_id": end_id, "banned": banned, "rules": rules}
    if config.method == "beam":
        return (yield from beam_search(decoder, state, latest, **how))
    choose = likeliest if config.method == "greedy" else sampler(config)
    return (yield from walk(decoder, state, latest, choose, **how))


def _require_captions(found: list[Candidates]) -> list[Candidates]:
    if not all(candidates.words for candidates in found):
        raise ConfigError(
            "no caption says all that search.require asks for and breaks no other rule; ask for "
            "less, or raise search.max_words."
        )
    return found
