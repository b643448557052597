"""Exports to ONNX: how tests make them, and hold what they say to what PyTorch says."""

from contextlib import contextmanager

import pytest
from jaxtyping import config
from numpy.testing import assert_allclose

from captioner.onnx.export import export_onnx


@contextmanager
def without_shapes():
    """Leave out the checks of shapes, which are there in tests only and confuse tracing."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)


def traced(checkpoint, folder):
    """Export."""
    with without_shapes():
        return export_onnx(checkpoint, folder)


def assert_same(found, expected):
    """Captions of both programs, by everything they say."""
    assert found.text == expected.text
    assert [c.tokens for c in found.candidates] == [c.tokens for c in expected.candidates]
    logs = [
        [x.log_probability for x in (caption, *caption.candidates)] for caption in (found, expected)
    ]
    assert_allclose(*logs, atol=1e-4)
    assert (found.geometry, found.search) == (expected.geometry, expected.search)
    assert (found.image, found.checkpoint) == (expected.image, expected.checkpoint)
    for word, other in zip(found.words, expected.words, strict=True):
        assert word.text == other.text
        assert word.probability == pytest.approx(other.probability, abs=1e-5)
        for name in ("attention", "heads", "rollout", "evidence", "gate"):
            if getattr(other, name) is None:
                assert getattr(word, name) is None
            else:
                assert_allclose(getattr(word, name), getattr(other, name), atol=1e-4)
