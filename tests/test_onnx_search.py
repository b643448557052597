"""The search in NumPy finds what the search finds, and draws what it draws with the same noise."""

import numpy as np
import pytest
import torch

from captioner.candidates import Candidates
from captioner.config import SearchConfig
from captioner.onnx import OnnxCaptioner
from captioner.onnx.decoder import Glimpse
from captioner.onnx.sampling import sampler
from captioner.onnx.search import search as numpy_search
from captioner.pipeline import Captioner
from captioner.search import search as torch_search
from tests.exported import assert_same
from tests.toys import END, GARDEN, SPECIALS, START, A, B, C, TableDecoder


class Wrapped:
    """A decoder of torch, as the NumPy search asks it."""

    def __init__(self, decoder):
        self.decoder = decoder

    def step(self, words, state):
        logits, grown = self.decoder.step(torch.from_numpy(words), state.inner)
        nowhere = np.zeros((*words.shape, 1, 1, 1))
        return Glimpse(logits.numpy(), attention=nowhere), WrappedState(grown)


class WrappedState:
    def __init__(self, inner):
        self.inner = inner
        self.memory = inner.memory

    def reorder(self, parents):
        return WrappedState(self.inner.reorder(torch.from_numpy(parents)))

    def select(self, images):
        return WrappedState(self.inner.select(torch.from_numpy(images)))


def random_table(seed):
    """Probabilities of what follows any three words, some of them zero."""
    draw = np.random.default_rng(seed)
    table = {}
    histories = [()]
    for _ in range(4):
        for history in histories:
            shares = draw.random(4) * (draw.random(4) < 0.8) + [0, 0, 0, 1e-6]
            table[history] = dict(zip((A, B, C, END), shares / shares.sum(), strict=True))
        histories = [(*history, word) for history in histories for word in (A, B, C)]
    return table


def both_searches(decoder, settings):
    marks = {"config": settings, "start_id": START, "end_id": END, "forbidden": SPECIALS}
    images = decoder.images()
    state = WrappedState(decoder.init_state(images))
    found = [item.candidates for item in numpy_search(Wrapped(decoder), state, **marks)]
    return found, torch_search(decoder, images, **marks)


@pytest.mark.parametrize("penalty", [-0.5, 0.0, 0.7, 2.0])
@pytest.mark.parametrize("max_words", [1, 2, 4])
@pytest.mark.parametrize("beam", [0, 1, 2, 3, 7])
def test_the_search_in_numpy_finds_what_the_search_finds(beam, max_words, penalty):
    decoder = TableDecoder(GARDEN, *(random_table(seed) for seed in range(12)))
    settings = SearchConfig(
        method="beam" if beam else "greedy",
        beam=max(1, beam),
        max_words=max_words,
        length_penalty=penalty,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        found, expected = both_searches(decoder, settings)
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, Candidates)
        assert (one.words, one.finished) == (other.words, other.finished)
        for name in ("log_probability", "score"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-5)
        for logs, expected_logs in zip(one.log_probabilities, other.log_probabilities, strict=True):
            assert logs == pytest.approx(expected_logs, abs=1e-5)


class Noise:
    """Torch's noise in the place of NumPy's."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def gumbel(self, size):
        noise = torch.empty(size, dtype=torch.float64)
        return -noise.exponential_(generator=self.generator).log().numpy()


DRAWS = (
    {},
    {"temperature": 0.5},
    {"temperature": 3.0, "top_k": 2},
    {"top_p": 0.6},
    {"max_words": 1},
    {"max_words": 3, "top_k": 3, "top_p": 0.9, "temperature": 2.0, "length_penalty": 1.0},
)


@pytest.mark.parametrize("changes", DRAWS, ids=str)
def test_draws_in_numpy_are_those_of_torch_where_the_noise_is(changes, monkeypatch):
    decoder = TableDecoder(GARDEN, *(random_table(seed) for seed in range(12)))
    monkeypatch.setattr(np.random, "default_rng", Noise)
    captions = set()
    for seed in range(5):
        settings = SearchConfig(method="sample", seed=seed, **{"max_words": 4, **changes})
        with np.errstate(divide="ignore", invalid="ignore"):
            found, expected = both_searches(decoder, settings)
        for one, other in zip(found, expected, strict=True):
            assert (one.words, one.finished) == (other.words, other.finished)
            assert one.score == pytest.approx(other.score, abs=1e-5)
            logs, expected_logs = one.log_probabilities[0], other.log_probabilities[0]
            assert logs == pytest.approx(expected_logs, abs=1e-5)
        captions |= {tuple(one.words[0]) for one in found}
    assert len(captions) > 3


def test_an_export_draws_what_pytorch_draws_where_the_noise_is(
    kind, checkpoints, exports, photos, monkeypatch
):
    changes = {"method": "sample", "seed": 3, "temperature": 1.5}
    runner = OnnxCaptioner.load(exports[kind], threads=1)
    prepared = [runner.prepare(photo) for photo in photos]
    expected = Captioner.load(checkpoints[kind], device="cpu").caption_batch(prepared, **changes)
    monkeypatch.setattr(np.random, "default_rng", Noise)
    for found, other in zip(runner.caption_batch(photos, **changes), expected, strict=True):
        assert_same(found, other)


def test_a_seed_and_a_photo_give_the_same_caption_in_any_batch(exports, photos):
    runner = OnnxCaptioner.load(exports["transformer"], threads=1)
    drawn = [
        [caption.text for caption in runner.caption_batch(photos, method="sample", seed=seed)]
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    alone = [runner.caption(photo, method="sample", seed=0).text for photo in photos]
    assert alone == drawn[0]


def test_words_are_drawn_as_often_as_they_are_likely():
    p = np.array([0.1, 0.4, 0.0, 0.2, 0.3])
    with np.errstate(divide="ignore"):
        log_p = np.log(p).astype(np.float32)
    for changes, likely in (
        ({}, p),
        ({"temperature": 0.5}, p**2),
        ({"top_k": 2}, np.where(p >= 0.3, p, 0)),
        ({"top_p": 0.65}, np.where(p >= 0.3, p, 0)),  # 0.4 + 0.3 is the first sum above
    ):
        choose = sampler(SearchConfig(method="sample", **changes))
        counts = np.bincount([choose(log_p) for _ in range(4000)], minlength=5)
        np.testing.assert_allclose(counts / 4000, likely / likely.sum(), atol=0.025)
        assert all(counts[likely == 0] == 0)
