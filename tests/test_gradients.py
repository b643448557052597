"""Attention weighted by gradients, as captions show it."""

import json

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from captioner import AttentionConfig, Captioner
from captioner.checkpoint.weights import save_checkpoint
from captioner.cli import main
from captioner.errors import ConfigError
from captioner.model.gradients import gradient_maps
from captioner.pytorch import TorchCaptioner
from tests import foreign
from tests.conftest import TOYS
from tests.photos import noise

GRADIENT = AttentionConfig(method="gradient")


@pytest.mark.parametrize("kind", list(TOYS))
def test_maps_are_weights_times_what_a_change_of_them_does_to_the_score(tokenizer, kind):
    """By differences, a weight at a time, of what each layer's attention to regions hands on."""
    captioner = TorchCaptioner(*TOYS[kind](tokenizer))
    decoder = captioner.decoder.double()
    features = captioner.encode([captioner.prepare(noise(64, 48))]).double()
    ids, place = [tokenizer.start_id, *tokenizer.encode("a dog on the beach")], 2
    words = torch.tensor([[ids]])
    rows, step = features.shape[1], 1e-6
    changes = {}
    if kind == "lstm":
        looking, calls = [decoder.attention], iter(range(10**9))

        def changed(layer, queries, keys, seen):
            weights = layer.score(queries, keys).softmax(dim=-1)
            if next(calls) % len(ids) == place:
                changes["weights"] = weights[0, 0][None, None]
                weights = weights + changes.get("by", torch.zeros(1, rows))[0]
            return weights @ seen, weights
    else:
        looking = [block.cross_attention for block in decoder.blocks]

        def changed(layer, x, keys, values, *, causal=False):
            weights = layer.weights(x, keys).clone()
            number = looking.index(layer)
            changes.setdefault(number, weights[0, :, place].clone())
            if changes.get("in") == number:
                weights[0, changes["head"], place] += changes["by"]
            return layer.out((weights @ values).transpose(1, 2).flatten(2))

    for layer in looking:
        layer.forward = lambda *given, layer=layer, **more: changed(layer, *given, **more)

    def score():
        with torch.no_grad():
            return decoder(features, words).logits[0, 0, place, ids[place + 1]].item()

    plain, expected = score(), torch.zeros(rows, dtype=torch.float64)
    for number in range(len(looking)):
        heads = changes["weights"][0] if kind == "lstm" else changes[number]
        gains = torch.zeros_like(heads)
        for head in range(len(heads)):
            for row in range(rows):
                by = step * torch.eye(rows, dtype=torch.float64)[row]
                changes |= {"in": number, "head": head, "by": by[None] if kind == "lstm" else by}
                gains[head, row] = heads[head, row] * (score() - plain) / step
        expected += gains.clamp(min=0).mean(dim=0)
    for layer in looking:
        del layer.forward
    (found,) = gradient_maps(decoder, features, ids, [place])
    assert_close(found, expected, rtol=1e-3, atol=1e-7)
    assert found.sum() > 0


@pytest.mark.parametrize("kind", list(TOYS))
def test_words_tell_what_they_depend_on_and_all_else_stays(tokenizer, kind):
    plain = TorchCaptioner(*TOYS[kind](tokenizer))
    captioner, photo = plain.with_gradients(), plain.prepare(noise(64, 48))
    for made, usual in (
        (captioner.caption(photo), plain.caption(photo)),
        (
            captioner.read_sentence(photo, "A dog's ball"),
            plain.read_sentence(photo, "A dog's ball"),
        ),
    ):
        assert json.dumps(made.to_dict()) == json.dumps(usual.to_dict())
        shown = made.with_view(GRADIENT)
        for word, own in zip(shown.words, made.words, strict=True):
            assert word.attention.dtype == np.float32
            assert word.attention.sum() == pytest.approx(1)
            assert (word.attention >= 0).all()
            np.testing.assert_allclose(word.attention, own.gradient, rtol=1e-5)
        with pytest.raises(ConfigError, match="which captions have only on request"):
            usual.with_view(GRADIENT)
    tokens = plain.header.tokenizer.encode("A dog's ball")
    ids = [plain.header.tokenizer.start_id, *tokens]
    maps = gradient_maps(plain.decoder, plain.encode([photo]), ids, range(len(tokens)))
    mean = maps[1:3].mean(dim=0)  # dog and 's are one word
    np.testing.assert_allclose(
        made.words[1].gradient.ravel(), (mean / mean.sum())[-made.words[1].gradient.size :], 1e-4
    )


def test_gradients_take_one_model_on_pytorch(tokenizer):
    model = TorchCaptioner(*TOYS["lstm"](tokenizer))
    with pytest.raises(ConfigError, match=r"^gradient attention needs a single model that "):
        TorchCaptioner.ensemble([model, model]).with_gradients()
    with pytest.raises(ConfigError, match="needs PyTorch: use --runtime torch and a checkpoint"):
        Captioner.load(runtime="onnx").with_gradients()


def test_the_command_shows_what_words_depend_on(tokenizer, tmp_path, photos, capsys):
    checkpoint = tmp_path / "toy.safetensors"
    save_checkpoint(checkpoint, *TOYS["transformer"](tokenizer), half=False)
    asked = ["caption", str(photos[1]), "--checkpoint", str(checkpoint), "--attention", "gradient"]
    assert main([*asked, "--json", "--overlay", str(tmp_path)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["view"] == {"method": "gradient", "layer": None, "head": None}
    captioner = Captioner.load(checkpoint).with_gradients()
    expected = captioner.caption(photos[1]).with_view(GRADIENT)
    for word, own in zip(shown["words"], expected.words, strict=True):
        np.testing.assert_allclose(word["attention"]["weights"], own.attention, rtol=1e-4)
    assert (tmp_path / f"{photos[1].name}.png").is_file()
    with pytest.raises(SystemExit):
        main(asked[:-1])
    assert main([*asked, "--head", "1"]) == 2
    assert capsys.readouterr().err.endswith(
        "--attention is 'gradient', which uses all heads; leave out --head 1.\n"
    )


def test_blip_shows_what_its_words_depend_on(tmp_path):
    folder = foreign.write(foreign.blip(), tmp_path / "blip")
    captioner = Captioner.load(folder, runtime="torch").with_gradients()
    caption = captioner.caption(noise(64, 48), max_words=5)
    shown = caption.with_view(GRADIENT)
    decoder, ids = captioner.decoder, list(captioner.header.tokenizer.prefix)
    features = captioner.encode([captioner.prepare(noise(64, 48))])
    with torch.no_grad():
        first = int(decoder(features, torch.tensor([[ids]])).logits[0, 0, -1].argmax())
    (plain,) = gradient_maps(decoder, features, [*ids, first], [len(ids) - 1])
    assert plain.sum() > 0
    assert shown.words
    for word in shown.words:
        assert word.attention.shape == captioner.grid
        assert word.attention.sum() == pytest.approx(1)
