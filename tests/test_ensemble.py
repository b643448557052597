"""Several captioners as one: its words are the mean of theirs, and so is where it looked."""

import math
from dataclasses import replace

import pytest
import torch

from captioner.checkpoint.header import Header
from captioner.cli import main
from captioner.config import EncoderConfig, ModelConfig, PreprocessConfig, SearchConfig
from captioner.decoders import RecurrentConfig, TransformerConfig
from captioner.errors import ConfigError
from captioner.pytorch import TorchCaptioner
from captioner.speed import packing
from captioner.words.tokenizer import Tokenizer
from tests.conftest import CAPTIONS, TOYS, _talkative
from tests.test_pipeline import assert_same

METHODS = {
    "beam": {"beam": 4, "length_penalty": 0.7, "no_repeat": 2},
    "greedy": {"method": "greedy"},
    "sample": {"method": "sample", "top_p": 0.9, "seed": 3},
}
all_methods = pytest.mark.parametrize("method", METHODS)
TRANSFORMER = TransformerConfig(
    width=32, layers=2, heads=2, feedforward_width=64, max_positions=16, tie=False
)
LSTM = RecurrentConfig(width=32, embedding_dim=16, attention_width=16, tie=False)


def member(name, backbone, decoder, tokenizer, *, seed, **preprocess) -> TorchCaptioner:
    header = Header(
        name=name,
        model=ModelConfig(encoder=EncoderConfig(backbone=backbone), decoder=decoder),
        preprocess=PreprocessConfig(height=160, width=160, **preprocess),
        tokenizer=tokenizer,
        search=SearchConfig(beam=4, max_words=8),
    )
    return TorchCaptioner(_talkative(header, seed=seed), header)


@pytest.fixture(scope="module")
def members(tokenizer) -> list[TorchCaptioner]:
    """Two on one grid, one on another and with other colours."""
    return [
        member("one", "test_vit", TRANSFORMER, tokenizer, seed=3),
        member("two", "test_vit", LSTM, tokenizer, seed=7),
        member("three", "test_resnet", LSTM, tokenizer, seed=5, mean=(0.3,) * 3, std=(0.4,) * 3),
    ]


@all_methods
def test_a_model_twice_says_what_it_says_alone(toy, photos, method):
    alone = TorchCaptioner(*toy)
    twice = TorchCaptioner.ensemble([alone, alone])
    for ours, theirs in zip(
        twice.caption_batch(photos, **METHODS[method]),
        alone.caption_batch(photos, **METHODS[method]),
        strict=True,
    ):
        shown = tuple(replace(w, heads=w.attention[None, None]) for w in theirs.words)
        alike = tuple(replace(w, heads=w.heads.mean(axis=1, keepdims=True)) for w in ours.words)
        assert_same(replace(ours, words=alike), replace(theirs, words=shown))
        assert ours.checkpoint == f"{alone.header.name} + {alone.header.name}"


def next_words(members, photo, said) -> torch.Tensor:
    """Mean probability of every next word, by one whole reading of each member."""
    means = []
    for each in members:
        tokenizer = each.header.tokenizer
        pixels = torch.from_numpy(each.prepare(photo).pixels)[None]
        with torch.no_grad():
            reading = each.model(pixels, torch.tensor([[[tokenizer.start_id, *said]]]))
        means.append(reading.logits[0, 0, -1].softmax(dim=-1))
    mean = sum(means) / len(means)
    mean[list(tokenizer.never_written)] = 0
    return mean / mean.sum()


def test_greedy_search_follows_the_plain_average(members, photos):
    ensemble = TorchCaptioner.ensemble(members)
    end_id = ensemble.header.tokenizer.end_id
    lengths = set()
    for photo in photos:
        said, total = [], 0.0
        while len(said) < 8:
            mean = next_words(members, photo, said)
            total += math.log(mean.max())
            said.append(int(mean.argmax()))
            if said[-1] == end_id:
                break
        found = ensemble.caption(photo, method="greedy")
        assert found.text == ensemble.header.tokenizer.decode([w for w in said if w != end_id])
        if said[-1] == end_id:
            assert found.log_probability == pytest.approx(total, abs=1e-4)
        lengths.add(len(said))
    assert len(lengths) > 1


def test_every_candidate_has_the_probability_of_the_plain_average(members, photos):
    ensemble = TorchCaptioner.ensemble(members)
    end_id = ensemble.header.tokenizer.end_id
    compared = 0
    for photo in photos:
        for candidate in ensemble.caption(photo, beam=6).candidates:
            if len(candidate.tokens) < 8:  # else END may not have come
                said = [*candidate.tokens, end_id]
                total = sum(
                    math.log(next_words(members, photo, said[:t])[word])
                    for t, word in enumerate(said)
                )
                assert candidate.log_probability == pytest.approx(total, abs=1e-4)
                compared += 1
    assert compared > 3


def test_a_step_is_a_reading(members):
    ensemble = TorchCaptioner.ensemble(members).model
    features = ensemble.encoder(torch.randn(2, 3, 160, 160))
    words = torch.randint(4, 21, (2, 1, 5))
    with torch.no_grad():
        reading = ensemble.decoder(features, words, with_attention=True)
        state = ensemble.decoder.init_state(features)
        for t in range(words.shape[2]):
            look, _ = ensemble.decoder.step_with_attention(words[..., t], state)
            logits, state = ensemble.decoder.step(words[..., t], state)
            torch.testing.assert_close(logits, reading.logits[:, :, t], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(look.logits[:, :, 0], logits, atol=1e-4, rtol=1e-4)
            shown = reading.attention[..., t : t + 1, :]
            torch.testing.assert_close(look.attention, shown, atol=1e-4, rtol=1e-4)


def test_where_it_looked_is_the_mean_of_those_who_look_at_the_same_regions(members, photos):
    ensemble = TorchCaptioner.ensemble(members)
    caption = ensemble.caption(photos[0])
    assert [tuple(word.heads.shape) for word in caption.words] == [(1, 2, 10, 10)] * len(
        caption.words
    )
    [again, *_] = ensemble.read_candidates(photos[0], caption)
    tokens = [*caption.candidates[0].tokens]
    alone = [each.read_candidates(photos[0], caption)[0] for each in members[:2]]
    assert len(tokens) >= len(again.words) > 0
    for word, one, two in zip(again.words, alone[0].words, alone[1].words, strict=True):
        mean = (one.attention + two.attention) / 2
        torch.testing.assert_close(word.attention, mean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(word.heads[0, 1], two.attention, atol=1e-5, rtol=1e-4)
        assert word.gate is None
        assert word.rollout is None


def test_what_grows_ends_as_the_caption(members, photos):
    ensemble = TorchCaptioner.ensemble(members)
    *_, last = ensemble.stream(photos[0])
    assert_same(last, ensemble.caption(photos[0]))


def test_packed_weights_and_bfloat16_leave_an_ensembles_captions_unchanged(
    members, photos, monkeypatch
):
    monkeypatch.setattr(packing, "_gains", lambda: True)
    plain = TorchCaptioner.ensemble(members)
    for ours, theirs in zip(
        plain.packed().caption_batch(photos), plain.caption_batch(photos), strict=True
    ):
        assert_same(ours, theirs)
    half = TorchCaptioner(members[0].model, members[0].header, precision=torch.bfloat16)
    twice = TorchCaptioner.ensemble([half, members[0]])
    assert twice.precision == torch.bfloat16
    for ours, theirs in zip(twice.caption_batch(photos), half.caption_batch(photos), strict=True):
        assert ours.text == theirs.text
        assert ours.log_probability == pytest.approx(theirs.log_probability, abs=1e-2)


def test_the_shortest_memory_limits_a_caption(members):
    header = TorchCaptioner.ensemble(members[::-1]).header
    assert header.search_with(max_words=15).max_words == 15
    with pytest.raises(ConfigError) as caught:
        header.search_with(max_words=16)
    assert str(caught.value) == "search.max_words is 16; three + two + one writes 15 at most."


def refused(*members) -> str:
    with pytest.raises(ConfigError) as caught:
        TorchCaptioner.ensemble(members)
    return str(caught.value)


def test_what_cannot_caption_together_is_refused(members, tokenizer):
    one = members[0]
    other = Tokenizer.train_words(CAPTIONS[:2], min_count=1)
    stranger = TorchCaptioner(*TOYS["lstm"](other))
    assert refused(one, stranger) == (
        f"one and toy-lstm have different vocabularies (21 and {len(other)} words), so they "
        "cannot form an ensemble; choose checkpoints that were trained with the same vocabulary."
    )
    assert refused(one, TorchCaptioner(*TOYS["lstm"](tokenizer))) == (
        "one and toy-lstm need different input (preprocess.height is 160 and 96), but an ensemble "
        "reads each photo once; choose checkpoints that take the same input."
    )
    feeds = (PreprocessConfig(fit="letterbox", mean=(mean,) * 3) for mean in (0.4, 0.5))
    padded = [TorchCaptioner(one.model, replace(one.header, preprocess=feed)) for feed in feeds]
    assert "(preprocess.mean is (0.4, 0.4, 0.4) and (0.5, 0.5, 0.5))" in refused(*padded)
    pair = TorchCaptioner.ensemble(members[:2])
    assert refused(pair, one) == "one + two is an ensemble itself; give its members."
    assert refused() == "an ensemble needs a member; give two captioners or more."
    assert TorchCaptioner.ensemble([one]) is one


@pytest.fixture(scope="module")
def files(members, tmp_path_factory):
    from captioner.checkpoint.weights import save_checkpoint

    folder = tmp_path_factory.mktemp("members")
    for each in members:
        path = folder / f"{each.header.name}.safetensors"
        save_checkpoint(path, each.model, each.header, half=False)
    return folder


def both(files, *names):
    return [part for name in names for part in ("--checkpoint", str(files / f"{name}.safetensors"))]


def test_the_command_captions_with_several_checkpoints(files, members, photos, capsys):
    assert main(["caption", str(photos[0]), *both(files, "one", "two", "three")]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == TorchCaptioner.ensemble(members).caption(photos[0]).text
    assert err == (
        "captioner: attention of three is not shown: its grid of regions differs from the first "
        "model's.\n"
    )


def test_a_folder_captioned_by_an_ensemble_resumes_with_the_same_ensemble_only(
    files, members, folder, capsys
):
    command = ["folder", str(folder), "--precision", "float32", "--quiet"]
    assert main([*command, *both(files, "one", "two")]) == 0
    expected = TorchCaptioner.ensemble(members[:2]).caption(folder / "flag.png").text
    assert expected in (folder / "captions.jsonl").read_text()
    capsys.readouterr()
    assert main([*command, *both(files, "two", "one")]) == 2
    assert 'checkpoint was "one + two" and is now "two + one"' in capsys.readouterr().err
