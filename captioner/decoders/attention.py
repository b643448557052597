"""Attention over image regions: scores of a query against each region, as weights that sum to 1.

Four scoring functions share one base class, `RegionAttention`: the image's part of the score
(`keys`) is computed once per image, the query's part for every word. `MultiHeadAttention` is the
Transformer's, with a fused kernel that returns no weights and a plain path that does.
"""

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Scoring = Literal["additive", "dot", "scaled_dot", "general"]


class RegionAttention(nn.Module):
    """Attend to regions by the score of their keys against a query; subclasses define the score."""

    def keys(self, features: Float[Tensor, "B P D"]) -> Float[Tensor, "B P A"]:
        """Compute the image's part of the score, once per image."""
        return features

    def score(
        self, queries: Float[Tensor, "B K C"], keys: Float[Tensor, "B P A"]
    ) -> Float[Tensor, "B K P"]:
        """Score every region against every query."""
        raise AssertionError(f"{type(self).__name__} defines no score.")

    def forward(
        self,
        queries: Float[Tensor, "B K C"],
        keys: Float[Tensor, "B P A"],
        features: Float[Tensor, "B P D"],
    ) -> tuple[Float[Tensor, "B K D"], Float[Tensor, "B K P"]]:
        """Return the attended feature of each query and its weights, which sum to 1 over P."""
        weights = self.score(queries, keys).softmax(dim=-1)
        return weights @ features, weights


class AdditiveAttention(RegionAttention):
    """Score a region by a small network: v . tanh(W f + U q + b).

    Source: Bahdanau et al. 2015, appendix A.1.2 (arXiv:1409.0473); over image regions, Xu et al.
    2015, section 4.2 (arXiv:1502.03044).
    """

    def __init__(self, *, feature_dim: int, query_dim: int, width: int) -> None:
        super().__init__()
        self.from_feature = nn.Linear(feature_dim, width)
        self.from_query = nn.Linear(query_dim, width, bias=False)
        self.to_score = nn.Linear(width, 1, bias=False)

    def keys(self, features: Float[Tensor, "B P D"]) -> Float[Tensor, "B P A"]:
        """Return W f + b."""
        return self.from_feature(features)

    def score(
        self, queries: Float[Tensor, "B K C"], keys: Float[Tensor, "B P A"]
    ) -> Float[Tensor, "B K P"]:
        """Return v . tanh(key + U q)."""
        query, to_score = self.from_query(queries)[:, :, None], self.to_score.weight[0]
        if torch.is_grad_enabled() or keys.device.type != "cpu":
            return torch.tanh(keys[:, None] + query) @ to_score  # of (B, K, P, A)
        # tanh x = 2 sigmoid 2x - 1, and on a CPU a sigmoid takes PyTorch a fifth of the time.
        fit = torch.add(2 * query, keys[:, None], alpha=2).sigmoid_()
        return fit @ (2 * to_score) - to_score.sum()


class DotAttention(RegionAttention):
    """Score a region by f . q, over the square root of the channels when `scaled`.

    Source: Luong et al. 2015, section 3.1, "dot" (arXiv:1508.04025); scaled: Vaswani et al. 2017,
    section 3.2.1 (arXiv:1706.03762). Features and queries must have the same channels.
    """

    def __init__(self, *, feature_dim: int, query_dim: int, scaled: bool) -> None:
        super().__init__()
        if feature_dim != query_dim:
            raise ValueError(
                f"dot attention compares like with like: {feature_dim} feature channels "
                f"against {query_dim} query channels; use 'general' attention."
            )
        self.scale = feature_dim**-0.5 if scaled else 1.0

    def score(
        self, queries: Float[Tensor, "B K C"], keys: Float[Tensor, "B P A"]
    ) -> Float[Tensor, "B K P"]:
        """Return the (scaled) inner products."""
        return queries @ keys.mT * self.scale


class GeneralAttention(RegionAttention):
    """Score a region by q . W f.

    Source: Luong et al. 2015, section 3.1, "general" (arXiv:1508.04025).
    """

    def __init__(self, *, feature_dim: int, query_dim: int) -> None:
        super().__init__()
        self.from_feature = nn.Linear(feature_dim, query_dim, bias=False)

    def keys(self, features: Float[Tensor, "B P D"]) -> Float[Tensor, "B P A"]:
        """Return W f."""
        return self.from_feature(features)

    def score(
        self, queries: Float[Tensor, "B K C"], keys: Float[Tensor, "B P A"]
    ) -> Float[Tensor, "B K P"]:
        """Return the inner products with the mapped features."""
        return queries @ keys.mT


def build_attention(
    scoring: Scoring, *, feature_dim: int, query_dim: int, width: int
) -> RegionAttention:
    """Build attention by name; only the additive one uses `width`."""
    if scoring == "additive":
        return AdditiveAttention(feature_dim=feature_dim, query_dim=query_dim, width=width)
    if scoring == "general":
        return GeneralAttention(feature_dim=feature_dim, query_dim=query_dim)
    return DotAttention(
        feature_dim=feature_dim, query_dim=query_dim, scaled=scoring == "scaled_dot"
    )


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with several heads.

    Source: Vaswani et al. 2017, section 3.2.2 (arXiv:1706.03762).

    Args:
        width: channels of the queries and of the result.
        heads: number of heads; it divides `width`.
        dropout: probability of dropping a weight in training.
        source_dim: channels of the input of keys and values; `width` by default.
    """

    def __init__(
        self, *, width: int, heads: int, dropout: float = 0.0, source_dim: int | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source_dim or width, width)
        self.value = nn.Linear(source_dim or width, width)
        self.out = nn.Linear(width, width)

    def split(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B M T d"]:
        """Split the channels between the heads."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def keys_and_values(
        self, x: Float[Tensor, "B S D"]
    ) -> tuple[Float[Tensor, "B M S d"], Float[Tensor, "B M S d"]]:
        """Compute keys and values."""
        return self.split(self.key(x)), self.split(self.value(x))

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        keys: Float[Tensor, "B M S d"],
        values: Float[Tensor, "B M S d"],
        *,
        causal: bool = False,
    ) -> Float[Tensor, "B T C"]:
        """Attend with the fused kernel; `causal` hides later words."""
        attended = F.scaled_dot_product_attention(
            self.split(self.query(x)),
            keys,
            values,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        return self.out(attended.transpose(1, 2).flatten(2))

    def weights(
        self,
        x: Float[Tensor, "B T C"],
        keys: Float[Tensor, "B M S d"],
        *,
        causal: bool = False,
    ) -> Float[Tensor, "B M T S"]:
        """Return the weights that the fused kernel uses inside, summing to 1 over S."""
        queries = self.split(self.query(x))
        scores = queries @ keys.mT * queries.shape[-1] ** -0.5
        if causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        return scores.softmax(dim=-1)

    def project_values(
        self, directions: Float[Tensor, "B T C"], values: Float[Tensor, "B M S d"]
    ) -> Float[Tensor, "B M T S"]:
        """Return each value's contribution to the result along each direction, head by head."""
        return self.split(directions @ self.out.weight) @ values.mT

    def attend_unprojected(
        self,
        x: Float[Tensor, "B T C"],
        seen: Float[Tensor, "B S D"],
        *,
        with_weights: bool = False,
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B M T S"] | None]:
        """Attend to inputs whose keys and values have not been computed, without computing them.

        With keys K s + k and values V s + v, a score is q . (K s + k) = (q K) . s + q . k, whose
        last term is the same for all of `seen` and cancels in the softmax; and the weighted mean of
        the values is V times the weighted mean of `seen`, plus v. So the projections are applied to
        the queries' side: less work than computing keys and values, as long as there are fewer
        queries than channels per head, and one tensor in memory instead of two per layer. The
        attention itself uses the fused kernel unless weights are requested.

        Args:
            x: queries.
            seen: inputs to attend to.
            with_weights: whether to return the weights.

        Returns:
            The result, and the weights, summing to 1 over S, or None.
        """
        images = x.shape[0]
        to_key, to_value = (
            layer.weight.unflatten(0, (self.heads, -1)) for layer in (self.key, self.value)
        )
        queries = self.query(x).flatten(0, 1).unflatten(1, (self.heads, -1)).transpose(0, 1)
        folded = (queries @ to_key).unflatten(1, (images, -1))  # (M, B, T, C)
        rows = folded.transpose(0, 1).flatten(1, 2)  # (B, M*T, C)
        scale = to_key.shape[1] ** -0.5
        weights = None
        if with_weights:
            scores = (rows * scale @ seen.mT).unflatten(1, (self.heads, -1))
            weights = scores.softmax(dim=-1)
            means = weights.flatten(1, 2) @ seen
        else:
            means = F.scaled_dot_product_attention(
                rows[:, None], seen[:, None], seen[:, None], scale=scale
            )[:, 0]
        by_head = means.unflatten(1, (self.heads, -1)).transpose(0, 1).flatten(1, 2)  # (M, B*T, C)
        values = (by_head @ to_value.mT).transpose(0, 1).flatten(1) + self.value.bias  # (B*T, C)
        return self.out(values).unflatten(0, (images, -1)), weights


def project_through_norms(
    norms: Iterable[nn.Module], directions: Float[Tensor, "*rows C"]
) -> Float[Tensor, "*rows C"]:
    """Map directions at the output of layer norms back to their input, the last norm first.

    The division by the standard deviation is omitted: it scales all contributions to a word alike.
    """
    for norm in norms:
        if isinstance(norm, nn.LayerNorm):
            directions = directions * norm.weight
            directions = directions - directions.mean(dim=-1, keepdim=True)
    return directions
