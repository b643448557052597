import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from captioner.config import PreprocessConfig
from captioner.errors import DataError, ImageError
from captioner.photo import load_photo
from captioner.photo.preprocess import preprocess
from captioner.words.tokenizer import Tokenizer
from data.batching import build_loader
from data.boxes import BoxedCaption, BoxedImage, BoxShares, Phrase
from data.coco import Record
from data.dataset import CaptionDataset
from data.image_source import ImageSource

CONFIG = PreprocessConfig(height=16, width=24)
CAPTIONS = {
    "plain.png": ("a dog runs", "a dog"),
    "sided.png": ("a dog on the leftmost chair", "a dog"),
}
TOKENIZER = Tokenizer.train_words(
    [caption for captions in CAPTIONS.values() for caption in captions], min_count=1
)
PAD, START, END, UNK = range(4)


def ramp() -> bytes:
    """A photo that grows brighter from left to right, as PNG."""
    levels = np.tile(np.linspace(40, 200, 60, dtype=np.uint8), (40, 1))
    stream = io.BytesIO()
    Image.fromarray(np.stack([levels, levels // 2, levels], axis=-1)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def source(tmp_path):
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for name in CAPTIONS:
            member = tarfile.TarInfo(name)
            member.size = len(ramp())
            archive.addfile(member, io.BytesIO(ramp()))
    return ImageSource(tmp_path)


def build(source, **options) -> CaptionDataset:
    records = [
        Record(image=name, image_id=10 + number, captions=captions, split="train")
        for number, (name, captions) in enumerate(CAPTIONS.items())
    ]
    return CaptionDataset(records, source, preprocess=CONFIG, tokenizer=TOKENIZER, **options)


def is_mirrored(pixels: torch.Tensor) -> bool:
    return bool(pixels[..., 0].mean() > pixels[..., -1].mean())


@pytest.mark.parametrize("augment", [False, True])
def test_a_loader_reads_the_photos_of_a_batch_together(source, augment, monkeypatch):
    dataset = build(source, augment=augment)
    expected = torch.stack([dataset[3, index].inputs for index in (0, 1)])
    together = []
    monkeypatch.setattr(source, "read", None)
    monkeypatch.setattr(
        source, "read_each", lambda names: (together.append(list(names)), [ramp(), ramp()])[1]
    )
    loader = build_loader(dataset, batch_size=2, shuffle=False)
    loader.set_epoch(3)
    (batch,) = loader
    assert torch.equal(batch.inputs, expected)
    assert together == [list(CAPTIONS)]


def test_an_item_is_an_image_as_the_encoder_sees_it_with_all_its_captions(source):
    dataset = build(source)
    example = dataset[0]
    expected, _ = preprocess(load_photo(ramp()), CONFIG)
    assert torch.equal(example.inputs, expected)
    assert example.words == [
        [START, *TOKENIZER.encode("a dog runs"), END],
        [START, *TOKENIZER.encode("a dog"), END],
    ]
    assert (example.image_id, example.captions) == (10, ("a dog runs", "a dog"))
    assert (len(dataset), dataset.caption_counts, dataset.lengths) == (2, [2, 2], [3, 6])


def test_a_cut_caption_has_no_end(source):
    dataset = build(source, max_words=2)
    a, dog = TOKENIZER.encode("a dog")
    assert dataset[0].words == [[START, a, dog], [START, a, dog, END]]


def test_without_augmentation_every_epoch_is_the_same(source):
    dataset = build(source)
    assert torch.equal(dataset[3, 0].inputs, dataset[0].inputs)


def test_augmentation_depends_on_seed_epoch_and_index_alone(source):
    first, second = build(source, augment=True, seed=1), build(source, augment=True, seed=1)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    varied = {(e, i): first[e, i].inputs for e in range(3) for i in range(2)}
    assert torch.equal(torch.get_rng_state(), before)  # nobody else's draws change
    torch.manual_seed(9)
    for place in reversed(varied):
        assert torch.equal(second[place].inputs, varied[place])
    distinct = {tuple(pixels.flatten().tolist()) for pixels in varied.values()}
    assert len(distinct) == 6
    other = build(source, augment=True, seed=2)
    assert not torch.equal(other[0, 0].inputs, varied[0, 0])


def test_augmentation_is_mild(source):
    plain = build(source)[1].inputs
    dataset = build(source, augment=True)
    for epoch in range(20):
        difference = (dataset[epoch, 1].inputs - plain).abs().mean()
        assert 0 < difference < 0.8  # of one standard deviation


def test_a_photo_is_mirrored_half_the_time_unless_a_caption_knows_left_from_right(source):
    dataset = build(source, augment=True)
    mirrored = [is_mirrored(dataset[epoch, 0].inputs) for epoch in range(40)]
    assert 10 < sum(mirrored) < 30
    assert not any(is_mirrored(dataset[epoch, 1].inputs) for epoch in range(40))
    assert [dataset.may_be_mirrored(index) for index in range(2)] == [True, False]


def test_missing_images_are_noticed_before_the_first_item(source):
    record = Record(image="gone.png", image_id=1, captions=("a dog",), split="train")
    with pytest.raises(DataError, match=r"Image 'gone\.png' is not in"):
        CaptionDataset([record], source, preprocess=CONFIG, tokenizer=TOKENIZER)


def test_a_photo_that_cannot_be_decoded_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(ramp()[:60])
    record = Record(image="broken.png", image_id=1, captions=("a dog",), split="train")
    dataset = CaptionDataset(
        [record], ImageSource(tmp_path), preprocess=CONFIG, tokenizer=TOKENIZER
    )
    with pytest.raises(ImageError, match=r"^broken\.png: "):
        dataset[0]


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
def test_boxes_follow_the_photo_through_crops_and_mirrors(tmp_path, fit):
    photo = np.zeros((48, 40, 3), dtype=np.uint8)
    photo[24:40, 4:16] = 255  # what is named
    Image.fromarray(photo).save(tmp_path / "square.png")
    named = Phrase(first=0, words=2, kinds=("other",), boxes=((0.1, 0.5, 0.4, 40 / 48),))
    boxed = BoxedImage(
        image="square.png", captions=(BoxedCaption(text="a dog runs", phrases=(named,)),)
    )
    dataset = CaptionDataset(
        [Record(image="square.png", image_id=1, captions=("a dog", "A dog runs"), split="train")],
        ImageSource(tmp_path),
        preprocess=PreprocessConfig(height=32, width=32, fit=fit, mean=(0, 0, 0), std=(1, 1, 1)),
        tokenizer=TOKENIZER,
        augment=True,
        boxes=BoxShares([boxed], tokenizer=TOKENIZER, grid=(8, 8)),
    )
    sides = set()
    for epoch in range(12):
        example = dataset[epoch, 0]
        assert example.shares is not None
        unknown, known = example.shares
        assert unknown.tolist() == [[0.0] * 64] * 3  # these words have no boxes
        assert known[2:].sum() == 0  # "runs" and END have none
        bright = example.inputs.mean(dim=0).unflatten(0, (8, 4)).unflatten(2, (8, 4))
        bright = bright.mean(dim=(1, 3)).flatten()
        for shares in known[:2]:
            together = torch.corrcoef(torch.stack([shares, bright]))[0, 1]
            # A letterbox's padding has the mean colour, between that of the square and the rest.
            assert together > (0.95 if fit == "squash" else 0.85)
        sides.add(bool(shares.view(8, 8)[:, :4].sum() > shares.view(8, 8)[:, 4:].sum()))
    assert sides == {True, False}


def test_randaugment_changes_photos_further_but_never_mirrors_a_sided_one(source):
    plain = build(source, augment=True, seed=1)
    first, second = (build(source, augment=True, seed=1, randaugment=(2, 9)) for _ in range(2))
    places = [(epoch, index) for epoch in range(8) for index in range(2)]
    changed = {place: first[place].inputs for place in places}
    torch.manual_seed(9)
    for place in reversed(places):
        assert torch.equal(second[place].inputs, changed[place])
    differences = [(changed[p] - plain[p].inputs).abs().mean().item() for p in places]
    assert sum(difference > 0.05 for difference in differences) > 8
    for epoch in range(40):  # the middle is never moved out of the picture, green never solarised
        green = first[epoch, 1].inputs[1]
        assert green[:, 9].mean() < green[:, 14].mean()
    stronger = build(source, augment=True, seed=1, randaugment=(2, 30))
    further = [(stronger[p].inputs - plain[p].inputs).abs().mean().item() for p in places]
    assert sum(further) > 1.3 * sum(differences)
