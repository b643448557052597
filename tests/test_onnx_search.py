"""Exports find and draw what PyTorch finds and draws, from the arrays up."""

import pytest
import torch

from captioner.config import SearchConfig
from captioner.onnx import OnnxCaptioner
from captioner.pipeline import Captioner
from captioner.search import search
from tests.exported import assert_same
from tests.searching import PLAIN, InNumPy
from tests.test_search import random_table
from tests.toys import END, GARDEN, A, B, C, TableDecoder


def sparse_table(seed):
    """Probabilities of what follows any four words, some of them zero."""
    shares = torch.Generator().manual_seed(seed)
    table = random_table(seed, max_words=4)
    for words, row in table.items():
        there = torch.rand(3, generator=shares) < 0.8
        table[words] = {END: row[END]} | {
            word: row[word] for word, said in zip((A, B, C), there, strict=True) if said
        }
    return table


@pytest.mark.parametrize("penalty", [-0.5, 0.0, 0.7, 2.0])
@pytest.mark.parametrize("max_words", [1, 2, 4])
@pytest.mark.parametrize(
    "method",
    [
        {"method": "greedy"},
        *({"beam": beam} for beam in (1, 2, 3, 7)),
        {"beam": 4, "groups": 2, "diversity": 1.0},
        {"method": "sample", "seed": 4},
        {"method": "sample", "temperature": 2.0, "top_k": 3, "top_p": 0.9},
    ],
    ids=str,
)
def test_arrays_and_tensors_find_the_same(method, max_words, penalty):
    decoder = TableDecoder(GARDEN, *(sparse_table(seed) for seed in range(12)))
    how = {
        "config": SearchConfig(max_words=max_words, length_penalty=penalty, **method),
        "constraints": PLAIN,
    }
    images = decoder.images()
    found = search(InNumPy(decoder), images.numpy(), **how)
    for one, other in zip(found, search(decoder, images, **how), strict=True):
        assert (one.tokens, one.finished, one.rows) == (other.tokens, other.finished, other.rows)
        for name in ("log_probability", "score"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-5)
        for logs, others in zip(one.log_probabilities, other.log_probabilities, strict=True):
            assert logs == pytest.approx(others, abs=1e-5)


@pytest.mark.parametrize("changes", [{"temperature": 1.5}, {"top_k": 5}, {"top_p": 0.8}], ids=str)
def test_an_export_draws_what_pytorch_draws(kind, checkpoints, exports, photos, changes):
    changes = {"method": "sample", "seed": 3, **changes}
    runner = OnnxCaptioner.load(exports[kind], threads=1)
    prepared = [runner.prepare(photo) for photo in photos]
    expected = Captioner.load(checkpoints[kind], device="cpu").caption_batch(prepared, **changes)
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
