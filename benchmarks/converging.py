"""Check that training in five ways converges alike.

    python -m benchmarks.converging --annotations FILE --images PATH... [--photos 640] [--epochs 6]
        [--folder runs/converging]

Trains a small Transformer on features of the shipped encoder: plainly; in two processes; in
bfloat16; killed half-way and resumed; and, if there is a C++ compiler, compiled. Dropout is off,
since its random numbers differ between processes. Prints how far each training curve and the final
validation loss are from those of the plain run. Uses the first photos of the training split, and
the validation split.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.command import command
from captioner.checkpoint.shipped import find_checkpoint
from captioner.cli.options import positive
from training.report.run_files import Points, read_curves, read_run

WAYS = {
    "plain": [],
    "two processes": [],
    "bfloat16": ["precision=bfloat16"],
    "killed, and gone on": ["save_minutes=0"],
    "compiled": ["compile=inductor"],
}
"""Overrides of the settings."""
SETTINGS = """\
name = "converging"
seed = 1
threads = 1
precision = "float32"
encoder_weights = "{encoder}"
[model.encoder]
backbone = "vit_tiny_patch16_224"
[model.decoder]
kind = "transformer"
width = 128
layers = 2
heads = 4
feedforward_width = 256
dropout = 0.0
[preprocess]
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
[search]
method = "greedy"
[data]
min_count = 2
workers = 0
cache = "{folder}/cache"
[[data.train]]
annotations = "{annotations}"
images = {images}
split = "train"
limit = {photos}
[data.val]
annotations = "{annotations}"
images = {images}
split = "val"
limit = 64
[[stages]]
name = "words"
epochs = {epochs}
batch_size = 16
learning_rate = 2e-3
augment = false
"""


def train(way: str, settings: Path, folder: Path) -> None:
    """Train in one of the ways."""
    words = ["-m", "training.train", str(settings), "--folder", str(folder), "--device", "cpu"]
    words += [word for change in WAYS[way] for word in ("--set", change)]
    python = [sys.executable]
    if way == "two processes":
        python += ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if way == "killed, and gone on":
        with subprocess.Popen([*python, *words], env=environment) as process:
            while len(read_curves(folder).get("train/loss", ())) < 3 and process.poll() is None:
                time.sleep(0.2)
            process.send_signal(signal.SIGKILL)
    subprocess.run([*python, *words], env=environment, check=True)


@command
def main() -> int:
    """Train in all ways, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.converging", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--annotations", type=Path, required=True, help="human captions")
    parser.add_argument("--images", nargs="+", required=True, help="folders or tar archives")
    parser.add_argument("--photos", type=positive, default=640, help="training photos (640)")
    parser.add_argument("--epochs", type=positive, default=6, help="epochs of every run (6)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("runs/converging"),
        help="folder for the runs (runs/converging)",
    )
    args = parser.parse_args()
    folder = args.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "settings.toml"
    settings.write_text(
        SETTINGS.format(
            encoder=find_checkpoint(),
            folder=folder,
            annotations=args.annotations.absolute(),
            images=json.dumps([str(Path(path).absolute()) for path in args.images]),
            photos=args.photos,
            epochs=args.epochs,
        ),
        encoding="utf-8",
    )
    curves: dict[str, Points] = {}
    ends = {}
    for way in WAYS:
        if way == "compiled" and not any(map(shutil.which, ("g++", "c++", "clang++"))):
            print("compiled: left out, there is no C++ compiler")
            continue
        own = folder / way.replace(", ", "-").replace(" ", "-")
        shutil.rmtree(own, ignore_errors=True)
        train(way, settings, own)
        run = read_run(own)
        curves[way], ends[way] = run.curves["train/loss"], run.history[-1]["loss"]
    plain = dict(curves["plain"])
    titles = ("loss at the end", "curve apart by", "validation loss", "apart by")
    print(f"{'':22}" + "".join(f"{title:>16}" for title in titles))
    for way, curve in curves.items():
        apart = max(abs(loss - plain[step]) for step, loss in curve)
        print(
            f"{way:22}{curve[-1][1]:16.4f}{apart:16.1e}{ends[way]:16.4f}"
            f"{abs(ends[way] - ends['plain']):16.1e}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
