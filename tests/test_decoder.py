from pkgutil import resolve_name
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from captioner.config import EncoderConfig, ModelConfig, PreprocessConfig
from captioner.decoders import DECODERS, PrefixConfig, RecurrentConfig, TransformerConfig
from captioner.decoders.prefix import PrefixDecoder
from captioner.model import Decoder, DecoderState, build_decoder, build_model

LSTM = {"width": 8, "embedding_dim": 6, "attention_width": 5}
TRANSFORMER = {"width": 8, "layers": 2, "heads": 2, "feedforward_width": 12, "max_positions": 9}
SETTINGS = {
    **{
        f"{cell} {attention}": RecurrentConfig(cell=cell, attention=attention, **LSTM)
        for cell in ("lstm", "gru")
        for attention in ("additive", "dot", "scaled_dot", "general")
    },
    "lstm untied": RecurrentConfig(tie=False, **LSTM),
    "transformer learned": TransformerConfig(positions="learned", **TRANSFORMER),
    "transformer sinusoidal": TransformerConfig(positions="sinusoidal", **TRANSFORMER),
    "transformer untied": TransformerConfig(tie=False, **TRANSFORMER),
    "transformer like BERT": TransformerConfig(
        norm="post",
        activation="gelu",
        scaled_words=False,
        embedding_norm=True,
        bridge="none",
        head=True,
        **TRANSFORMER,
    ),
    "transformer like GPT-2": TransformerConfig(
        activation="gelu_tanh", scaled_words=False, bridge="linear", **TRANSFORMER
    ),
    "prefix": PrefixConfig(**TRANSFORMER),
    "prefix untied": PrefixConfig(tie=False, **TRANSFORMER),
}


@pytest.fixture(params=SETTINGS)
def decoder(request):
    torch.manual_seed(0)
    return build_decoder(SETTINGS[request.param], words=11, feature_dim=7).double().eval()


def features():
    return torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(1)).double()


def captions(*, count):
    return torch.randint(11, (3, count, 6), generator=torch.Generator().manual_seed(2))


def step_through(decoder, state, words):
    """Return the logits after each word, read one by one."""
    logits = []
    for t in range(words.shape[2]):
        following, state = decoder.step(words[:, :, t], state)
        logits.append(following)
    return torch.stack(logits, dim=2), state


def test_word_by_word_a_decoder_says_what_it_says_of_the_whole(decoder):
    words = captions(count=1)
    stepped, _ = step_through(decoder, decoder.init_state(features()), words)
    assert_close(stepped, decoder(features(), words).logits)


def test_so_it_does_for_several_captions_of_an_image_at_once(decoder):
    words = captions(count=3)
    widened = decoder.init_state(features()).reorder(torch.zeros(3, 3, dtype=torch.long))
    stepped, _ = step_through(decoder, widened, words)
    assert_close(stepped, decoder(features(), words).logits)


def test_attention_step_by_step_equals_that_of_whole_captions(decoder):
    words = captions(count=3)
    whole = decoder(features(), words, with_attention=True)
    state = decoder.init_state(features()).reorder(torch.zeros(3, 3, dtype=torch.long))
    for t in range(words.shape[2]):
        reading, state = decoder.step_with_attention(words[:, :, t], state)
        assert_close(reading.logits, whole.logits[:, :, t : t + 1])
        assert_close(reading.attention, whole.attention[..., t : t + 1, :])
        if whole.gate is not None:
            assert_close(reading.gate, whole.gate[:, :, t : t + 1])
        if whole.between_words is not None:
            expected = whole.between_words[..., t : t + 1, : t + 1]
            assert_close(reading.between_words, expected)


def test_reordered_hypotheses_continue_from_their_parents(decoder):
    words = captions(count=3)
    widened = decoder.init_state(features()).reorder(torch.zeros(3, 3, dtype=torch.long))
    _, state = step_through(decoder, widened, words[:, :, :3])
    parents = torch.tensor([[2, 0], [1, 1], [0, 2]])
    stepped, _ = step_through(decoder, state.reorder(parents), words[:, :2, 3:])

    histories = words[torch.arange(3)[:, None], parents, :3]
    joined = torch.cat([histories, words[:, :2, 3:]], dim=2)
    assert_close(stepped, decoder(features(), joined).logits[:, :, 3:])


def test_selected_images_continue_without_the_others(decoder):
    words = captions(count=3)
    widened = decoder.init_state(features()).reorder(torch.zeros(3, 3, dtype=torch.long))
    _, state = step_through(decoder, widened, words[:, :, :3])
    images = torch.tensor([2, 0])
    stepped, _ = step_through(decoder, state.select(images), words[images, :, 3:])
    assert_close(stepped, decoder(features(), words).logits[images, :, 3:])


def test_a_state_is_a_value_that_a_step_leaves_alone(decoder):
    words = captions(count=1)
    state = decoder.init_state(features())
    first, _ = decoder.step(words[:, :, 0], state)
    decoder.step(words[:, :, 1], state)
    assert_close(decoder.step(words[:, :, 0], state)[0], first, rtol=0, atol=0)


def test_a_word_changes_nothing_before_it_and_everything_from_it_on(decoder):
    words = captions(count=2)
    before = decoder(features(), words).logits
    words[:, :, 4] = (words[:, :, 4] + 1) % 11
    after = decoder(features(), words).logits
    assert_close(after[:, :, :4], before[:, :, :4], rtol=0, atol=1e-12)
    assert (after[:, :, 4:] - before[:, :, 4:]).abs().amax(dim=-1).min() > 1e-6


def test_an_images_captions_do_not_know_each_other(decoder):
    words = captions(count=3)
    together = decoder(features(), words, with_attention=True)
    for k in range(3):
        alone = decoder(features(), words[:, k : k + 1], with_attention=True)
        assert_close(alone.logits, together.logits[:, k : k + 1])
        assert_close(alone.attention, together.attention[:, k : k + 1])


def test_attention_comes_by_layer_and_head_and_sums_to_one_or_less_where_words_have_a_share(
    decoder,
):
    words = captions(count=2)
    reading = decoder(features(), words, with_attention=True)
    layers, heads = decoder.layers, decoder.heads
    assert reading.attention.shape == (3, 2, layers, heads, 6, 4)
    total = reading.attention.sum(dim=-1)
    if isinstance(decoder, PrefixDecoder):
        assert (total < 1).all()
        assert total.min() > 0
    else:
        assert_close(total, torch.ones(3, 2, layers, heads, 6).double())


def test_attention_is_returned_only_on_request_and_changes_no_logit(decoder):
    words = captions(count=2)
    plain, explained = (decoder(features(), words, with_attention=w) for w in (False, True))
    assert plain.attention is None
    assert_close(plain.logits, explained.logits, rtol=0, atol=0)


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_say_of_a_decoder_what_it_says_of_itself(kind):
    settings = SETTINGS[kind]
    decoder = build_decoder(settings, words=11, feature_dim=7)
    said = {"lstm": (1, 1, None)}.get(settings.kind, (2, 2, 8))
    assert (settings.layers, settings.heads, settings.longest) == said
    assert (decoder.layers, decoder.heads, decoder.longest) == said
    assert decoder.parallel == (settings.kind != "lstm")


@pytest.mark.parametrize("kind", ["transformer learned", "prefix"])
def test_a_decoder_reads_and_writes_its_longest_caption_and_no_longer_one(kind):
    decoder = build_decoder(SETTINGS[kind], words=11, feature_dim=7).eval()
    seen = features().float()
    words = torch.ones(3, 1, decoder.longest + 1, dtype=torch.long)  # and START
    assert decoder(seen, words).logits.shape[2] == decoder.longest + 1
    with pytest.raises(ValueError, match="caption of 10 tokens; this decoder reads 9 at most"):
        decoder(seen, torch.cat([words, words[..., :1]], dim=2))


def test_every_registered_decoder_is_built_by_its_settings_and_tested_here():
    assert {settings.kind for settings in SETTINGS.values()} == DECODERS.keys()
    for kind, settings in DECODERS.items():
        assert settings().kind == kind
        assert issubclass(resolve_name(settings.network), Decoder)


def test_one_step_after_another_gives_what_a_decoders_own_reading_gives(decoder):
    words = captions(count=2)
    plain = Decoder.forward(decoder, features(), words, with_attention=True)
    own = decoder(features(), words, with_attention=True)
    assert_close(plain.logits, own.logits)
    assert_close(plain.attention, own.attention)
    assert (plain.gate is None) == (own.gate is None)
    if own.gate is not None:
        assert_close(plain.gate, own.gate)
    assert Decoder.forward(decoder, features(), words).attention is None


class _Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor | None


def a_state():
    numbers = torch.arange(12.0).reshape(2, 3, 2)
    return DecoderState(
        memory=(torch.tensor([10.0, 20.0]), None, (torch.tensor([[1.0], [2.0]]),)),
        past=_Pair(left=numbers, right=None),
    )


def test_reorder_takes_hypotheses_and_leaves_what_the_image_says():
    state = a_state()
    reordered = state.reorder(torch.tensor([[2, 2, 0, 1], [1, 0, 0, 0]]))
    assert reordered.past.left[..., 0].tolist() == [[4.0, 4.0, 0.0, 2.0], [8.0, 6.0, 6.0, 6.0]]
    assert reordered.past.right is None
    assert isinstance(reordered.past, _Pair)
    assert reordered.memory is state.memory
    assert_close(state.past.left, a_state().past.left)


def test_select_takes_images_of_memory_and_past_alike():
    selected = a_state().select(torch.tensor([1]))
    assert selected.memory[0].tolist() == [20.0]
    assert selected.memory[1] is None
    assert selected.memory[2][0].tolist() == [[2.0]]
    assert_close(selected.past.left, a_state().past.left[1:])


ENCODERS = {
    "vit": EncoderConfig(backbone="test_vit"),
    # A residual branch that starts at nothing would keep gradients from what lies within.
    "resnet": EncoderConfig(backbone="test_resnet", options={"zero_init_last": False}),
}


def a_model(decoder_settings, *, encoder="vit"):
    torch.manual_seed(0)
    return build_model(
        ModelConfig(encoder=ENCODERS[encoder], decoder=decoder_settings),
        preprocess=PreprocessConfig(height=64, width=64),
        words=11,
    )


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("kind", SETTINGS)
def test_a_loss_reaches_every_parameter_of_the_model(kind, encoder):
    model = a_model(SETTINGS[kind], encoder=encoder).train()
    pixels = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    words = captions(count=2)
    logits = model(pixels, words[..., :-1]).logits
    F.cross_entropy(logits.flatten(0, 2), words[..., 1:].flatten()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # The same bias on every key shifts every score alike, and softmax does not see it.
        assert parameter.grad.abs().max() > 0 or name.endswith("key.bias"), name


@pytest.mark.parametrize("kind", ["lstm additive", "transformer learned"])
def test_a_model_reads_captions_of_the_regions_its_encoder_sees(kind):
    model = a_model(SETTINGS[kind]).eval()
    pixels, words = torch.randn(3, 3, 64, 64), captions(count=2)
    reading = model(pixels, words, with_attention=True)
    gh, gw = model.encoder.grid
    assert reading.logits.shape == (3, 2, 6, 11)
    assert reading.attention.shape[-1] == gh * gw
    assert_close(reading.logits, model.decoder(model.encoder(pixels), words).logits)


def test_models_build_the_same_from_the_same_seed():
    one, other = (a_model(SETTINGS["transformer learned"]).state_dict() for _ in range(2))
    assert one.keys() == other.keys()
    for name in one:
        assert_close(one[name], other[name], rtol=0, atol=0)
