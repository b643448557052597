import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captioner.decoders.attention import MultiHeadAttention, build_attention

SCORINGS = ["additive", "dot", "scaled_dot", "general"]
every_scoring = pytest.mark.parametrize("scoring", SCORINGS)


def attention_of(scoring, *, seed=0):
    """An attention in float64 over features of 5 channels, with random weights."""
    torch.manual_seed(seed)
    return build_attention(scoring, feature_dim=5, query_dim=5, width=4).double()


def inputs(*, images=2, captions=3, regions=6):
    torch.manual_seed(1)
    queries = torch.randn(images, captions, 5, dtype=torch.float64)
    features = torch.randn(images, regions, 5, dtype=torch.float64)
    return queries, features


def matrix_times(matrix, vector):
    return [sum(m * v for m, v in zip(row, vector, strict=True)) for row in matrix.tolist()]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def score_by_hand(attention, scoring, query, feature):
    """The formulas of the papers, number by number."""
    if scoring == "additive":
        w_f = matrix_times(attention.from_feature.weight, feature)
        u_q = matrix_times(attention.from_query.weight, query)
        b = attention.from_feature.bias.tolist()
        fit = [math.tanh(x + y + z) for x, y, z in zip(w_f, u_q, b, strict=True)]
        return dot(attention.to_score.weight[0].tolist(), fit)
    if scoring == "general":
        return dot(query, matrix_times(attention.from_feature.weight, feature))
    return dot(query, feature) / (math.sqrt(5) if scoring == "scaled_dot" else 1)


@every_scoring
def test_weights_and_what_they_attend_to_follow_the_papers_formula(scoring):
    attention = attention_of(scoring)
    queries, features = inputs()
    attended, weights = attention(queries, attention.keys(features), features)
    assert weights.shape == (2, 3, 6)
    for b in range(2):
        regions = features[b].tolist()
        for k in range(3):
            query = queries[b, k].tolist()
            scores = [score_by_hand(attention, scoring, query, region) for region in regions]
            total = sum(math.exp(score) for score in scores)
            expected = [math.exp(score) / total for score in scores]
            assert weights[b, k].tolist() == pytest.approx(expected, abs=1e-12)
            mixed = [dot(expected, channel) for channel in zip(*regions, strict=True)]
            assert attended[b, k].tolist() == pytest.approx(mixed, abs=1e-12)


@every_scoring
def test_gradients_are_those_of_finite_differences(scoring):
    attention = attention_of(scoring)
    queries, features = (x.requires_grad_() for x in inputs(captions=2, regions=3))
    parameters = tuple(attention.parameters())

    def attend(queries, features, *_):
        return attention(queries, attention.keys(features), features)

    assert torch.autograd.gradcheck(attend, (queries, features, *parameters))


@every_scoring
def test_a_caption_attends_as_if_it_were_the_only_one(scoring):
    attention = attention_of(scoring)
    queries, features = inputs()
    keys = attention.keys(features)
    together, _ = attention(queries, keys, features)
    for k in range(3):
        assert_close(attention(queries[:, k : k + 1], keys, features)[0], together[:, k : k + 1])


def test_dot_attention_over_unlike_channels_says_what_to_use_instead():
    message = (
        "dot attention compares like with like: 5 feature channels against 7 query channels; "
        "use 'general' attention."
    )
    with pytest.raises(ValueError, match=message):
        build_attention("dot", feature_dim=5, query_dim=7, width=4)


def test_general_and_additive_attention_take_unlike_channels():
    features, queries = torch.randn(1, 3, 5), torch.randn(1, 2, 7)
    for scoring in ("general", "additive"):
        attention = build_attention(scoring, feature_dim=5, query_dim=7, width=4)
        attended, weights = attention(queries, attention.keys(features), features)
        assert attended.shape == (1, 2, 5)
        assert weights.shape == (1, 2, 3)


def test_large_scores_do_not_overflow():
    regions = torch.tensor([[[100.0], [0.0], [-100.0]]])
    attention = build_attention("dot", feature_dim=1, query_dim=1, width=1)
    _, weights = attention(torch.tensor([[[100.0]]]), attention.keys(regions), regions)
    assert weights.tolist() == [[[1.0, 0.0, 0.0]]]


def heads(*, width=8, count=2, seed=0):
    torch.manual_seed(seed)
    return MultiHeadAttention(width=width, heads=count).double().eval()


@pytest.mark.parametrize("causal", [False, True])
def test_exact_weights_times_values_are_what_the_fused_kernel_returns(causal):
    attention = heads()
    x, regions = torch.randn(2, 5, 8).double(), torch.randn(2, 5, 8).double()
    keys, values = attention.keys_and_values(regions)
    weights = attention.weights(x, keys, causal=causal)
    assert weights.shape == (2, 2, 5, 5)
    assert_close(weights.sum(dim=-1), torch.ones(2, 2, 5).double())
    attended = attention.out((weights @ values).transpose(1, 2).flatten(2))
    assert_close(attention(x, keys, values, causal=causal), attended)
    if causal:
        assert weights.triu(1).eq(0).all()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_it_is_torchs_own_multi_head_attention(count):
    ours = heads(count=count)
    theirs = torchs_own(ours)
    x, regions = torch.randn(2, 4, 8).double(), torch.randn(2, 5, 8).double()
    keys, values = ours.keys_and_values(regions)
    expected, expected_weights = theirs(x, regions, regions, average_attn_weights=False)
    assert_close(ours(x, keys, values), expected)
    assert_close(ours.weights(x, keys), expected_weights)


def torchs_own(ours):
    """Copy our weights into torch's layout: queries, keys and values stacked."""
    theirs = nn.MultiheadAttention(8, ours.heads, batch_first=True).double().eval()
    parts = (ours.query, ours.key, ours.value)
    theirs.load_state_dict(
        {
            "in_proj_weight": torch.cat([part.weight for part in parts]),
            "in_proj_bias": torch.cat([part.bias for part in parts]),
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    return theirs


def test_causal_attention_covers_no_later_word():
    attention = heads()
    x = torch.randn(1, 5, 8).double()
    causal = attention(x, *attention.keys_and_values(x), causal=True)
    for t in range(5):
        past = attention.keys_and_values(x[:, : t + 1])
        assert_close(causal[:, t : t + 1], attention(x[:, t : t + 1], *past))


def test_multi_head_gradients_are_those_of_finite_differences():
    attention = heads(width=4)
    x, regions = torch.randn(1, 2, 4).double(), torch.randn(1, 3, 4).double()

    def attend(x, regions, *_):
        return attention(x, *attention.keys_and_values(regions))

    arguments = (x.requires_grad_(), regions.requires_grad_(), *attention.parameters())
    assert torch.autograd.gradcheck(attend, arguments)


def test_dropout_of_weights_happens_in_training_only():
    torch.manual_seed(0)
    attention = MultiHeadAttention(width=8, heads=2, dropout=0.5)
    x = torch.randn(1, 3, 8)
    keys, values = attention.keys_and_values(x)
    assert not torch.equal(attention(x, keys, values), attention(x, keys, values))
    attention.eval()
    assert_close(attention(x, keys, values), attention(x, keys, values), rtol=0, atol=0)
