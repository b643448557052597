import os
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captioner.config import PreprocessConfig
from captioner.errors import DataError
from captioner.model.encoder import Encoder
from captioner.words.tokenizer import Tokenizer
from data import progress
from data.batching import build_loader
from data.boxes import BoxedCaption, BoxedImage, BoxShares, Phrase
from data.coco import Record
from data.dataset import CaptionDataset
from data.features import cache_features
from data.image_source import ImageSource

COUNT = 5
WALL = Phrase(first=0, words=2, kinds=("other",), boxes=((0, 0, 0.5, 1),))
LEFT = [
    BoxedImage(image=f"{n}.png", captions=(BoxedCaption(text="a wall", phrases=(WALL,)),))
    for n in range(COUNT)
]
"""In every photo, the left half is a wall."""


class Patches(nn.Module):
    """An encoder of one convolution, which counts the photos it has seen."""

    def __init__(self, *, fail_after: int = COUNT * 10):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 6, kernel_size=4, stride=4)
        self.batches = []
        self.fail_after = fail_after

    @property
    def seen(self):
        return sum(self.batches)

    def forward(self, pixels):
        self.batches.append(len(pixels))
        if self.seen > self.fail_after:
            raise KeyboardInterrupt
        return self.conv(pixels).flatten(2).transpose(1, 2)


def build(folder, *, height=8, width=8, boxes=False) -> CaptionDataset:
    """Five noisy photos; the second has a caption that speaks of a side."""
    folder.mkdir(exist_ok=True)
    records = []
    for n in range(COUNT):
        if not (folder / f"{n}.png").exists():
            noise = np.random.default_rng(n).integers(0, 256, (16, 12, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{n}.png")
        captions = ("a wall", "the right wall" if n == 1 else "one old wall")
        records.append(Record(image=f"{n}.png", image_id=n, captions=captions, split="train"))
    tokenizer = Tokenizer.train_words((c for r in records for c in r.captions), min_count=1)
    return CaptionDataset(
        records,
        ImageSource(folder),
        preprocess=PreprocessConfig(height=height, width=width),
        tokenizer=tokenizer,
        boxes=BoxShares(LEFT, tokenizer=tokenizer, grid=(2, 2)) if boxes else None,
    )


def cache(encoder, dataset, folder, **options):
    return cache_features(encoder, dataset, folder, batch_size=2, device="cpu", **options)


def encode(encoder, pixels):
    with torch.inference_mode():
        return encoder(pixels[None])[0].half().float()


def test_an_item_is_the_same_as_with_pixels_but_for_its_features(tmp_path):
    dataset, encoder = build(tmp_path / "photos"), Patches()
    features = cache(encoder, dataset, tmp_path / "cache")
    assert len(features) == COUNT
    for n in range(COUNT):
        got, pixels = features[n], dataset[n]
        torch.testing.assert_close(got.inputs, encode(encoder, pixels.inputs), rtol=0, atol=1e-3)
        assert got.inputs.shape == (4, 6)
        assert (got.words, got.image_id, got.captions) == (
            pixels.words,
            pixels.image_id,
            pixels.captions,
        )
    (file,) = (tmp_path / "cache").iterdir()
    stored = np.load(file)
    assert (stored.shape, stored.dtype) == ((COUNT, 4, 6), np.float16)


def test_one_loader_serves_pixels_and_features(tmp_path):
    dataset = build(tmp_path / "photos")
    features = cache(Patches(), dataset, tmp_path / "cache")
    options = {"batch_size": 2, "shuffle": True, "pad_id": 0, "seed": 3}
    for pixels, got in zip(
        build_loader(dataset, **options), build_loader(features, **options), strict=True
    ):
        assert torch.equal(pixels.words, got.words)
        assert pixels.image_ids == got.image_ids
        assert got.inputs.shape == (len(got.image_ids), 4, 6)


def test_features_are_computed_once_and_reused(tmp_path):
    dataset, encoder = build(tmp_path / "photos"), Patches()
    cache(encoder, dataset, tmp_path / "cache")
    cache(encoder, build(tmp_path / "photos"), tmp_path / "cache")
    assert encoder.seen == COUNT
    cache(encoder, dataset, tmp_path / "cache", views=("plain", "mirror"))
    assert encoder.seen == 2 * COUNT  # only the new view
    names = sorted(file.name.partition("-")[0] for file in (tmp_path / "cache").iterdir())
    assert names == ["mirror", "plain"]


def test_a_log_gets_whole_lines_while_features_are_computed(tmp_path, monkeypatch, capsys):
    dataset = build(tmp_path / "photos")
    cache(Patches(), dataset, tmp_path / "fast")
    assert capsys.readouterr().err == ""  # in less than a minute
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    cache(Patches(), dataset, tmp_path / "cache")
    assert capsys.readouterr().err == "".join(
        f"features: {done} of 3 batches, 0 s left\n" for done in (1, 2, 3)
    )


def test_other_weights_photos_or_preprocessing_get_features_of_their_own(tmp_path):
    photos, folder, encoder = tmp_path / "photos", tmp_path / "cache", Patches()
    first = cache(encoder, build(photos), folder)[2].inputs
    with torch.no_grad():
        encoder.conv.bias += 1
    second = cache(encoder, build(photos), folder)[2].inputs
    assert encoder.seen == 2 * COUNT
    torch.testing.assert_close(second, first + 1, rtol=0, atol=5e-3)
    Image.new("RGB", (16, 12), "white").save(photos / "2.png")
    third = cache(encoder, build(photos), folder)[2].inputs
    assert encoder.seen == 3 * COUNT
    assert not torch.equal(third, second)
    assert cache(encoder, build(photos, height=16), folder)[2].inputs.shape == (8, 6)
    assert encoder.seen == 4 * COUNT


def repaint(photos, *, seed):
    """Replace the third photo by another of the same size in bytes."""
    before = (photos / "2.png").stat()
    noise = np.random.default_rng(seed).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photos / "2.png", compress_level=0)
    os.utime(photos / "2.png", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    return (photos / "2.png").stat().st_size


def pack(photos, path):
    """Pack the photos into a folder, a zip or a tar archive."""
    for file in sorted(photos.iterdir()):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path, "a") as archive:
                archive.write(file, file.name)
        elif path.suffix == ".tar":
            with tarfile.open(path, "a") as archive:
                archive.add(file, file.name)
        else:
            path.mkdir(exist_ok=True)
            shutil.copy2(file, path)


@pytest.mark.parametrize("kind", ["loose", "photos.zip", "photos.tar"])
def test_a_photo_replaced_by_another_of_the_same_size_gets_features_of_its_own(tmp_path, kind):
    photos, packed, encoder = tmp_path / "photos", tmp_path / kind, Patches()
    dataset = build(photos)

    def features():
        shutil.rmtree(packed) if packed.is_dir() else packed.unlink(missing_ok=True)
        pack(photos, packed)
        dataset.source = ImageSource(packed)
        return cache(encoder, dataset, tmp_path / "cache")[2].inputs, packed.stat().st_size

    size = repaint(photos, seed=10)
    first, archive = features()
    assert repaint(photos, seed=11) == size
    second, same = features()
    assert same == archive
    assert encoder.seen == 2 * COUNT
    torch.testing.assert_close(second, encode(encoder, dataset.pixels([2])[0]), atol=1e-3, rtol=0)
    assert not torch.equal(first, second)
    cache(encoder, dataset, tmp_path / "cache")
    assert encoder.seen == 2 * COUNT + 1  # once by the line above, and none again


def test_a_file_of_other_features_in_their_place_is_not_read(tmp_path):
    dataset, folder = build(tmp_path / "photos"), tmp_path / "cache"
    features = cache(Patches(), dataset, folder)
    first = features[0].inputs
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    other = Patches()
    with torch.no_grad():
        other.conv.bias += 1
    cache(other, dataset, folder)
    (foreign,) = (path.read_bytes() for path in folder.iterdir() if path != file)
    for content, why in (
        (foreign, "it holds others"),
        (whole[:-1], "it holds others"),
        (whole[:200], "mmap length is greater than file size"),
        (b"", "No data left in file"),
        (None, f"[Errno 2] No such file or directory: '{file}'"),
    ):
        file.unlink() if content is None else file.write_bytes(content)
        with pytest.raises(DataError) as error:
            pickle.loads(pickle.dumps(features))[0]  # as a worker opens it
        assert str(error.value) == (
            f"{file} is no longer the cache of these photos' features: {why}. The same command "
            "resumes and computes them anew."
        )
        again = Patches()
        assert torch.equal(cache(again, dataset, folder)[0].inputs, first)
        assert again.seen == COUNT
        assert file.read_bytes() == whole


def test_concurrent_runs_never_read_each_others_features(tmp_path):
    dataset, folder = build(tmp_path / "photos"), tmp_path / "cache"
    first = cache(Patches(), dataset, folder)
    other = Patches()
    with torch.no_grad():
        other.conv.bias += 1
    second = cache(other, dataset, folder)  # before the first run has opened its file
    torch.testing.assert_close(second[0].inputs, first[0].inputs + 1, rtol=0, atol=5e-3)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("levels", [2, 3])
def test_other_levels_of_the_encoder_get_features_of_their_own(tmp_path, levels):
    """Same weights, same structure: only a number says how many feature maps are taken."""
    photos, folder = tmp_path / "photos", tmp_path / "cache"
    encoder = Encoder("test_vit", size=(32, 32)).train(False)
    dataset = build(photos, height=32, width=32)
    one = cache(encoder, dataset, folder)[0].inputs
    encoder.levels = levels
    several = cache(encoder, dataset, folder)[0].inputs
    assert several.shape == (one.shape[0], levels * one.shape[1])


def test_an_interrupted_run_leaves_the_old_features_whole(tmp_path):
    dataset, folder = build(tmp_path / "photos"), tmp_path / "cache"
    old = cache(Patches(), dataset, folder)[0].inputs
    other = Patches(fail_after=3)
    with torch.no_grad():
        other.conv.bias += 1
    with pytest.raises(KeyboardInterrupt):
        cache(other, dataset, folder)
    assert len(list(folder.iterdir())) == 1
    again = Patches()
    assert torch.equal(cache(again, dataset, folder)[0].inputs, old)
    assert again.seen == 0


def test_half_the_items_are_mirrored_unless_a_caption_names_a_side(tmp_path):
    dataset, encoder = build(tmp_path / "photos"), Patches()
    features = cache(encoder, dataset, tmp_path / "cache", views=("plain", "mirror"))
    plain = encode(encoder, dataset.pixels([0])[0])
    mirror = encode(encoder, dataset.pixels([0])[0].flip(-1))
    taken = []
    for epoch in range(40):
        inputs = features[epoch, 0].inputs
        taken.append(torch.allclose(inputs, mirror, atol=1e-3))
        assert taken[-1] or torch.allclose(inputs, plain, atol=1e-3)
        assert torch.equal(features[epoch, 0].inputs, inputs)
    assert 10 < sum(taken) < 30
    sided = encode(encoder, dataset.pixels([1])[0])
    for epoch in range(20):
        torch.testing.assert_close(features[epoch, 1].inputs, sided, rtol=0, atol=1e-3)


def test_a_dataset_sent_to_a_worker_does_not_carry_its_features(tmp_path):
    features = cache(Patches(), build(tmp_path / "photos"), tmp_path / "cache")
    unopened = len(pickle.dumps(features))
    first = features[0].inputs
    sent = pickle.dumps(features)
    assert len(sent) == unopened
    assert torch.equal(pickle.loads(sent)[0].inputs, first)


def test_features_that_half_precision_cannot_hold_are_refused(tmp_path):
    encoder = Patches()
    with torch.no_grad():
        encoder.conv.bias += 1e6
    with pytest.raises(DataError, match=r"^The encoder's features overflow half"):
        cache(encoder, build(tmp_path / "photos"), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_plain_view_comes_first(tmp_path):
    with pytest.raises(ValueError, match=r"the first must be 'plain'\."):
        cache(Patches(), build(tmp_path / "photos"), tmp_path, views=("mirror",))


def test_boxes_are_mirrored_with_the_features(tmp_path):
    dataset = build(tmp_path / "photos", boxes=True)
    cached = cache(Patches(), dataset, tmp_path / "cache", views=("plain", "mirror"))
    plain, mirror = [1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]
    seen = set()
    for epoch in range(8):
        for index in range(COUNT):
            example = cached[epoch, index]
            shares = example.shares[0][0].tolist()
            assert shares in ([plain] if index == 1 else [plain, mirror])
            same = torch.equal(example.inputs, cached[0, index].inputs)
            assert same == (shares == cached[0, index].shares[0][0].tolist())
            seen.add(tuple(shares))
    assert len(seen) == 2
