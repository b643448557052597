"""Maps by gradients, worked out by hand and against differences."""

import pytest
import torch
from torch.testing import assert_close

from captioner.errors import ConfigError
from captioner.pytorch import TorchCaptioner
from tests.conftest import TOYS
from tests.photos import noise
from training.grounding.gradients import follow_relevance, gradient_maps, normalise


def test_what_was_added_to_the_identity_sums_to_one():
    relevance = torch.tensor([[1.0, 3.0, 1.0], [0.0, 1.0, 0.0], [2.0, 2.0, 1.0]])
    expected = [[1.0, 0.75, 0.25], [0.0, 1.0, 0.0], [0.5, 0.5, 1.0]]
    assert normalise(relevance).tolist() == expected


def test_relevance_passes_from_the_words_before_and_through_mixed_regions():
    between = torch.tensor([[0.0, 0.0], [0.5, 0.0]])  # the second word reads the first
    look = torch.tensor([[0.2, 0.0], [0.0, 0.4]])
    unmixed = torch.eye(2)
    # Nothing is held yet; among words [[1, 0], [.5, 1]], normalised [[1, 0], [1, 1]], transposed.
    one = torch.tensor([[0.2, 0.4], [0.0, 0.4]])
    assert_close(follow_relevance([(between, look)], unmixed), one)
    # Again: held [[.2, .4], [.1, .6]], among words [[1, 0], [1, 1]], normalised as before.
    two = torch.tensor([[0.4, 0.8], [0.1, 1.0]])
    assert_close(follow_relevance([(between, look)] * 2, unmixed), two)
    mixed = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    assert_close(follow_relevance([(between, look)], mixed), one @ mixed)


def test_gradients_leave_the_model_as_it_was(toy, tokenizer):
    captioner = TorchCaptioner(*toy)
    photo = captioner.prepare(noise(64, 48))
    ids = [tokenizer.start_id, *tokenizer.encode("a dog on the beach")]
    before = captioner.read_sentence(photo, "a dog on the beach")
    maps = gradient_maps(captioner, torch.from_numpy(photo.pixels), ids, [1, 2])
    rows = captioner.encode([photo]).shape[1]
    assert maps.shape == (2, 2, rows)
    assert (maps >= 0).all()
    assert (maps[1].sum(dim=-1) > 0).all()
    again = captioner.read_sentence(photo, "a dog on the beach")
    assert again.log_probability == before.log_probability


def test_a_gradient_is_what_a_small_change_of_a_weight_does_to_the_words_score(tokenizer):
    captioner = TorchCaptioner(*TOYS["lstm"](tokenizer))
    photo = captioner.prepare(noise(64, 48))
    ids = [tokenizer.start_id, *tokenizer.encode("a dog on the beach")]
    decoder, place = captioner.model.decoder, 2
    ((gradient, relevance),) = gradient_maps(
        captioner, torch.from_numpy(photo.pixels), ids, [place]
    )
    assert torch.equal(gradient, relevance)  # a CNN's regions mix in no attention
    with torch.no_grad():
        state = decoder.init_state(captioner.encode([photo]))
        for word in ids[:place]:
            _, state = decoder.step_with_attention(torch.tensor([[word]]), state)
        usual = type(decoder.attention).forward

        def score(change):
            def changed(queries, keys, features):
                _, weights = usual(decoder.attention, queries, keys, features)
                return (weights + change) @ features, weights

            decoder.attention.forward = changed
            reading, _ = decoder.step_with_attention(torch.tensor([[ids[place]]]), state)
            del decoder.attention.forward
            return reading, float(reading.logits[0, 0, 0, ids[place + 1]])

        reading, plain = score(0.0)
        weights = reading.attention[0, 0, 0, 0, 0]
        step = 1e-2 * torch.eye(len(weights))
        slopes = torch.tensor([(score(own)[1] - plain) / 1e-2 for own in step])
    assert_close(gradient, (weights * slopes).clamp(min=0), rtol=0.05, atol=1e-3)


def test_decoders_that_read_regions_and_words_at_once_are_refused(tokenizer):
    captioner = TorchCaptioner(*TOYS["lstm"](tokenizer))
    several = TorchCaptioner.ensemble([captioner, captioner])
    photo = captioner.prepare(noise(64, 48))
    with pytest.raises(ConfigError, match=r"^gradient attention needs a single model that"):
        gradient_maps(several, torch.from_numpy(photo.pixels), [1, 5], [0])
