"""Exports find and draw what PyTorch finds and draws, from the arrays up."""

import subprocess
import sys

import pytest
import torch

from captioner.config import SearchConfig
from captioner.onnx import OnnxCaptioner
from captioner.pytorch import TorchCaptioner
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
        "config": SearchConfig(
            max_words=max_words,
            **method,
            **({} if "method" in method else {"length_penalty": penalty}),
        ),
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
    runner = OnnxCaptioner.load(exports[kind])
    prepared = [runner.prepare(photo) for photo in photos]
    expected = TorchCaptioner.load(checkpoints[kind], device="cpu").caption_batch(
        prepared, **changes
    )
    for found, other in zip(runner.caption_batch(photos, **changes), expected, strict=True):
        assert_same(found, other)


def test_a_seed_and_a_photo_give_the_same_caption_in_any_batch(exports, photos):
    runner = OnnxCaptioner.load(exports["transformer"])
    drawn = [
        [caption.text for caption in runner.caption_batch(photos, method="sample", seed=seed)]
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    alone = [runner.caption(photo, method="sample", seed=0).text for photo in photos]
    assert alone == drawn[0]


def test_searching_arrays_needs_no_torch():
    code = """
import sys
sys.modules |= dict.fromkeys(("torch", "torchvision", "timm"))
import numpy as np
from captioner.config import SearchConfig
from captioner.words.constraints import Constraints
from captioner.search import search

class State:
    def reorder(self, parents):
        return self
    select = reorder

class Decoder:
    def init_state(self, features):
        return State()
    def step(self, words, state):
        logits = np.zeros((*words.shape, 5), np.float32)
        return logits + np.arange(5, dtype=np.float32), state

limits = Constraints(prefix=(0,), end_id=1, never_written=(0,), no_repeat=1, required=((2,),))
for method in ({}, {"groups": 3}, {"method": "greedy"}, {"method": "sample"}):
    required = limits.required if not method else ()
    found = search(
        Decoder(),
        np.zeros((2, 1, 1), np.float32),
        config=SearchConfig(max_words=3, **method),
        constraints=Constraints(**{**vars(limits), "required": required}),
    )
    print(found[0].tokens[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 4
    assert "2" in done.stdout.splitlines()[0]
