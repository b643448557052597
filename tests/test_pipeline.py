import copy
import json
import math
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image

from captioner.checkpoint import header
from captioner.checkpoint.weights import save_checkpoint
from captioner.config import AttentionConfig, SearchConfig, to_table
from captioner.errors import ConfigError, ImageError
from captioner.overlay import render
from captioner.photo import load_photo
from captioner.photo.preprocess import Geometry, preprocess
from captioner.pytorch import TorchCaptioner
from captioner.result.caption import Candidate, Caption, entropy
from captioner.search import make_noise, search
from captioner.words.constraints import Constraints, constraints_of
from tests.photos import noise, quarters


@pytest.fixture
def model(toy) -> TorchCaptioner:
    return TorchCaptioner(*toy)


def assert_same(ours: Caption, theirs: Caption) -> None:
    """Everything equal, but for the rounding of other batch sizes."""
    assert ours.text == theirs.text
    assert ours.log_probability == pytest.approx(theirs.log_probability, abs=1e-4)
    assert [c.text for c in ours.candidates] == [c.text for c in theirs.candidates]
    assert [w.text for w in ours.words] == [w.text for w in theirs.words]
    assert (ours.geometry, ours.search) == (theirs.geometry, theirs.search)
    for word, other in zip(ours.words, theirs.words, strict=True):
        assert word.probability == pytest.approx(other.probability, abs=1e-4)
        assert_allclose(word.attention, other.attention, atol=1e-5, rtol=0)
        assert_allclose(word.heads, other.heads, atol=1e-5, rtol=0)


def winner(
    model: TorchCaptioner, photo: Image.Image, **changes
) -> tuple[torch.Tensor, list[int], bool]:
    """Features of a photo, ids of its caption and whether END came, without the pipeline."""
    tokenizer = model.header.tokenizer
    pixels, _ = preprocess(photo, model.header.preprocess)
    with torch.no_grad():
        features = model.model.encoder(pixels[None])
    config = model.header.search_with(**changes)
    found = search(
        model.model.decoder,
        features,
        config=config,
        constraints=Constraints(
            prefix=(tokenizer.start_id, *tokenizer.encode(config.prompt)),
            end_id=tokenizer.end_id,
            never_written=(tokenizer.pad_id, tokenizer.start_id, tokenizer.unk_id),
        ),
        noise=make_noise(pixels[None], config=config),
    )
    return features, found[0].tokens[0], found[0].finished[0]


def test_toys_write_captions_of_different_lengths_with_endings(model, photos):
    """Without which the tests below would show little."""
    found = model.caption_batch(photos)
    assert len({len(caption.words) for caption in found}) > 1
    assert any("'s" in caption.text for caption in found)
    assert len({caption.text for caption in found}) > 2


def test_a_batch_gives_what_one_photo_at_a_time_gives(model, photos):
    for ours, theirs in zip(model.caption_batch(photos), map(model.caption, photos), strict=True):
        assert_same(ours, theirs)


def test_the_order_of_a_batch_does_not_matter(model, photos):
    backwards = model.caption_batch(photos[::-1])
    for ours, theirs in zip(backwards[::-1], model.caption_batch(photos), strict=True):
        assert_same(ours, theirs)


def test_a_path_bytes_a_picture_and_an_array_give_the_same_caption(model, photos):
    path = photos[1]
    picture = load_photo(path)
    expected = model.caption(path)
    for photo in (str(path), path.read_bytes(), picture, np.asarray(picture)):
        assert_same(model.caption(photo), expected)


@pytest.mark.parametrize(
    "changes", [{"method": "beam"}, {"method": "greedy"}, {"method": "sample", "seed": 2}]
)
def test_a_stream_ends_with_what_captioning_gives(model, photos, changes):
    *growing, last = model.stream(photos[1], **changes)
    assert_same(last, model.caption(photos[1], **changes))
    assert growing
    for length, caption in enumerate(growing, start=1):
        assert 1 <= len(caption.words) <= length  # endings are tokens, too
        for word in caption.words:
            assert word.attention.sum().item() == pytest.approx(1, abs=1e-5)


def test_what_has_been_said_greedily_stays(model, photos):
    *growing, last = model.stream(photos[0], method="greedy")
    for caption in growing:
        for word, final in zip(caption.words[:-1], last.words, strict=False):
            assert word.text == final.text
            assert word.probability == pytest.approx(final.probability, abs=1e-5)
            torch.testing.assert_close(word.heads, final.heads, atol=1e-5, rtol=0)


def test_a_candidate_is_read_as_it_would_have_been_as_the_winner(model, photos):
    for photo in photos:
        caption = model.caption(photo, beam=3)
        read = model.read_candidates(photo, caption)
        assert [c.text for c in read] == [c.text for c in caption.candidates]
        for candidate, known in zip(read, caption.candidates, strict=True):
            assert candidate.log_probability == known.log_probability
            assert math.prod(w.probability for w in candidate.words) >= math.exp(
                candidate.log_probability - 1e-4
            )  # the end mark is not among the words
    # The winner, listed as a candidate, must come out as the winner it is.
    listed = Candidate(
        text=caption.text,
        log_probability=caption.log_probability,
        tokens=tuple(winner(model, load_photo(photo), beam=3)[1]),
    )
    (again,) = model.read_candidates(photo, replace(caption, candidates=(listed,)))
    assert_same(again, replace(caption, candidates=()))


def test_a_caption_without_candidates_has_none_to_read(model, photos):
    assert model.read_candidates(photos[0], model.caption(photos[0], method="greedy")) == ()


def test_an_empty_batch_gives_nothing(model):
    assert model.caption_batch([]) == []


def test_captions_survive_saving_and_loading(toy, photos, tmp_path):
    save_checkpoint(tmp_path / "m.safetensors", *toy, half=False)
    loaded = TorchCaptioner.load(tmp_path / "m.safetensors", device="cpu").caption_batch(photos)
    for ours, theirs in zip(loaded, TorchCaptioner(*toy).caption_batch(photos), strict=True):
        assert ours.text == theirs.text
        assert ours.log_probability == theirs.log_probability
        for word, other in zip(ours.words, theirs.words, strict=True):
            assert np.array_equal(word.attention, other.attention)


@pytest.mark.parametrize("method", ["beam", "greedy", "sample"])
def test_probabilities_are_those_of_reading_the_caption_word_by_word(model, method):
    photo, tokenizer, decoder = noise(60, 200, seed=1), model.header.tokenizer, model.model.decoder
    features, ids, finished = winner(model, photo, method=method)
    logs = []
    with torch.no_grad():
        state = decoder.init_state(features)
        for latest, following in zip(
            [tokenizer.start_id, *ids], [*ids, tokenizer.end_id], strict=True
        ):
            logits, state = decoder.step(torch.tensor([[latest]]), state)
            allowed = logits[0, 0].double()
            allowed[[tokenizer.pad_id, tokenizer.start_id, tokenizer.unk_id]] = -math.inf
            logs.append(float(allowed.log_softmax(dim=0)[following]))
    if not finished:
        logs.pop()  # cut off, END was not written

    caption = model.caption(photo, method=method)
    assert caption.text == tokenizer.decode(ids)
    assert caption.log_probability == pytest.approx(sum(logs), abs=1e-4)
    shown = tokenizer.words(ids)
    expected = [math.exp(sum(logs[t] for t in word.tokens)) for word in shown]
    assert [word.probability for word in caption.words] == pytest.approx(expected, abs=1e-4)


def test_attention_is_what_decides_each_token_averaged_over_the_words_tokens(model):
    photo, tokenizer = noise(60, 200, seed=1), model.header.tokenizer
    features, ids, _ = winner(model, photo)
    grid = model.model.encoder.grid
    before_each = []
    for t in range(len(ids)):  # only the words before it, so nothing can have looked ahead
        words = torch.tensor([[[tokenizer.start_id, *ids[:t]]]])
        with torch.no_grad():
            reading = model.model.decoder(features, words, with_attention=True)
        before_each.append(reading.attention[0, 0, :, :, -1].unflatten(-1, grid))

    caption = model.caption(photo)
    assert any(len(word.tokens) > 1 for word in tokenizer.words(ids))
    for word, shown in zip(caption.words, tokenizer.words(ids), strict=True):
        heads = torch.stack([before_each[t] for t in shown.tokens]).mean(dim=0).numpy()
        assert_allclose(word.heads, heads, atol=1e-5, rtol=0)
        assert_allclose(word.attention, heads[-1].mean(axis=0), atol=1e-5, rtol=0)


def test_attention_is_float32_never_negative_and_sums_to_1(model, photos):
    down, across = model.model.encoder.grid
    for caption in model.caption_batch(photos):
        for word in caption.words:
            assert word.attention.dtype == word.heads.dtype == np.float32
            assert word.attention.shape == (down, across)
            assert word.attention.min() >= 0
            assert word.attention.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
            sums = word.heads.sum(axis=(-2, -1), dtype=np.float64)
            assert_allclose(sums, np.ones_like(sums), atol=1e-6, rtol=0)


def test_a_transformer_shows_every_layer_and_head_and_the_lstm_its_gate(model):
    word = model.caption(quarters()).words[0]
    if model.header.model.decoder.kind == "transformer":
        assert word.heads.shape[:2] == (2, 2)
        assert word.gate is None
    else:
        assert word.heads.shape[:2] == (1, 1)
        assert 0 < word.gate < 1


def test_the_words_make_up_the_caption(model, photos):
    for caption in model.caption_batch(photos):
        assert " ".join(word.text for word in caption.words) == caption.text


def test_a_caption_without_words_is_a_caption(model, tokenizer):
    with torch.no_grad():
        model.model.decoder.words.bias[tokenizer.end_id] = 1000
    caption = model.caption(quarters(), method="greedy")
    assert (caption.text, caption.words) == ("", ())
    assert caption.log_probability == pytest.approx(0, abs=1e-6)
    assert [c.text for c in model.caption_batch([quarters(), noise()])] == ["", ""]


def test_training_in_between_does_not_make_captions_random(model, photos):
    expected = model.caption(photos[0])
    model.model.train()
    assert_same(model.caption(photos[0]), expected)
    assert_same(model.caption(photos[0]), expected)


def test_captioning_leaves_no_gradients_and_results_can_be_worked_with(model):
    word = model.caption(quarters()).words[0]
    np.multiply(word.attention, 2, out=word.attention)  # it is not read-only
    assert all(p.grad is None for p in model.model.parameters())


def test_the_checkpoint_recommends_the_search_and_single_settings_can_be_changed(model):
    recommended = model.header.search
    assert model.caption(quarters()).search == recommended
    changed = model.caption(quarters(), beam=3, max_words=2)
    assert asdict(changed.search) == asdict(recommended) | {"beam": 3, "max_words": 2}
    own = model.caption(quarters(), search=SearchConfig(method="greedy", max_words=5))
    assert own.search == SearchConfig(method="greedy", max_words=5)
    with pytest.raises(ConfigError, match="unknown setting 'beems'; did you mean 'beam'"):
        model.caption(quarters(), beems=3)


def test_candidates_are_the_other_captions_best_first(model, photos):
    for caption in model.caption_batch(photos, beam=4):
        logs = [caption.log_probability, *(c.log_probability for c in caption.candidates)]
        assert len(logs) == 4
        assert logs == sorted(logs, reverse=True)
    assert model.caption(photos[0], method="greedy").candidates == ()


def test_a_seed_gives_the_same_sample_alone_and_in_a_batch(model, photos):
    batch = model.caption_batch(photos, method="sample", seed=5)
    for ours, photo in zip(batch, photos, strict=True):
        assert ours.text == model.caption(photo, method="sample", seed=5).text


def test_geometry_is_of_the_whole_photo_however_it_was_decoded(model, tmp_path):
    noise(700, 900).save(tmp_path / "large.jpg")
    _, expected = preprocess(load_photo(tmp_path / "large.jpg"), model.header.preprocess)
    assert model.caption(tmp_path / "large.jpg").geometry == expected


def test_a_large_jpeg_decoded_smaller_looks_the_same_to_the_model(model, tmp_path):
    smooth = noise(12, 16).resize((1600, 1200), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "large.jpg", quality=95)
    pixels, _ = preprocess(load_photo(tmp_path / "large.jpg"), model.header.preprocess)
    reduced = model.prepare(tmp_path / "large.jpg").pixels
    assert np.abs(reduced - pixels.numpy()).mean() < 0.01


def test_a_photo_that_cannot_be_read_is_named(model, photos, tmp_path):
    with pytest.raises(ImageError, match=f"^{tmp_path / 'no.jpg'}: no such file"):
        model.caption(tmp_path / "no.jpg")
    with pytest.raises(ImageError, match=f"^{tmp_path / 'no.jpg'}: no such file"):
        model.caption_batch([photos[0], tmp_path / "no.jpg"])
    with pytest.raises(ImageError, match=r"^photo 2: the file is empty"):
        model.caption_batch([photos[0], b""])
    with pytest.raises(ImageError, match=r"^the photo: the file is empty"):
        model.caption(b"")
    with pytest.raises(ImageError, match=r"^upload 7: the file is empty"):
        model.prepare(b"", name="upload 7")


def test_photos_prepared_one_by_one_can_be_captioned_together(model, photos):
    prepared = [model.prepare(photo) for photo in photos]
    for ours, theirs in zip(
        model.caption_batch(prepared), model.caption_batch(photos), strict=True
    ):
        assert ours.image == theirs.image
        assert_same(ours, theirs)


def test_a_caption_as_plain_values_is_all_that_json_needs(model, photos):
    caption = model.caption(photos[3], beam=2)
    down, across = model.model.encoder.grid
    table = json.loads(json.dumps(caption.to_dict(), allow_nan=False))
    assert list(table) == [
        "image", "caption", "log_probability", "confidence", "level", "photo_probability",
        "is_photo", "words", "geometry", "view", "checkpoint", "search",
    ]  # fmt: skip
    assert table["geometry"] == caption.geometry.to_dict()
    assert table["view"] == {"method": "layer", "layer": None, "head": None}
    assert table["image"] == str(photos[3])
    assert table["caption"] == caption.text == " ".join(w["word"] for w in table["words"])
    assert table["log_probability"] == caption.log_probability < 0
    assert table["checkpoint"] == model.header.name
    assert table["search"] == to_table(caption.search)
    for entry, word in zip(table["words"], caption.words, strict=True):
        assert list(entry) == [
            "word", "probability", "doubtful", "gate", "entropy", "attention",
        ]  # fmt: skip
        assert (entry["gate"], entry["entropy"]) == (word.gate, entropy(word.attention))
        assert (entry["word"], entry["probability"]) == (word.text, word.probability)
        assert list(entry["attention"]) == ["grid", "weights"]
        assert entry["attention"]["grid"] == [down, across]
        assert np.array_equal(np.float32(entry["attention"]["weights"]), word.attention)
        assert sum(map(sum, entry["attention"]["weights"])) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kind", ["png", "html"])
def test_an_overlay_is_drawn_from_json_alone(model, photos, kind):
    """Letterboxed or squashed: where the regions lie on the photo is in the JSON."""
    caption = replace(model.caption(photos[0]), candidates=())
    read = Caption.from_dict(json.loads(json.dumps(caption.to_dict())))
    photo = load_photo(photos[0])
    assert render(photo, read, kind=kind) == render(photo, caption, kind=kind)
    assert read.to_dict() == caption.to_dict()
    with pytest.raises(ConfigError, match="read from JSON, which holds one view"):
        read.with_view(AttentionConfig(layer=1))


def test_a_photo_without_a_path_has_no_name(model):
    assert model.caption(quarters()).image is None
    assert model.caption(quarters()).to_dict()["image"] is None


def test_captions_are_values(model):
    caption = model.caption(quarters())
    for value in (caption, caption.words[0], Candidate(text="", log_probability=0, tokens=())):
        with pytest.raises(FrozenInstanceError):
            value.text = "a dog"
    assert isinstance(caption.geometry, Geometry)


def test_captioning_leaves_a_model_in_training_as_it_was(toy, photos):
    expected = TorchCaptioner(*toy).caption(photos[0])
    model = copy.deepcopy(toy[0]).train()
    model.decoder.dropout.eval()  # some part may be kept out of training
    modes = [module.training for module in model.modules()]
    captioner = TorchCaptioner(model, toy[1])
    *_, streamed = captioner.stream(photos[0])
    for found in (captioner.caption(photos[0]), streamed):
        assert_same(found, expected)
    captioner.read_candidates(photos[0], expected)
    assert [module.training for module in model.modules()] == modes
    assert set(modes) == {True, False}


def test_a_stream_reads_every_token_once(model, photos, monkeypatch):
    def read_as_a_whole(*_, **__):
        raise AssertionError

    monkeypatch.setattr(type(model.model.decoder), "forward", read_as_a_whole)
    assert [caption for caption in model.stream(photos[0]) if caption.words]


def test_constraints_are_looked_up_once_a_caption(model, photos, monkeypatch):
    looked_up = []
    monkeypatch.setattr(
        header, "constraints_of", lambda *of: looked_up.append(of) or constraints_of(*of)
    )
    model.caption(photos[0], forbid=("dog",))
    list(model.stream(photos[0], forbid=("dog",)))
    assert len(looked_up) == 2


def test_photos_are_drawn_for_by_what_they_show_and_not_by_their_place(model, photos):
    how = {"method": "sample", "seed": 6, "temperature": 1.5}
    together = [caption.text for caption in model.caption_batch(photos * 2, **how)]
    assert together == [model.caption(photo, **how).text for photo in photos] * 2
    assert together != [model.caption(photo, **how | {"seed": 7}).text for photo in photos] * 2
