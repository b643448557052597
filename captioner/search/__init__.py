"""Decoding: greedy, beam search and sampling, written once for every decoder and runtime.

One loop decodes token by token; a strategy decides which hypotheses continue:

    strategy      `Strategy`: what the loop asks of it
    sampling      `Greedy`, `Sampling`
    beam          `Beam`
    beams         `DiverseBeams`, `ConstrainedBeams`: several beams in one decoder step
    filters       constraints: log-probabilities and the tokens so far -> log-probabilities
    agreement     reranks the candidates of a beam by what they have in common
    automaton     required phrases as a table of states
    hypotheses    the captions that a strategy considers, as arrays
    arrays        functions that NumPy and PyTorch name differently

Search knows tokens, hypotheses and probabilities; it never asks which decoder it has. The
probability of a token is the softmax of the decoder's logits over the tokens that may be generated,
whatever the method: temperature, top-k, top-p and constraints affect which token is chosen, not
what is reported.

The captions of an image do not depend on the rest of the batch, except for rounding in the decoder.
Among equally likely hypotheses, the one with the better parent comes first, then the one with the
lower token id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Float, Int

from captioner.config import SearchConfig
from captioner.errors import ConfigError
from captioner.result.candidates import Candidates, collect
from captioner.search.agreement import rank_by_agreement
from captioner.search.arrays import arrays_of, log_probabilities
from captioner.search.beam import Beam
from captioner.search.beams import ConstrainedBeams, DiverseBeams
from captioner.search.filters import filters_of
from captioner.search.hypotheses import Hypotheses
from captioner.search.sampling import Greedy, Sampling, draw, make_noise
from captioner.search.strategy import Strategy
from captioner.words.constraints import Constraints

__all__ = ["Candidates", "draw", "log_probabilities", "make_noise", "search", "search_steps"]


def search(
    decoder: Any,
    features: Float[Any, "B ..."],
    *,
    config: SearchConfig,
    constraints: Constraints,
    noise: Float[Any, "B K T"] | None = None,
    outputs: list[Any] | None = None,
) -> list[Candidates]:
    """Caption images: `config.beam` candidates each by beam search, one by other methods.

    A hypothesis of `max_words` tokens is read once more: it is finished if END comes next, and
    otherwise competes as it is.

    Args:
        decoder: runs without dropout; its mode is restored.
        features: input of `decoder.init_state`, as tensors or arrays.
        config: decoding settings.
        constraints: special tokens; required, forbidden and repeated phrases.
        noise: uniform noise for K captions of each image, returned in this order; see `make_noise`.
            By default, noise for one caption derived from the features.
        outputs: collects the output of every step, for `decoders.output.gather_attention`.

    Returns:
        Candidates of each image; fewer than `beam` only if fewer captions exist.

    Raises:
        ConfigError: no caption satisfies the constraints.
    """
    found: dict[int, Candidates] = {}
    strategy = _choose(features, config, constraints, noise)
    with arrays_of(features).inference(decoder):
        for _, done in _decode(decoder, features, strategy, config, constraints, outputs=outputs):
            found |= done
    return [found[image] for image in range(len(features))]


def search_steps(
    decoder: Any,
    features: Float[Any, "1 ..."],
    *,
    config: SearchConfig,
    constraints: Constraints,
    noise: Float[Any, "1 K T"] | None = None,
    outputs: list[Any] | None = None,
) -> Iterator[Candidates]:
    """Caption one image as `search` does, yielding the candidates after every token.

    Yields:
        The unfinished hypotheses by probability, one token longer each time; beam search may drop
        the first for another. Last, what `search` returns.
    """
    strategy = _choose(features, config, constraints, noise)
    steps = _decode(decoder, features, strategy, config, constraints, outputs=outputs)
    while True:
        with arrays_of(features).inference(decoder):
            step = next(steps, None)
        if step is None:
            return
        live, done = step
        unfinished = replace(config, length_penalty=0.0, agreement=0.0)
        yield from done.values() or _gather(live, unfinished, constraints, [0])


def _choose(
    features: Float[Any, "B ..."],
    config: SearchConfig,
    constraints: Constraints,
    noise: Float[Any, "B K T"] | None,
) -> Strategy:
    """Build the strategy for these settings."""
    arrays, images = arrays_of(features), len(features)
    how: dict[str, Any] = {"config": config, "end_id": constraints.end_id}
    if config.method == "greedy":
        return Greedy(arrays, images, **how)
    if config.method == "sample":
        noise = make_noise(features, config=config) if noise is None else noise
        return Sampling(arrays, images, noise=noise, **how)
    if constraints.required:
        return ConstrainedBeams(arrays, images, required=constraints.required, **how)
    if config.groups > 1:
        return DiverseBeams(arrays, images, **how)
    return Beam(arrays, images, width=config.beam, **how)


def _decode(
    decoder: Any,
    features: Float[Any, "B ..."],
    strategy: Strategy,
    config: SearchConfig,
    constraints: Constraints,
    *,
    outputs: list[Any] | None,
) -> Iterator[tuple[Hypotheses, dict[int, Candidates]]]:
    """Decode token by token; yield live hypotheses, and the candidates of images that finished."""
    arrays, images = arrays_of(features), list(range(len(features)))
    filters, never = filters_of(constraints), arrays.integers(constraints.never_written)
    *given, last = constraints.prefix
    state = decoder.init_state(features)
    for token in given:
        _, state = _step(decoder, arrays.full((len(features), 1), token), state, outputs)
    latest = arrays.full(strategy.live.value.shape, last)  # (B, K)
    state = state.reorder(arrays.full(latest.shape, 0))
    for t in range(config.max_words + 1):
        if not images:
            return
        logits, state = _step(decoder, latest, state, outputs)
        log_p = arrays.log_probabilities(logits, never)
        for constrain in filters:
            log_p = constrain(log_p, strategy.live.tokens[..., :t])
        # Let the strategy advance.
        strategy.live.rows[..., t] = arrays.arange(*latest.shape)
        if t < config.max_words:
            parents = strategy.advance(log_p, t)
            going = strategy.can_improve(t).tolist()
        else:
            strategy.stop(log_p, t)
            parents, going = None, [False] * len(images)
        # Drop the images that are done.
        done: dict[int, Candidates] = {}
        if not all(going):
            leave = [i for i, goes in enumerate(going) if not goes]
            numbers = [images[i] for i in leave]
            kept = strategy.kept.select(arrays.integers(leave))
            done = dict(zip(numbers, _gather(kept, config, constraints, numbers), strict=True))
            images = [image for image in images if image not in done]
            stay = arrays.integers([i for i, goes in enumerate(going) if goes])
            strategy.select(stay)
            state = state.select(stay)
            parents = None if parents is None else parents[stay]
        # Reorder the state.
        if parents is not None and not arrays.surely_in_order(parents, latest.shape[1]):
            state = state.reorder(parents)
        latest = strategy.live.tokens[..., t]
        yield strategy.live, done


def _step(
    decoder: Any, latest: Int[Any, "B K"], state: Any, outputs: list[Any] | None
) -> tuple[Float[Any, "B K V"], Any]:
    """Step the decoder, recording its output if `outputs` is a list."""
    if outputs is None:
        stepped: tuple[Any, Any] = decoder.step(latest, state)
        return stepped
    output, state = decoder.step_with_attention(latest, state)
    outputs.append(output)
    return output.logits[:, :, 0], state


def _gather(
    hypotheses: Hypotheses, config: SearchConfig, constraints: Constraints, images: Sequence[int]
) -> list[Candidates]:
    """Convert the hypotheses of these images to plain lists.

    Raises:
        ConfigError: there is none.
    """
    how: dict[str, Any] = {"end_id": constraints.end_id, "length_penalty": config.length_penalty}
    found = [
        collect(*image, ranked=config.method == "beam", **how)
        for image in zip(*(x.tolist() for x in hypotheses), strict=True)
    ]
    if config.agreement:
        found = [rank_by_agreement(own, weight=config.agreement) for own in found]
    if not all(candidates.tokens for candidates in found):
        raise ConfigError(
            "no caption contains all of search.require and meets the other constraints; require "
            "less, or raise search.max_words."
        )
    prompt = len(constraints.prefix) - 1  # until it is read, K is 1: an image is a row
    return [
        replace(own, rows=[[image] * prompt + rows for rows in own.rows])
        for image, own in zip(images, found, strict=True)
    ]
