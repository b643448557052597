import math

import pytest
import torch

from training.objectives.loss import coverage_loss, cross_entropy_loss, grounding_loss

PAD = 0


@pytest.fixture
def words() -> torch.Tensor:
    """Two images with three captions each: START (1), up to four words, padding."""
    return torch.tensor(
        [
            [[1, 4, 5, 6, 2], [1, 5, 2, 0, 0], [1, 3, 4, 2, 0]],
            [[1, 6, 2, 0, 0], [1, 2, 0, 0, 0], [1, 4, 4, 4, 4]],
        ]
    )


def real_words(words: torch.Tensor) -> list[tuple[int, int, int]]:
    """Places (image, caption, position) whose next word is none of the padding."""
    images, captions, length = words.shape
    places = [(b, k, t) for b in range(images) for k in range(captions) for t in range(length - 1)]
    return [(b, k, t) for b, k, t in places if words[b, k, t + 1] != PAD]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_word_loss_is_smoothed_cross_entropy_averaged_over_real_words(words, smoothing):
    logits = torch.randn(2, 3, 4, 7, generator=torch.Generator().manual_seed(0))
    total = 0.0
    places = real_words(words)
    for b, k, t in places:
        row = logits[b, k, t].tolist()
        log_sum = math.log(sum(math.exp(x) for x in row))
        for word, x in enumerate(row):
            wanted = smoothing / 7 + (1 - smoothing if word == words[b, k, t + 1] else 0)
            total += wanted * (log_sum - x)
    loss, _ = cross_entropy_loss(logits, words, pad_id=PAD, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(total / len(places), rel=1e-6)


def test_the_plain_cross_entropy_of_a_model_that_knows_every_word_is_0_however_it_is_smoothed(
    words,
):
    logits = 100 * torch.nn.functional.one_hot(words[:, :, 1:], 7).float()
    smoothed, plain = cross_entropy_loss(logits, words, pad_id=PAD, label_smoothing=0.1)
    assert plain.item() == pytest.approx(0)
    assert smoothed.item() == pytest.approx(0.1 * 100 * 6 / 7)


def test_padding_changes_neither_loss(words):
    logits = torch.randn(2, 3, 4, 7)
    attention = torch.rand(2, 3, 2, 2, 4, 9).softmax(dim=-1)
    longer = torch.nn.functional.pad(words, (0, 3), value=PAD)
    more_logits = torch.cat([logits, torch.randn(2, 3, 3, 7)], dim=2)
    more_attention = torch.cat([attention, torch.rand(2, 3, 2, 2, 3, 9)], dim=4)
    torch.testing.assert_close(
        cross_entropy_loss(more_logits, longer, pad_id=PAD, label_smoothing=0.1),
        cross_entropy_loss(logits, words, pad_id=PAD, label_smoothing=0.1),
    )
    torch.testing.assert_close(
        coverage_loss(more_attention, longer, pad_id=PAD),
        coverage_loss(attention, words, pad_id=PAD),
    )


def test_nothing_is_learned_from_padding(words):
    logits = torch.randn(2, 3, 4, 7, requires_grad=True)
    cross_entropy_loss(logits, words, pad_id=PAD, label_smoothing=0.1)[0].backward()
    learned = logits.grad.abs().sum(dim=-1) > 0
    assert [tuple(place) for place in learned.nonzero().tolist()] == real_words(words)


def test_the_coverage_loss_is_equation_14_shared_out_among_the_words(words):
    attention = torch.randn(2, 3, 2, 2, 4, 9).softmax(dim=-1)
    places = real_words(words)
    total = 0.0
    for b in range(2):
        for k in range(3):
            for p in range(9):
                looked_at = sum(
                    (attention[b, k, 1, 0, t, p] + attention[b, k, 1, 1, t, p]).item() / 2
                    for image, caption, t in places
                    if (image, caption) == (b, k)
                )
                total += (1 - looked_at) ** 2
    loss = coverage_loss(attention, words, pad_id=PAD)
    assert loss.item() == pytest.approx(total / len(places), rel=1e-5)


def test_a_missing_caption_is_not_covered():
    words = torch.tensor([[[1, 4, 2], [0, 0, 0]]])
    attention = torch.full((1, 2, 1, 1, 2, 4), 0.25)
    # Two looks of 1/4 leave (1 - 1/2) ** 2 in each of four regions, for two words.
    assert coverage_loss(attention, words, pad_id=PAD).item() == 0.5


def test_looking_around_costs_less_than_staring():
    words = torch.tensor([[[1, 4, 5, 2]]])
    staring = torch.zeros(1, 1, 1, 1, 3, 4)
    staring[..., 0] = 1.0
    around = torch.eye(4)[:3].reshape(1, 1, 1, 1, 3, 4)
    assert coverage_loss(around, words, pad_id=PAD).item() == pytest.approx(1 / 3)
    assert coverage_loss(staring, words, pad_id=PAD).item() == pytest.approx(7 / 3)


def attend(*weights):
    """Attention of one caption, one layer and head, a row for every word."""
    return torch.tensor(weights)[None, None, None, None]


def test_the_grounding_loss_is_the_attention_missing_from_the_boxes_in_nats():
    attention = attend([0.5, 0.25, 0.25, 0.0], [0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 0.0])
    shares = torch.tensor([[[[1.0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]]])
    loss = grounding_loss(attention, shares)
    assert loss.item() == pytest.approx(-(math.log(0.75) + math.log(0.4)) / 2)


def test_a_thing_smaller_than_a_region_can_be_looked_at_in_full():
    shares = torch.tensor([[[[0.0, 0.2, 0.1, 0.0]]]])
    assert grounding_loss(attend([0.0, 1.0, 0.0, 0.0]), shares).item() == 0
    loss = grounding_loss(attend([0.0, 0.0, 1.0, 0.0]), shares)
    assert loss.item() == pytest.approx(math.log(2))


def test_the_mean_over_heads_of_the_chosen_layer_is_taught():
    attention = torch.zeros(1, 1, 2, 2, 1, 2)
    attention[0, 0, 0, :, 0] = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
    attention[0, 0, 1, :, 0] = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    shares = torch.tensor([[[[1.0, 0.0]]]])
    assert grounding_loss(attention, shares).item() == pytest.approx(math.log(2))
    assert grounding_loss(attention, shares, layer=0).item() == pytest.approx(-math.log(0.4))


def test_words_without_boxes_teach_nothing_and_captions_without_any_cost_nothing():
    scores = torch.randn(1, 2, 1, 1, 3, 4, requires_grad=True)
    shares = torch.zeros(1, 2, 3, 4)
    shares[0, 1, 2, 3] = 1
    grounding_loss(scores.softmax(dim=-1), shares).backward()
    taught = scores.grad.abs().sum(dim=-1).nonzero().tolist()
    assert taught == [[0, 1, 0, 0, 2]]
    nothing = grounding_loss(scores.softmax(dim=-1), torch.zeros(1, 2, 3, 4))
    nothing.backward()
    assert nothing.item() == 0


def test_attention_wholly_elsewhere_costs_a_finite_amount():
    loss = grounding_loss(attend([1.0, 0.0]), torch.tensor([[[[0.0, 1.0]]]]))
    assert loss.item() == pytest.approx(-math.log(1e-6))
