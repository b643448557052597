"""Speed of photo loading for training relative to Pillow and torchvision, on one core.

    python -m benchmarks.loading [--images PATH ...] [--photos 60] [--rounds 15]

Both turn a file into the input of an encoder of 224 x 224 pixels: read, decode, resize with the
same antialiased bicubic filter, normalise. The plain loader is the usual code: `Image.open`,
`convert`, `Resize`, `ToTensor`, `Normalize`, on a folder of files. Ours reads tar shards, with the
original files, and in a second row as `data.prepare --short-side 256` packs them once before
training. All are repeated with crop, flip and colour jitter.

Loaders alternate within a round; the first round is a warm-up. Prints photos per second of
processor time of one thread (median over the rounds, lowest and highest) and the speed-up. Exit
status 1 if the pixels of a file differ by more than 2 of 255 levels from those of captioning.

Without `--images`, the sample photos stand in for COCO's: resized to 640 x 480 pixels, JPEG
quality 90.
"""

import argparse
import io
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms as T

from benchmarks.command import command
from captioner.cli.options import positive
from captioner.config import PreprocessConfig
from captioner.errors import DataError
from captioner.photo import load_photo, load_reduced
from captioner.photo.framing import enough_for
from captioner.photo.preprocess import preprocess
from captioner.words.tokenizer import Tokenizer
from data.coco import Record
from data.dataset import CaptionDataset
from data.image_source import ImageSource
from data.prepare.shrink import pack_photo

CONFIG = PreprocessConfig()
LEVELS = 2
SIDE = 256
SAMPLES = Path(__file__).parents[1] / "data" / "samples"

Loader = Callable[[int], Tensor]


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 if pixels differ too much or a photo cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loading", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--images", nargs="+", help="folders or archives of photos")
    parser.add_argument("--photos", type=positive, default=60, help="photos per round (60)")
    parser.add_argument("--rounds", type=positive, default=15, help="measured rounds (15)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        contents = read_photos(args.images, args.photos)
        return compare(contents, Path(folder), rounds=args.rounds)


def read_photos(images: Sequence[str] | None, count: int) -> list[bytes]:
    """Return photo files: from these folders or archives, or the samples at COCO's size."""
    if images:
        source = ImageSource(images)
        names = [name for name in source.names() if name.lower().endswith((".jpg", ".jpeg"))]
        if not names:
            raise DataError(f"{', '.join(images)}: no .jpg files; check the path.")
        return [source.read(name) for name in names[:count]]
    contents = []
    for path in sorted(SAMPLES.glob("*.jpg")):
        stream = io.BytesIO()
        photo = load_photo(path).resize((640, 480), Image.Resampling.LANCZOS)
        photo.save(stream, "JPEG", quality=90)
        contents.append(stream.getvalue())
    return [contents[n % len(contents)] for n in range(count)]


def compare(contents: list[bytes], folder: Path, *, rounds: int) -> int:
    """Time all loaders in alternation, and print the results."""
    for number, content in enumerate(contents):
        (folder / f"{number}.jpg").write_bytes(content)
    resize = T.Resize((CONFIG.height, CONFIG.width), T.InterpolationMode.BICUBIC)
    end = [T.ToTensor(), T.Normalize(CONFIG.mean, CONFIG.std)]
    crop = T.RandomResizedCrop(
        (CONFIG.height, CONFIG.width), (0.8, 1.0), interpolation=T.InterpolationMode.BICUBIC
    )
    vary = [crop, T.RandomHorizontalFlip(), T.ColorJitter(0.2, 0.2, 0.2)]
    whole = write_tar(contents, folder / "whole.tar")
    small = [pack_photo(c, name="photo", short_side=SIDE, quality=90)[0] for c in contents]
    shard = write_tar(small, folder / "shard.tar")
    count = len(contents)
    loaders: dict[str, tuple[Loader, str]] = {
        "plain": (plain_loader(folder, T.Compose([resize, *end])), ""),
        "ours, files as they are": (our_loader(whole, count), "plain"),
        f"ours, {SIDE} pixels": (our_loader(shard, count), "plain"),
        "plain, augmented": (plain_loader(folder, T.Compose([*vary, *end])), ""),
        "ours, augmented": (our_loader(whole, count, augment=True), "plain, augmented"),
        f"ours, {SIDE} pixels, augmented": (
            our_loader(shard, count, augment=True),
            "plain, augmented",
        ),
    }
    times = measure({name: load for name, (load, _) in loaders.items()}, count, rounds)
    pixels = statistics.mean(size[0] * size[1] for size in map(size_of, contents)) / 1e6
    kilobytes, after = (statistics.mean(map(len, c)) / 1000 for c in (contents, small))
    print(f"{count} photos of {pixels:.2f} megapixels, {kilobytes:.0f} kB; prepared {after:.0f} kB")
    for name, (_, against) in loaders.items():
        rates = times[name]
        rate = statistics.median(rates)
        line = f"{name:27} {rate:6.0f} photos/s ({min(rates):.0f} to {max(rates):.0f})"
        if against:
            line += f"  {rate / statistics.median(times[against]):.2f} times {against}"
        print(line)
    furthest, mean = compare_pixels(contents, loaders["ours, files as they are"][0])
    print(
        f"from what a captioner sees: {mean:.3f} of 255 levels on average, {furthest:.0f} at most"
    )
    return int(furthest > LEVELS + 0.01)


def measure(loaders: dict[str, Loader], count: int, rounds: int) -> dict[str, list[float]]:
    """Return photos per second of each loader in each round."""
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for number in range(rounds + 1):
        for name, load in loaders.items():
            started = time.process_time()
            for index in range(count):
                load(index)
            if number:
                rates[name].append(count / (time.process_time() - started))
    return rates


def compare_pixels(contents: Sequence[bytes], load: Loader) -> tuple[float, float]:
    """Return the largest and mean difference from the captioner's pixels, in levels of 255."""
    std = torch.tensor(CONFIG.std)[:, None, None] * 255
    differences = []
    for number, content in enumerate(contents):
        photo, size = load_reduced(content, at_least=enough_for(CONFIG))
        seen, _ = preprocess(photo, CONFIG, size=size)
        differences.append(((load(number) - seen) * std).abs())
    return max(float(d.max()) for d in differences), statistics.mean(
        float(d.mean()) for d in differences
    )


def size_of(content: bytes) -> tuple[int, int]:
    """Return width and height in pixels."""
    with Image.open(io.BytesIO(content)) as photo:
        return photo.size


def plain_loader(folder: Path, transform: Callable[[Image.Image], Tensor]) -> Loader:
    """Return the plain loader: open, convert, transform."""
    return lambda index: transform(Image.open(folder / f"{index}.jpg").convert("RGB"))


def our_loader(path: Path, count: int, *, augment: bool = False) -> Loader:
    """Return our loader: items of a dataset as in training, with captions of one word."""
    records = [
        Record(image=f"{n}.jpg", image_id=n, captions=("photo",), split="train")
        for n in range(count)
    ]
    dataset = CaptionDataset(
        records,
        ImageSource(path),
        preprocess=CONFIG,
        tokenizer=Tokenizer.train_words(["photo"], min_count=1),
        augment=augment,
    )
    return lambda index: dataset[index].inputs


def write_tar(contents: Sequence[bytes], path: Path) -> Path:
    """Pack files into a tar archive, named by number."""
    with tarfile.open(path, "w") as archive:
        for number, content in enumerate(contents):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


if __name__ == "__main__":
    sys.exit(main())
