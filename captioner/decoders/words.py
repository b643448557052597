"""Word embeddings, which also serve as output weights if tied."""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


class WordTable(nn.Module):
    """Embedding table; `logits` scores a state against every word.

    Tied as in Press and Wolf 2017, section 3 (arXiv:1608.05859). The table is used twice rather
    than registered twice, so a checkpoint holds it once.
    """

    def __init__(self, *, words: int, width: int, tie: bool) -> None:
        super().__init__()
        self.vectors = nn.Embedding(words, width)
        nn.init.normal_(self.vectors.weight, std=width**-0.5)
        self.output = None if tie else nn.Linear(width, words, bias=False)
        self.bias = nn.Parameter(self.vectors.weight.new_zeros(words))

    @property
    def output_weights(self) -> Float[Tensor, "V C"]:
        """Output weights: the embeddings themselves if tied."""
        return self.vectors.weight if self.output is None else self.output.weight

    def forward(self, words: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows C"]:
        """Embed words."""
        return self.vectors(words)

    def logits(self, state: Float[Tensor, "*rows C"]) -> Float[Tensor, "*rows V"]:
        """Score every word as the next one."""
        return F.linear(state, self.output_weights, self.bias)
