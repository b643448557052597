"""Greedy decoding and sampling: one token after another, without alternatives."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from captioner.config import SearchConfig
from captioner.result.candidates import NO_TOKEN
from captioner.search.arrays import Arrays, arrays_of, to_numpy
from captioner.search.hypotheses import empty_hypotheses


class Greedy:
    """Greedy decoding: the likeliest token; ties go to the lowest id.

    If there are several captions of an image, finished ones repeat END until all are finished.
    """

    def __init__(
        self, arrays: Arrays, images: int, *, config: SearchConfig, end_id: int, captions: int = 1
    ) -> None:
        self.live = empty_hypotheses(arrays, images, captions, config.max_words + 1, value=0.0)
        self._arrays, self._config, self._end_id = arrays, config, end_id

    @property
    def kept(self) -> Any:
        """See `Strategy`."""
        return self.live

    def advance(self, log_p: Float[Any, "B K V"], t: int) -> None:
        """See `Strategy`."""
        tokens = self.choose(log_p, t)
        logs = self._arrays.take(log_p.reshape(-1, log_p.shape[-1]), tokens.reshape(-1, 1))
        ended = self._ended(t - 1) if t else tokens < 0
        self.live.tokens[..., t] = self._arrays.where(ended, self._end_id, tokens)
        self.live.logs[..., t] = self._arrays.where(ended, 0.0, logs.reshape(tokens.shape))

    def stop(self, log_p: Float[Any, "B K V"], t: int) -> None:
        """See `Strategy`."""
        self.advance(log_p, t)
        self.live.tokens[..., t][~self._ended(t)] = NO_TOKEN

    def can_improve(self, t: int) -> Bool[Any, " B"]:
        """See `Strategy`."""
        return ~self._ended(t).all(-1)

    def select(self, images: Int[Any, " N"]) -> None:
        """See `Strategy`."""
        self.live = self.live.select(images)

    def choose(self, log_p: Float[Any, "B K V"], t: int) -> Int[Any, "B K"]:
        """Return token t of every caption."""
        return log_p.argmax(-1)

    def _ended(self, t: int) -> Bool[Any, "B K"]:
        return self.live.tokens[..., t] == self._end_id


class Sampling(Greedy):
    """Sampling from the model's distribution, possibly truncated; see `draw`."""

    def __init__(
        self,
        arrays: Arrays,
        images: int,
        *,
        config: SearchConfig,
        end_id: int,
        noise: Float[Any, "B K T"],
    ) -> None:
        super().__init__(arrays, images, config=config, end_id=end_id, captions=noise.shape[1])
        self._noise = arrays.asarray(noise)

    def choose(self, log_p: Float[Any, "B K V"], t: int) -> Int[Any, "B K"]:
        """Draw token t of every caption."""
        names = ("temperature", "top_k", "top_p")
        settings = {name: getattr(self._config, name) for name in names}
        return draw(log_p, self._noise[..., t], **settings)

    def select(self, images: Int[Any, " N"]) -> None:
        """See `Strategy`."""
        super().select(images)
        self._noise = self._noise[images]


def draw(
    log_p: Float[Any, "*rows V"],
    noise: Float[Any, "*rows"],
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Int[Any, "*rows"]:
    """Sample one token per row: temperature, then top-k, then top-p.

    The noise is looked up in the cumulative distribution (inverse transform sampling), so tokens
    with probability 0 are never sampled.

    Args:
        log_p: log-probabilities.
        noise: uniform noise in [0, 1).
        temperature: divides the log-probabilities.
        top_k: sample from this many of the likeliest tokens; 0 for all.
        top_p: sample from the likeliest tokens that together have this probability.
    """
    arrays = arrays_of(log_p)
    likely = arrays.asarray(log_p, arrays.double).reshape(-1, log_p.shape[-1])
    likely = likely - arrays.amax(likely, axis=-1, keepdims=True)  # 0 however cold
    p, order = arrays.exp(likely / temperature), None
    if top_k or top_p < 1:
        order = arrays.argsort(-p)
        p = arrays.take(p, order)
        p[:, top_k or p.shape[1] :] = 0
        p[p.cumsum(-1) - p >= top_p * p.sum(-1)[:, None]] = 0
    reached = p.cumsum(-1)
    tokens = (reached <= noise.reshape(-1, 1) * reached[:, -1:]).sum(-1)
    if order is not None:
        tokens = arrays.take(order, tokens[:, None])
    return tokens.reshape(noise.shape)


def make_noise(
    photos: Iterable[Any], *, config: SearchConfig, seeds: Sequence[int] = ()
) -> Float[Any, "B K T"] | None:
    """Return noise that depends only on photo and seed, not on the batch.

    So a photo gets the same captions in any batch, and draws for different photos are independent.

    Args:
        photos: pixels or features, as arrays or tensors.
        config: decoding settings, for the longest caption and the seed.
        seeds: a seed for each of K captions, instead of the one in `config`.

    Returns:
        Uniform numbers in [0, 1) for every token, END included; None unless `config.method` is
        `sample`.
    """
    if config.method != "sample":
        return None
    seeds, length, rows = seeds or (config.seed,), config.max_words + 1, []
    for photo in photos:
        digest = hashlib.sha256(to_numpy(photo).tobytes()).digest()
        for seed in seeds:
            key = digest + seed.to_bytes(8, "little", signed=True)
            rows.append(np.frombuffer(hashlib.shake_256(key).digest(8 * length), "<u8"))
    bits = np.array(rows, np.uint64).reshape(-1, len(seeds), length)
    return (bits >> 40).astype(np.float32) * np.float32(2**-24)  # as many bits as float32 has
