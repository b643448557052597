"""Words that would break a rule are passed over."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from captioner.rules import NO_RULES, Phrase, Rules


def obey(
    rules: Rules, log_p: Float[Tensor, "B K V"], said: Int[Tensor, "B K t"], *, end_id: int
) -> Float[Tensor, "B K V"]:
    """Rule out words that may not come after what was said; what is required is another matter.

    Source: of `no_repeat`, Paulus et al. 2017, section 2.5 (arXiv:1705.04304).
    """
    if rules == NO_RULES:
        return log_p
    log_p = log_p.clone()
    for *before, last in rules.forbidden:
        log_p[..., last].masked_fill_(_end_with(said, tuple(before)), -math.inf)
    for last in rules.no_end:
        log_p[..., end_id].masked_fill_(_end_with(said, (last,)), -math.inf)
    if 0 < rules.no_repeat <= said.shape[-1]:
        runs = said.unfold(-1, rules.no_repeat, 1)  # (B, K, runs, no_repeat)
        latest = said[..., said.shape[-1] - rules.no_repeat + 1 :]
        again = (runs[..., :-1] == latest[..., None, :]).all(dim=-1)
        images, hypotheses, places = again.nonzero(as_tuple=True)
        log_p[images, hypotheses, runs[images, hypotheses, places, -1]] = -math.inf
    return log_p


def _end_with(said: Int[Tensor, "B K t"], phrase: Phrase) -> Bool[Tensor, "B K"]:
    """Whether the latest words are these."""
    if len(phrase) > said.shape[-1]:
        return said.new_zeros(said.shape[:-1], dtype=torch.bool)
    latest = said[..., said.shape[-1] - len(phrase) :]
    return (latest == latest.new_tensor(phrase)).all(dim=-1)
