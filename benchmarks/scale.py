"""Cost of `captioner folder` per photo: seconds of one core, bytes of journal.

    python -m benchmarks.scale --photos datasets/coco_sample/multi-00.tar

Runs the real command on one core, with the original photos and with the same photos enlarged to
camera resolution. Counts processor time, which other programs on the machine hardly affect, and
takes the difference between a run with many and a run with few photos, which excludes the start of
the program. Writes only to a temporary folder.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from benchmarks.command import command
from captioner.cli.options import positive
from captioner.errors import DataError
from data.image_source import ImageSource

CAMERA = (4000, 3000)


@command
def main() -> int:
    """Print one line per measurement."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--photos", type=Path, required=True, help="tar archive of JPEG photos")
    parser.add_argument("--many", type=positive, default=240, help="photos of the longer run (240)")
    parser.add_argument("--few", type=positive, default=48, help="photos of the shorter run (48)")
    parser.add_argument(
        "--smallest", type=positive, default=640, help="minimum pixels on the longer side (640)"
    )
    args = parser.parse_args()
    if not 4 <= args.few < args.many:
        parser.error(f"--few {args.few} must be at least 4, and below --many {args.many}")
    with TemporaryDirectory() as place:
        for kind, share in (("as they are", 1), ("12 megapixels", 4)):
            few, many = args.few // share, args.many // share
            folders = [Path(place) / f"{kind} {count}" for count in (few, many)]
            for folder, count in zip(folders, (few, many), strict=True):
                lay_out(folder, args.photos, count, args.smallest, camera=share > 1)
            size = sum(path.stat().st_size for path in folders[1].iterdir()) / many
            for search in (["--search", "greedy"], []):
                seconds = [caption(folder, *search)[0] for folder in folders]
                each = (seconds[1] - seconds[0]) / (many - few)
                print(
                    f"{kind} ({size / 1000:.0f} kB each), {' '.join(search) or 'beam search'}: "
                    f"{1 / each:.1f} photos/s on one core ({1000 * each:.0f} ms each)",
                    flush=True,
                )
        for words in ([], ["--words"]):
            size = caption(folders[0], *words)[1]
            print(f"journal {' '.join(words)}: {size:.0f} bytes a photo")
    return 0


def lay_out(folder: Path, archive: Path, count: int, smallest: int, *, camera: bool) -> None:
    """Write this many photos, cycling through the archive."""
    folder.mkdir()
    contents = list(large_enough(archive, smallest))
    if not contents:
        raise DataError(f"{archive}: no JPEG in it is {smallest} pixels wide or high.")
    for number in range(count):
        content = contents[number % len(contents)]
        path = folder / f"{number:04}.jpg"
        if camera:
            picture = Image.open(io.BytesIO(content)).convert("RGB")
            picture.resize(CAMERA, Image.Resampling.BICUBIC).save(path, quality=92)
        else:
            path.write_bytes(content)


def large_enough(archive: Path, smallest: int) -> Iterator[bytes]:
    """Yield the photos with at least this many pixels on the longer side."""
    source = ImageSource([str(archive)])
    for content in source.read_each(n for n in source.names() if n.endswith(".jpg")):
        if max(Image.open(io.BytesIO(content)).size) >= smallest:
            yield content


def caption(folder: Path, *options: str) -> tuple[float, float]:
    """Run the command on one core; return its processor seconds, and bytes written per photo."""
    core = min(os.sched_getaffinity(0))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "captioner",
        "folder",
        folder,
        "--workers",
        "1",
    ]
    done = subprocess.run(
        [*command, "--overwrite", "--log", "json", *options],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    end = json.loads(done.stderr.splitlines()[-1])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, (folder / "captions.jsonl").stat().st_size / end["captioned"]


if __name__ == "__main__":
    sys.exit(main())
