import gzip
import json
import re

import pytest
import torch
from PIL import Image

from captioner.config import PreprocessConfig
from captioner.errors import DataError
from captioner.photo.preprocess import preprocess
from captioner.words.tokenizer import Tokenizer
from data.boxes import (
    WHOLE,
    BoxedCaption,
    BoxedImage,
    Phrase,
    load_entities,
    region_shares,
    token_shares,
    word_tokens,
)


def geometry_of(height, width, fit="squash"):
    return preprocess(Image.new("RGB", (width, height)), PreprocessConfig(fit=fit))[1]


def phrase(first, text, number, kind):
    return {
        "first_word_index": first,
        "phrase": text,
        "phrase_id": number,
        "phrase_type": [kind],
    }


def entry(split, **changes):
    man, dog = phrase(0, "A man", "6", "people"), phrase(3, "a white dog", "7", "animals")
    return {
        "split": split,
        "orig_size": [200, 100],
        "boxes_orig_xyxy": {"7": [[0, 0, 100, 50], [50, 25, 200, 100]]},
        "sentences": [{"text": "A man near a white dog .", "phrases": [man, dog]}],
    } | changes


def write(path, table):
    path.write_text(json.dumps(table), encoding="utf-8")
    return path


# Flickr30k Entities


def test_boxes_become_fractions_and_phrases_without_any_are_left_out(tmp_path):
    dog = Phrase(
        first=3, words=3, kinds=("animals",), boxes=((0, 0, 0.5, 0.5), (0.25, 0.25, 1.0, 1.0))
    )
    caption = BoxedCaption(text="A man near a white dog .", phrases=(dog,))
    expected = [BoxedImage(image="1.jpg", captions=(caption,))]
    table = {"1.jpg": entry("test")}
    assert load_entities(write(tmp_path / "e.json", table)) == expected
    (tmp_path / "e.json.gz").write_bytes(gzip.compress(json.dumps(table).encode()))
    assert load_entities(tmp_path / "e.json.gz") == expected


def test_a_split_is_taken_alone_and_dev_is_val(tmp_path):
    path = write(tmp_path / "e.json", {f"{s}.jpg": entry(s) for s in ("train", "dev", "test")})
    assert [image.image for image in load_entities(path, split="val")] == ["dev.jpg"]
    assert [image.image for image in load_entities(path, split="test")] == ["test.jpg"]
    assert len(load_entities(path)) == 3
    with pytest.raises(DataError) as caught:
        load_entities(path, split="tset")
    assert str(caught.value) == (
        f"Boxes {path} have no split 'tset'; choose from ['test', 'train', 'val']."
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "do not exist; data/README.md says where they come from."),
        ("{", "cannot be read: "),
        ("[1]", "hold no images; data/boxes.py shows the format"),
        ("{}", "hold no images; data/boxes.py shows the format"),
        ('{"images": []}', "are not Flickr30k Entities; data/boxes.py shows"),
        ('{"1.jpg": {"split": "test"}}', "are not Flickr30k Entities; data/boxes.py shows"),
    ],
)
def test_a_file_without_boxes_is_named(tmp_path, content, problem):
    path = tmp_path / "e.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=f"^{re.escape(f'Boxes {path} {problem}')}"):
        load_entities(path)


# Words and tokens


def test_words_know_their_tokens(tokenizer):
    spans = word_tokens("A dog's ball , on the beach .", tokenizer)
    assert [list(span) for span in spans] == [[0], [1, 2], [3], [], [4], [5], [6], []]


def test_words_know_the_pieces_they_are_made_of():
    pieces = Tokenizer.train_bpe(["a dog runs", "two dogs run"], vocabulary=275)
    text = "two hogs , running"
    spans = word_tokens(text, pieces)
    assert [token for span in spans for token in span] == list(range(len(pieces.encode(text))))
    assert all(spans)


def test_every_token_of_a_phrase_gets_its_regions_and_the_others_none(tokenizer):
    left, corner = (0.0, 0.0, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0)
    caption = BoxedCaption(
        text="a dog's ball on the beach .",
        phrases=(
            Phrase(first=0, words=2, kinds=("animals",), boxes=(left,)),
            Phrase(first=5, words=1, kinds=("scene",), boxes=(corner,)),
        ),
    )
    shares = token_shares(caption, tokenizer, geometry_of(50, 80), (2, 2))
    here, there, none = [1.0, 0, 1, 0], [0.0, 0, 0, 1], [0.0] * 4
    expected = [here, here, here, none, none, none, there, none]  # a dog 's ball on the beach END
    assert torch.equal(shares, torch.tensor(expected))


# Regions


def test_a_region_has_the_share_that_the_boxes_cover():
    shares = region_shares([(0.0, 0.0, 0.75, 0.5)], geometry_of(40, 90), (2, 2))
    torch.testing.assert_close(shares, torch.tensor([[1.0, 0.5], [0.0, 0.0]]))
    shares = region_shares([(0.25, 0.25, 0.75, 0.75)], geometry_of(40, 90), (2, 2))
    torch.testing.assert_close(shares, torch.full((2, 2), 0.25))


def test_where_boxes_overlap_the_area_counts_once():
    boxes = [(0.0, 0.0, 0.5, 1.0), (0.25, 0.0, 0.75, 1.0), (0.3, 0.2, 0.4, 0.9)]
    shares = region_shares(boxes, geometry_of(40, 90), (1, 2))
    torch.testing.assert_close(shares, torch.tensor([[1.0, 0.5]]))


def test_boxes_of_a_letterboxed_photo_leave_out_the_padding():
    geometry = geometry_of(100, 200, "letterbox")  # on the middle half of the input
    shares = region_shares([WHOLE], geometry, (4, 2))
    torch.testing.assert_close(shares, torch.tensor([[0.0, 0], [1, 1], [1, 1], [0, 0]]))
    shares = region_shares([(0.5, 0.0, 1.0, 0.5)], geometry, (4, 2))
    torch.testing.assert_close(shares, torch.tensor([[0.0, 0], [0, 1], [0, 0], [0, 0]]))


def test_no_box_and_a_box_without_area_cover_nothing():
    for boxes in ([], [(0.5, 0.5, 0.5, 0.9)]):
        assert torch.equal(region_shares(boxes, geometry_of(9, 9), (3, 3)), torch.zeros(3, 3))


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
def test_shares_equal_those_counted_point_by_point(fit):
    generator = torch.Generator().manual_seed(4)
    geometry, grid, points = geometry_of(300, 200, fit), (3, 5), 100
    y = (torch.arange(grid[0] * points) + 0.5) / (grid[0] * points)
    x = (torch.arange(grid[1] * points) + 0.5) / (grid[1] * points)
    y = (y * geometry.seen_height + geometry.top)[:, None] / 300
    x = (x * geometry.seen_width + geometry.left) / 200
    for _ in range(5):
        corners = torch.rand(3, 2, 2, generator=generator).sort(dim=1).values
        boxes = [(*low, *high) for low, high in corners.tolist()]
        hit = torch.zeros(len(y), x.shape[0], dtype=torch.bool)
        for left, top, right, bottom in boxes:
            hit |= (left < x) & (x < right) & (top < y) & (y < bottom)
        counted = hit.float().reshape(grid[0], points, grid[1], points).mean((1, 3))
        shares = region_shares(boxes, geometry, grid)
        torch.testing.assert_close(shares, counted, atol=0.03, rtol=0)
