"""Gain of decoding large JPEGs at half size, and its effect on captions.

    python -m benchmarks.decoding [--checkpoint NAME] [--photos 1000] [--times 1.5 2 3]

Photos of Flickr8k's validation split are enlarged until half of their short side is the given
multiple of the encoder's input, and saved as JPEG, quality 90. Each is preprocessed twice: decoded
at full and at half size. Prints milliseconds of one thread for both (median), the speed-up, the
mean difference of the inputs in levels of 255, the share of identical captions, and CIDEr-D of
both.
"""

import argparse
import io
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from benchmarks.command import command
from captioner.cli.options import above_zero, positive
from captioner.photo import load_photo, load_reduced
from captioner.photo.framing import Prepared
from captioner.photo.preprocess import preprocess
from captioner.pytorch import TorchCaptioner
from data.coco import load_records
from data.image_source import ImageSource
from training.metrics import score

CAPTIONS = Path("datasets/flickr8k/dataset_flickr8k.json.gz")
PHOTOS = "datasets/flickr8k"
BATCH = 32


@dataclass
class Way:
    """Results of decoding at one size."""

    seconds: list[float] = field(default_factory=list)
    inputs: list[Prepared] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)

    def read(self, captioner: TorchCaptioner, content: bytes, smallest: int | None) -> None:
        """Preprocess a file; `smallest` is a sufficient short side, in pixels."""
        started = time.perf_counter()
        at_least = None if smallest is None else (smallest, smallest)
        picture, size = load_reduced(content, at_least=at_least)
        pixels, geometry = preprocess(picture, captioner.header.preprocess, size=size)
        self.seconds.append(time.perf_counter() - started)
        self.inputs.append(Prepared(image=None, pixels=pixels, geometry=geometry))

    def caption(self, captioner: TorchCaptioner) -> torch.Tensor:
        """Caption the photos preprocessed since the last call, and return the last caption."""
        found = captioner.caption_batch(self.inputs, words=False)
        self.captions += [caption.text for caption in found]
        read, self.inputs = (
            torch.stack([torch.from_numpy(photo.pixels) for photo in self.inputs]),
            [],
        )
        return read


def enlarge(content: bytes, short_side: int) -> bytes:
    """Encode a JPEG with this short side, both sides even, so that it has an exact half."""
    photo = load_photo(content)
    scale = short_side / min(photo.size)
    width, height = (2 * round(side * scale / 2) for side in photo.size)
    stream = io.BytesIO()
    photo.resize((width, height), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return stream.getvalue()


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decoding", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--checkpoint", help="name or path of a checkpoint")
    parser.add_argument("--photos", type=positive, default=1000, help="number of photos (1000)")
    parser.add_argument(
        "--times",
        type=above_zero,
        nargs="+",
        default=[1.5, 2.0, 3.0],
        help="half sizes as multiples of the encoder's input (1.5 2 3)",
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    captioner = TorchCaptioner.load(args.checkpoint, device="cpu", precision="auto").packed()
    records = load_records(CAPTIONS, split="val")[: args.photos]
    source = ImageSource(PHOTOS)
    references = {record.image_id: record.captions for record in records}
    side = min(captioner.header.preprocess.height, captioner.header.preprocess.width)
    std = torch.tensor(captioner.header.preprocess.std)[:, None, None] * 255
    print(f"{captioner.header.name}, {len(records)} photos")
    for times in args.times:
        half = round(times * side)
        whole, reduced, apart = Way(), Way(), []
        for start in range(0, len(records), BATCH):
            for record in records[start : start + BATCH]:
                content = enlarge(source.read(record.image), 2 * half)
                whole.read(captioner, content, None)
                reduced.read(captioner, content, half)
            inputs = whole.caption(captioner), reduced.caption(captioner)
            apart.append(float(((inputs[0] - inputs[1]) * std).abs().mean()))
        rates = [1000 * statistics.median(way.seconds) for way in (whole, reduced)]
        pairs = zip(whole.captions, reduced.captions, strict=True)
        same = statistics.mean(one == other for one, other in pairs)
        scores = [
            100 * score(references, dict(zip(references, way.captions, strict=True)))["CIDEr"]
            for way in (whole, reduced)
        ]
        print(
            f"{times:4g} times the input  {rates[0]:6.2f} and {rates[1]:5.2f} ms, "
            f"{rates[0] / rates[1]:.2f} times as fast, {statistics.mean(apart):.2f} levels apart, "
            f"{100 * same:.1f} % the same, CIDEr {scores[0]:.1f} and {scores[1]:.1f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
