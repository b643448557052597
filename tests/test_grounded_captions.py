"""Grounding of generated captions, worked out by hand."""

import numpy as np
import pytest
import torch

from captioner.config import AttentionConfig
from data.boxes import BoxedCaption, BoxedImage, Phrase
from tests.captions import caption_of, one_hot, word
from tests.photos import noise
from training.grounding.generated import (
    GeneratedScore,
    count_grounded,
    cut_box,
    list_objects,
    overlaps,
)

GRID = (4, 4)
LEFT, RIGHT, SKY = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.25)


def half(*columns):
    """Attention on all rows of some columns."""
    weights = np.zeros(GRID, np.float32)
    weights[:, list(columns)] = 1 / (4 * len(columns))
    return weights


def image():
    """Three things: a man or boy at the left, two dogs at the right and on top, the sky."""
    text = "A man , his dogs and the sky ."
    return BoxedImage(
        image="1.png",
        captions=(
            BoxedCaption(
                text=text,
                phrases=(
                    Phrase(first=0, words=2, kinds=("people",), boxes=(LEFT,)),
                    Phrase(first=3, words=2, kinds=("animals",), boxes=(RIGHT, SKY)),
                    Phrase(first=6, words=2, kinds=("scene",), boxes=(SKY,)),
                ),
            ),
            BoxedCaption(
                text="the boy", phrases=(Phrase(first=0, words=2, kinds=(), boxes=(LEFT,)),)
            ),
        ),
    )


def test_phrases_with_the_same_boxes_name_one_thing():
    assert list_objects(image()) == {
        (LEFT,): {"man", "boy"},
        (RIGHT, SKY): {"dogs"},
        (SKY,): {"sky"},
    }


def test_a_box_holds_what_hangs_together_with_the_peak_at_half_its_weight():
    attention = np.array(
        [
            [0.0, 0.5, 1.0, 0.0],
            [0.0, 0.6, 0.4, 0.9],  # 0.9 touches the peak at a corner only
        ]
    )
    assert cut_box(attention) == (0.25, 0.0, 0.75, 1.0)
    assert cut_box(one_hot(GRID, 3, 1)) == (0.25, 0.75, 0.5, 1.0)


def test_overlap_is_intersection_over_union():
    box = torch.tensor(LEFT)
    others = torch.tensor([LEFT, RIGHT, SKY, (0.25, 0.0, 0.75, 1.0)])
    expected = [1, 0, 0.125 / 0.625, 1 / 3]
    assert overlaps(box, others).tolist() == pytest.approx(expected)


def test_a_noun_counts_where_people_use_it_and_its_box_lies_on_the_thing():
    words = [
        word("A", half(0, 1)),
        word("boy", half(0, 1)),  # right
        word("throws", half(0)),
        word("dogs", half(2)),  # a quarter of the photo, half of its box: IoU 0.5, right
        word("sky", half(3)),  # elsewhere
        word("ball", half(0)),  # of no photo
        word("cat's", half(0)),  # of another photo
    ]
    caption = caption_of(noise(8, 8), words)
    nouns = frozenset({"man", "boy", "dogs", "sky", "cat"})
    assert count_grounded(caption, list_objects(image()), nouns) == [4, 3, 2, 2]
    twice = caption_of(noise(8, 8), [word("boy", half(0, 1)), word("man", half(0, 1))])
    assert count_grounded(twice, list_objects(image()), nouns) == [2, 2, 2, 1]


def test_f1_is_the_harmonic_mean_over_all_photos_for_each_view():
    other = BoxedImage(
        image="2.png",
        captions=(
            BoxedCaption(
                text="a cat", phrases=(Phrase(first=0, words=2, kinds=(), boxes=(LEFT,)),)
            ),
        ),
    )
    views = [AttentionConfig(), AttentionConfig(method="contrast")]
    score = GeneratedScore([image(), other], views)
    first = [word("boy", half(0, 1)), word("dogs", half(0, 1)), word("cat", half(0, 1))]
    score.add(caption_of(noise(8, 8), first), image())
    score.add(caption_of(noise(8, 8), [word("cat", half(0, 1))]), other)
    found, _ = score.sum_up(resamples=10, seed=0)
    assert (found["nouns"], found["things"]) == (4, 4)
    assert found["precision"]["value"] == pytest.approx(2 / 4)  # boy, and the cat of its own photo
    assert found["recall"]["value"] == pytest.approx(2 / 4)
    assert found["f1"]["value"] == pytest.approx(0.5)
    assert found["located"]["value"] == pytest.approx(2 / 3)  # nobody calls anything there a cat
    low, high = found["precision"]["low"], found["precision"]["high"]
    assert 1 / 3 <= low <= 0.5 <= high <= 1
