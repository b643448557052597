"""Speed of `captioner folder` relative to the bare encoder and to transformers.

    python -m benchmarks.folder [--photos 384] [--sizes 224x224 1024x768] [--batch 32] [--rounds 3]
                                [--checkpoint NAME] [--runtime onnx torch] [--precision float32]
                                [--plot FILE]

The photos are the samples, resized and saved as JPEG. In every round, the bare encoder encodes all
of them, already decoded, with as many threads as the command; then the command processes the files,
greedy and with beam 3, with the model loaded; then a plain loop over the files does the same with
transformers' VisionEncoderDecoderModel of the same size in bfloat16, writing as many words per
caption as ours on average. Prints photos per second (median over the rounds), the ratio to the bare
encoder and to the loop, and the milliseconds of one core per photo and component, each measured
separately on one thread. The plot needs matplotlib, the loop transformers.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image

from benchmarks.command import check_plot, command
from benchmarks.peers import build_peer, caption_files
from captioner.cli.options import positive
from captioner.config import SearchConfig
from captioner.folder.engines.local import LocalEngine
from captioner.folder.job import Job
from captioner.folder.journal.journal import Journal
from captioner.folder.journal.pending import PendingEntry
from captioner.folder.journal.records import JournalRecord
from captioner.folder.outputs.template import CaptionTemplate
from captioner.folder.progress import Progress
from captioner.folder.sources.inputs import Photo
from captioner.photo.framing import Prepared
from captioner.pipeline import Captioner
from captioner.search import search
from captioner.speed.resources import count_cores

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
SEARCHES = {
    "greedy": SearchConfig(method="greedy"),
    "beam 3": SearchConfig(beam=3, length_penalty=0.7),
}
AIMS = {"greedy": 0.85, "beam 3": 0.75}
"""Minimum ratio to the bare encoder, by decoding method."""
PEER_AIM = 2.0
"""Minimum ratio to the loop with transformers."""
Result = TypeVar("Result")
PARTS = ("read", "decode", "encode", "search", "write")


def make_photos(folder: Path, size: tuple[int, int], count: int) -> list[Photo]:
    """Write the samples at this width and height, and repeat them to the number asked for."""
    files = []
    for sample in sorted(SAMPLES.glob("*.jpg")):
        file = folder / f"{sample.stem}-{size[0]}x{size[1]}.jpg"
        with Image.open(sample) as picture:
            picture.convert("RGB").resize(size).save(file, quality=90)
        files.append(file)
    return [
        Photo(name=f"{n:06}", path=str(file))
        for n, file in zip(range(count), itertools.cycle(files), strict=False)
    ]


class Bench:
    """One checkpoint, on photos of one size.

    Args:
        captioner: the model, from `Captioner.for_bulk`.
        photos: files to caption.
        batch: photos per batch.
    """

    def __init__(self, captioner: Captioner, photos: list[Photo], batch: int) -> None:
        self.captioner = captioner
        self.photos = photos
        self.batch = batch
        known: dict[str, Prepared] = {}
        for photo in photos:
            known.setdefault(photo.path, captioner.prepare(photo.path))
        self.prepared = [known[photo.path] for photo in photos]
        self.peer: Any = build_peer().to(torch.bfloat16)
        texts = captioner.caption_batch(list(known.values()))
        self.words = (
            round(statistics.mean(len(caption.words) for caption in texts)) + 1
        )  # no more batches

    def batches(self) -> Iterator[list[Prepared]]:
        """Yield decoded photos in the batches of the command."""
        for start in range(0, len(self.prepared), self.batch):
            yield self.prepared[start : start + self.batch]

    def encode(self) -> None:
        """Encode all photos."""
        with self.captioner.lanes() as lanes, ThreadPoolExecutor(lanes) as threads:
            list(threads.map(self._encode, self.batches()))

    def _encode(self, batch: list[Prepared]) -> None:
        with self.captioner.lane():
            self.captioner.encode(batch)

    def caption_by_loop(self, config: SearchConfig) -> None:
        """Caption all photos with transformers."""
        beam = config.beam if config.method == "beam" else 1
        files = [photo.path for photo in self.photos]
        caption_files(self.peer, files, beam=beam, words=self.words, batch=self.batch)

    def caption(self, config: SearchConfig) -> None:
        """Caption all photos as the command does, with the model loaded."""
        engine = LocalEngine(
            self.captioner,
            search=config,
            batch_size=self.batch,
            workers=count_cores(),
            words=False,
        )
        with (
            tempfile.TemporaryDirectory() as folder,
            Journal(Path(folder) / "captions.jsonl", {}) as journal,
        ):
            job = Job(
                journal,
                lambda: engine,
                template=CaptionTemplate(),
                targets=[],
                words=False,
                retry_failed=False,
                progress=Progress("quiet"),
                root=Path(folder),
            )
            job.run(iter(self.photos))
            assert len(journal.index.captioned) == len(self.photos)

    def parts(self, config: SearchConfig, *, batches: int = 3) -> dict[str, float]:
        """Return milliseconds per photo and component, on one thread."""
        seconds = dict.fromkeys(PARTS, 0.0)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # onnxruntime has one already
        count = batches * self.batch
        with (
            tempfile.TemporaryDirectory() as folder,
            Journal(Path(folder) / "captions.jsonl", {}) as journal,
        ):
            for number in range(-1, batches):  # the first run is a warm-up
                start = max(number, 0) * self.batch % len(self.photos)
                photos = self.photos[start : start + self.batch]
                took = self._parts_of(photos, config, journal)
                if number >= 0:
                    seconds = {part: seconds[part] + took[part] for part in PARTS}
        torch.set_num_threads(threads)
        return {part: 1000 * seconds[part] / count for part in PARTS}

    def _parts_of(
        self, photos: list[Photo], config: SearchConfig, journal: Journal
    ) -> dict[str, float]:
        captioner, seconds = self.captioner, {}
        config, constraints = captioner.header.plan(config)
        contents, seconds["read"] = timed(lambda: [Path(p.path).read_bytes() for p in photos])
        prepared, seconds["decode"] = timed(lambda: [captioner.prepare(c) for c in contents])
        features, seconds["encode"] = timed(lambda: captioner.encode(prepared))
        found, seconds["search"] = timed(
            lambda: search(captioner.decoder, features, config=config, constraints=constraints)
        )
        texts = [captioner.header.tokenizer.decode(candidates.tokens[0]) for candidates in found]
        entries = [
            PendingEntry(record=JournalRecord(image=p.name, status="captioned", caption=text))
            for p, text in zip(photos, texts, strict=True)
        ]
        _, seconds["write"] = timed(lambda: journal.commit(entries))
        return seconds


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Call a function; return the seconds it took."""
    started = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - started


def measure(bench: Bench, rounds: int) -> dict[str, float]:
    """Return photos per second of bare encoder, command and loop: median over the rounds."""
    works: dict[str, Callable[[], None]] = {"bare encoder": bench.encode}
    for name, config in SEARCHES.items():
        works[name] = partial(bench.caption, config)
        works[f"{name}, loop"] = partial(bench.caption_by_loop, config)
    rates: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            _, seconds = timed(work)
            if turn:  # the first round is a warm-up
                rates[name].append(len(bench.photos) / seconds)
    return {name: statistics.median(values) for name, values in rates.items()}


def draw(rows: list[tuple[str, dict[str, float]]], path: Path, title: str) -> None:
    """Draw the milliseconds of the components, one bar per row."""
    import matplotlib.pyplot as plt  # noqa: PLC0415  # only for the plot

    figure, axes = plt.subplots(figsize=(8, 0.55 * len(rows) + 1.4), layout="constrained")
    colours = ("#999999", "#e69f00", "#0072b2", "#009e73", "#cc79a7")
    left = [0.0] * len(rows)
    for part, colour in zip(PARTS, colours, strict=True):
        widths = [parts[part] for _, parts in rows]
        axes.barh(range(len(rows)), widths, left=left, color=colour, label=part)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds of one core for a photo")
    axes.set_title(title, fontsize="medium", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=len(PARTS), frameon=False, loc="upper left", bbox_to_anchor=(0, -0.25))
    figure.savefig(path, dpi=110, metadata={"Software": ""})


@command
def main() -> int:
    """Run the benchmark, print its tables and draw its plot."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.folder", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--photos", type=positive, default=384, help="number of photos (384)")
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=size_of,
        default=[(224, 224), (1024, 768)],
        help="width and height of the photos, such as 1024x768",
    )
    parser.add_argument("--batch", type=positive, default=32, help="photos per batch (32)")
    parser.add_argument("--rounds", type=positive, default=3, help="measured rounds (3)")
    parser.add_argument("--checkpoint", help="name or path of a checkpoint")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, ...")
    parser.add_argument(
        "--runtime", nargs="+", default=["auto"], help="runtimes to measure: auto, onnx, torch"
    )
    parser.add_argument(
        "--precision", nargs="+", default=["float32"], help="precisions to measure (float32)"
    )
    parser.add_argument("--plot", type=Path, help="draw the times of the components to this file")
    args = parser.parse_args()
    check_plot(args.plot)
    compare(args)
    return 0


def size_of(text: str) -> tuple[int, int]:
    """Read a width and a height, for argparse."""
    try:
        width, height = map(positive, text.split("x"))
    except (ValueError, argparse.ArgumentTypeError) as error:
        reason = f"{text} is not a width and a height, such as 1024x768"
        raise argparse.ArgumentTypeError(reason) from error
    return width, height


def compare(args: argparse.Namespace) -> None:
    """Measure every size, runtime and precision."""
    rows: list[tuple[str, dict[str, float]]] = []
    print(f"{'photos':>10} {'runtime':>8} {'precision':>10} {'':14}", end="")
    print(f"{'photos/s':>9}{'encoder':>9}{'loop':>6}", end="")
    print("".join(f"{part:>8}" for part in PARTS), "ms a photo, one core")
    with tempfile.TemporaryDirectory() as folder:
        ways = itertools.product(args.sizes, args.runtime, args.precision)
        for (width, height), runtime, precision in ways:
            names = [args.checkpoint] if args.checkpoint else []
            captioner = Captioner.load(
                *names, runtime=runtime, device=args.device, precision=precision
            ).for_bulk()
            size = f"{width}x{height}"
            photos = make_photos(Path(folder), (width, height), args.photos)
            bench = Bench(captioner, photos, args.batch)
            rates = measure(bench, args.rounds)
            for name, rate in rates.items():
                ratio = rate / rates["bare encoder"]
                line = f"{size:>10} {runtime:>8} {precision:>10} {name:14}{rate:9.1f}{ratio:9.2f}"
                if name in SEARCHES:
                    ahead = rate / rates[f"{name}, loop"]
                    parts = bench.parts(SEARCHES[name])
                    rows.append((f"{size}, {runtime}, {precision}, {name}", parts))
                    line += f"{ahead:6.2f}" + "".join(f"{parts[part]:8.2f}" for part in PARTS)
                    line += "" if ratio >= AIMS[name] else f"  under {AIMS[name]:.2f}"
                    line += "" if ahead >= PEER_AIM else f"  under {PEER_AIM:.0f} x"
                print(line, flush=True)
    title = f"{captioner.header.name}, batch {args.batch}, {count_cores()} cores"
    print(title)
    if args.plot:
        draw(rows, args.plot, title)


if __name__ == "__main__":
    sys.exit(main())
