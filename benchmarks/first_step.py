"""From the command to the first training step at COCO's scale: seconds and memory.

    python -m benchmarks.first_step --annotations FILE --images PATH... [--photos 113287]
        [--kinds loose zip shards] [--workers 0 2] [--runs 2] [--steps 200]

Makes a data set in the form of COCO's: so many photos, and 5,000 for validation, with five captions
each. The captions are the given ones, repeated; the photos are 64 of the given ones, made tiny.
Loose files are hard links to these, archives repeat them. As in COCO, half of the validation photos
have the size of one training photo, so the check for shared photos reads both.

Then real runs of `training.train` with a toy model, each ended after so many steps of 256 photos.
Prints seconds until the first step is done, and what the processor time of the main process went
to. Memory: the peak of the main process before that step (RSS), and after the last step the
proportional set size (PSS), which divides shared pages among the processes, of the main process and
of each worker. The alternative is what PyTorch offers: torchvision's CocoCaptions, which reads
captions with pycocotools, in a DataLoader with as many workers. It learns no vocabulary, encodes
nothing, checks nothing, and reads loose files only. Linux only.
"""

import argparse
import io
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice, product
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from benchmarks.command import command
from captioner.cli.options import positive
from captioner.errors import CaptionerError
from captioner.photo import load_photo
from data.coco import load_records
from data.image_source import ImageSource
from training.options import at_least

VALIDATED = 5000
DISTINCT = 64
SHARD = 5000
BATCH = 256
PARTS = (
    ("captions", "training.running.start.load_records"),
    ("photo index", "training.running.start.ImageSource"),
    ("photos exist", "data.image_source.ImageSource.require"),
    ("photos shared", "training.running.loaders.find_shared"),
    ("vocabulary", "training.train.choose_tokenizer"),
    ("digest", "training.train.digest_of"),
    ("token ids", "training.running.loaders.CaptionDataset"),
    ("first batch", "data.batching.BatchLoader.__iter__"),
    ("first batch", "torch.utils.data.dataloader._BaseDataLoaderIter.__next__"),
    ("first step", "training.running.learner.Learner.step"),
)
"""What is timed within a run."""
SETTINGS = """\
name = "first_step"
encoder_weights = "none"
threads = 1
[model.encoder]
backbone = "test_vit"
[model.decoder]
kind = "transformer"
width = 32
layers = 1
heads = 2
feedforward_width = 32
[preprocess]
height = 32
width = 32
[[data.train]]
annotations = "{folder}/captions_train.json"
images = ["{folder}/{train}"]
[data.val]
annotations = "{folder}/captions_val.json"
images = ["{folder}/{val}"]
[data]
min_count = {rare}
cache = "{folder}/cache"
[[stages]]
name = "words"
epochs = 1
encoder = "trained"
batch_size = {batch}
"""
KINDS = {"loose": "{0}", "zip": "{0}.zip", "shards": "{0}-*.tar"}
"""Where photos of a split lie."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table; return 0, or 1 where photos cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.first_step",
        description="Seconds and memory up to the first training step, at COCO's scale.",
    )
    parser.add_argument("--annotations", type=Path, required=True, help="a caption file")
    parser.add_argument("--images", nargs="+", required=True, help="folders or archives of photos")
    parser.add_argument("--photos", type=positive, default=113_287, help="training photos (113287)")
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=list(KINDS),
        default=list(KINDS),
        help="how photos are stored (default: all kinds)",
    )
    parser.add_argument(
        "--workers",
        nargs="+",
        type=at_least(0),
        default=[0, 2],
        help="worker processes to measure (0 2)",
    )
    parser.add_argument("--runs", type=positive, default=2, help="runs of each kind (2)")
    parser.add_argument("--steps", type=positive, default=200, help="training steps per run (200)")
    args = parser.parse_args(argv)
    if BATCH * args.steps > args.photos:
        needed = f"--steps {args.steps} takes {BATCH * args.steps} photos"
        parser.error(f"{needed}; raise --photos {args.photos}, or lower --steps")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        contents = write_captions(args.annotations, args.images, folder, count=args.photos)
        for kind in args.kinds:
            places = {split: KINDS[kind].format(split) for split in ("train", "val")}
            for split, number in (("train", args.photos), ("val", VALIDATED)):
                WRITERS[kind](folder / split, partial(content_of, contents, split), number)
            settings = folder / f"{kind}.toml"
            rare = args.photos // 50  # a few hundred words, for quick steps
            settings.write_text(SETTINGS.format(folder=folder, batch=BATCH, rare=rare, **places))
            for workers, turn in product(args.workers, range(args.runs)):
                report(
                    f"{kind}, {workers} workers, run {turn + 1}", "ours", str(settings),
                    "--device", "cpu", "--folder", str(folder / f"{kind}-{workers}-{turn}"),
                    "--set", f"data.workers={workers}", steps=args.steps,
                )  # fmt: skip
        for workers in args.workers if "loose" in args.kinds else ():
            name = f"CocoCaptions, {workers} workers"
            report(name, "plain", str(folder / "train"), str(workers), steps=args.steps)
    return 0


def report(name: str, way: str, *arguments: str, steps: int) -> None:
    """Run a process that ends after some steps, and print what it saw."""
    program = "from benchmarks import first_step; first_step.watched()"
    command = [sys.executable, "-c", program, str(time.time()), str(steps), way, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise CaptionerError(f"{name} ended early: {done.stderr.strip()}")
    said = json.loads(done.stdout.splitlines()[-1])
    parts = ", ".join(f"{part} {took:.1f}" for part, took in said["parts"].items() if took > 0.05)
    workers = " and ".join(f"{size:.0f}" for size in said["workers"]) or "none"
    print(
        f"{name}: {said['seconds']:.1f} s until the first step, of the processor "
        f"{sum(said['parts'].values()):.1f} ({parts}); MB: at most {said['peak']:.0f}, "
        f"in the end {said['main']:.0f}, workers {workers}, together "
        f"{said['main'] + sum(said['workers']):.0f}",
        flush=True,
    )


# The data set


def write_captions(
    annotations: Path, images: Sequence[str], folder: Path, *, count: int
) -> list[bytes]:
    """Write both caption files; return the tiny photos."""
    records = load_records(annotations)
    source = ImageSource(images)
    shown = [record for record in records if record.image in source][:DISTINCT]
    if not shown:
        raise CaptionerError(f"{', '.join(images)}: no photo of {annotations}; check the path.")
    contents = []
    for record in shown:
        stream = io.BytesIO()
        photo = load_photo(source.read(record.image))
        photo.resize((48, 36)).save(stream, "JPEG", quality=75)
        contents.append(stream.getvalue())
    captions = cycle(caption for record in records for caption in record.captions)
    for split, number in (("train", count), ("val", VALIDATED)):
        ids = [int(name_of(split, n)[:-4]) for n in range(number)]
        listed = [
            {
                "license": 3,
                "file_name": name_of(split, n),
                "coco_url": f"http://images.cocodataset.org/{split}2017/{name_of(split, n)}",
                "height": 360,
                "width": 640,
                "date_captured": "2013-11-14 11:18:45",
                "flickr_url": "http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg",
                "id": ids[n],
            }
            for n in range(number)
        ]
        said = [
            {"image_id": ids[n // 5], "id": n, "caption": caption}
            for n, caption in enumerate(islice(captions, 5 * number))
        ]
        table = {"info": {}, "licenses": [], "images": listed, "annotations": said}
        (folder / f"captions_{split}.json").write_text(json.dumps(table))
    return contents


def name_of(split: str, number: int) -> str:
    """File name of a photo, as COCO's: a number that no other split has."""
    return f"{number + (1_000_000 if split == 'val' else 0):012}.jpg"


def content_of(contents: Sequence[bytes], split: str, number: int) -> bytes:
    """A tiny photo; so many of a split have a size of their own, the same in both splits."""
    if split == "train" and number >= VALIDATED // 2:
        return contents[number % len(contents)]
    other = contents[(number + (split == "val")) % len(contents)]
    return other.ljust(4000 + number, b"\0")


def write_loose(path: Path, content: Callable[[int], bytes], number: int) -> None:
    """A folder of photos, equal ones linked."""
    path.mkdir()
    written: dict[bytes, Path] = {}
    for n in range(number):
        file = path / name_of(path.name, n)
        first = written.setdefault(content(n), file)
        if first is file:
            file.write_bytes(content(n))
        else:
            os.link(first, file)


def write_zip(path: Path, content: Callable[[int], bytes], number: int) -> None:
    """One archive."""
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for n in range(number):
            archive.writestr(name_of(path.name, n), content(n))


def write_shards(path: Path, content: Callable[[int], bytes], number: int) -> None:
    """Tar archives of 5,000 photos each."""
    for start in range(0, number, SHARD):
        with tarfile.open(f"{path}-{start // SHARD:02}.tar", "w") as archive:
            for n in range(start, min(start + SHARD, number)):
                member = tarfile.TarInfo(name_of(path.name, n))
                member.size = len(content(n))
                archive.addfile(member, io.BytesIO(content(n)))


WRITERS: dict[str, Callable[[Path, Callable[[int], bytes], int], None]] = {
    "loose": write_loose,
    "zip": write_zip,
    "shards": write_shards,
}

# What is run in a process of its own


@dataclass
class Watch:
    """Sees what a process takes until its first step, and its memory after the last."""

    begun: float
    steps: int
    parts: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    said: dict[str, Any] = field(default_factory=dict)
    done: int = 0

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """Add the time of its calls to a part, without that of other parts within."""

        def call(*args: Any, **kwargs: Any) -> Any:
            started, before = time.process_time(), sum(self.parts.values())
            try:
                return function(*args, **kwargs)
            finally:
                within = sum(self.parts.values()) - before
                self.parts[part] += time.process_time() - started - within

        return call

    def step(self, function: Callable[..., Any] = lambda: None) -> Callable[..., Any]:
        """Count its calls; after the last one, print what was seen, and interrupt the run."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if not self.done:
                self.said["peak"] = memory("status", "VmHWM")
            result = function(*args, **kwargs)
            self.done += 1
            if self.done == 1:
                self.parts["the rest"] = time.process_time() - sum(self.parts.values())
                self.said |= {"seconds": time.time() - self.begun, "parts": dict(self.parts)}
            if self.done == self.steps:
                self.said["main"] = memory("smaps_rollup", "Pss")
                workers = multiprocessing.active_children()
                self.said["workers"] = [memory("smaps_rollup", "Pss", x.pid) for x in workers]
                print(json.dumps(self.said), flush=True)
                raise KeyboardInterrupt
            return result

        return call


def watched() -> None:
    """Train, or read with CocoCaptions, for some steps, in a process of its own."""
    begun, steps, way, *arguments = sys.argv[1:]
    watch = Watch(float(begun), int(steps))
    with suppress(KeyboardInterrupt):
        (train if way == "ours" else read_plainly)(watch, *arguments)


def train(watch: Watch, *arguments: str) -> None:
    """Run `python -m training.train`, timed."""
    for part, name in PARTS:
        owner, _, attribute = name.rpartition(".")
        where = resolve_name(owner)
        setattr(where, attribute, watch.timed(getattr(where, attribute), part))
    learner = resolve_name("training.running.learner:Learner")
    learner.step = watch.step(learner.step)
    command = resolve_name("training.train:main")
    watch.parts["imports"] = time.process_time()
    command(arguments)


def read_plainly(watch: Watch, folder: str, workers: str) -> None:
    """Read batches of loose files with what torchvision offers."""
    from torch.utils.data import DataLoader  # noqa: PLC0415  # its time counts
    from torchvision.datasets import CocoCaptions  # noqa: PLC0415
    from torchvision.transforms import v2  # noqa: PLC0415

    dataset = CocoCaptions(
        folder,
        str(Path(folder).with_name("captions_train.json")),
        transform=v2.Compose([v2.Resize((32, 32)), v2.PILToTensor()]),
    )
    step = watch.step()
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=int(workers), collate_fn=list)
    for _ in loader:
        step()


def memory(file: str, field: str, process: int | None = None) -> float:
    """Megabytes that the kernel states of a process, by default this one."""
    text = Path(f"/proc/{process or 'self'}/{file}").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(main())
