"""A run that ends before its time, what it would take, and options that go together."""

import json
import math
import re
from types import SimpleNamespace

import pytest

from captioner.errors import ConfigError
from captioner.folder.estimate import SAMPLE, Estimate, Sample, estimate
from captioner.folder.limits import Limits
from captioner.folder.sources.inputs import Photo
from captioner.folder.stopping import LimitReached
from captioner.metadata import read_captions
from tests.photos import noise
from tests.test_folder import captions

FIRST = ("--batch-size", "1")


def test_too_many_failures_stop_a_run_that_can_be_resumed(command, folder):
    for number in range(5):
        (folder / f"a{number}.png").write_bytes(b"")
    output = folder / "captions.jsonl"
    status, lines, errors = command(folder, *FIRST, "--max-failures", "2")
    assert (status, lines) == (3, [])
    assert errors[-1] == (
        f"captioner: {output}: 3 of 3 photos failed, more than --max-failures 2 after 3 photos: 0 "
        "captioned, 0 already captioned, 0 skipped, 3 failed; run the same command to resume."
    )
    assert list(captions(output)) == ["a0.png", "a1.png", "a2.png"]
    failed = (folder / "captions.failed.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in failed] == ["a0.png", "a1.png", "a2.png"]
    status, lines, _ = command(folder, *FIRST, "--max-failures", "2")
    assert status == 1  # two more failed, and what failed before counts no more
    assert lines[0].endswith("9 photos: 4 captioned, 0 already captioned, 0 skipped, 5 failed")


def test_a_run_ends_in_time_with_what_is_made_of_it(command, folder):
    table = folder / "captions.csv"
    options = ("--output", table, *FIRST)
    status, lines, errors = command(folder, *options, "--max-hours", "1e-7", "--log", "json")
    assert (status, lines) == (3, [])
    ended = json.loads(errors[-1])
    assert (ended["event"], ended["captioned"]) == ("interrupted", 1)
    assert len(table.read_text().splitlines()) == 2
    status, lines, _ = command(folder, *options, "--max-hours", "1")
    assert status == 0
    assert lines[0].endswith("4 photos: 3 captioned, 1 already captioned, 0 skipped, 0 failed")


def test_a_share_says_something_once_a_hundred_photos_were_tried():
    limits = Limits.parse("10%", None)
    for number in range(99):
        limits.count(failed=number < 30)
        limits.check()
    limits.count(failed=False)
    with pytest.raises(LimitReached) as stopped:
        limits.check()
    assert stopped.value.why == "30 of 100 photos failed, more than --max-failures 10%"
    assert stopped.value.status == 3
    sound = Limits.parse("10%", None)
    for number in range(1000):
        sound.count(failed=number % 10 == 9)
        sound.check()


@pytest.mark.parametrize(
    ("failures", "hours", "message"),
    [
        ("101%", None, "--max-failures 101%: give a share of 100% at most."),
        ("many", None, "--max-failures many: give a number, or a share such as 10%."),
        ("-1", None, "--max-failures -1: give a number, or a share such as 10%."),
        (None, 0.0, "--max-hours 0: give more than 0."),
        (None, math.nan, "--max-hours nan: give more than 0."),
    ],
)
def test_limits_that_make_no_sense_are_refused(failures, hours, message):
    with pytest.raises(ConfigError) as refused:
        Limits.parse(failures, hours)
    assert str(refused.value) == message


def test_a_dry_run_estimates_the_cost_of_the_whole_run(command, tmp_path):
    photos = tmp_path / "many"
    photos.mkdir()
    for number in range(2 * SAMPLE):
        noise(8, 8, seed=number).save(photos / f"{number:03}.png")
    status, lines, errors = command(photos, "--dry-run")
    assert status == 0
    assert len(lines) == 2 * SAMPLE
    assert errors[0] == "captioner: dry run, nothing written: caption 64."
    found = re.fullmatch(
        r"captioner: estimate for 64 photos: about ([\d.]+) minutes, ([\d.]+) kB to read, "
        r"([\d.]+) kB of captions\.",
        errors[1],
    )
    assert float(found[2]) == pytest.approx(
        sum(path.stat().st_size for path in photos.iterdir()) / 1000, rel=0.1
    )
    assert sorted(path.suffix for path in photos.iterdir()) == [".png"] * 2 * SAMPLE
    assert command(photos)[0] == 0
    lines = (photos / "captions.jsonl").stat().st_size
    assert float(found[3]) == pytest.approx(lines / 1000, rel=0.1)
    assert command(photos, "--dry-run")[2] == ["captioner: dry run, nothing written: done 64."]


def test_an_estimate_grows_with_the_photos_that_passed(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x" * 1000)
    sample = Sample()
    for number in range(32 * 1000):
        sample.add(Photo(name=str(number), path=str(path)))
    assert len({photo.name for photo in sample.photos}) == SAMPLE
    assert max(int(photo.name) for photo in sample.photos) > 16 * 1000
    record = SimpleNamespace(to_line=lambda: bytes(200))
    found = estimate(sample, lambda photos: [[(photo, record) for photo in photos]], lambda _, x: x)
    assert (found.read, found.written) == (32e6, 6.4e6)
    whole = Estimate(seconds=9000, read=1.7e12, written=2200)
    assert str(whole) == "about 2.5 hours, 1.7 TB to read, 2.2 kB of captions"
    assert str(Estimate(seconds=90, read=999, written=1e9)) == (
        "about 1.5 minutes, 999 bytes to read, 1.0 GB of captions"
    )


@pytest.mark.parametrize(
    ("purpose", "options"),
    [
        ("photos", "--in-place --sidecar xmp --existing own --skip-non-photos"),
        ("alt-text", "--in-place --alt-text only --existing own --skip-non-photos"),
        ("lora", "--sidecar txt --existing own"),
        ("dataset", "--output {}/metadata.jsonl"),
    ],
)
def test_a_purpose_stands_for_options_that_are_printed(command, folder, purpose, options):
    status, _, errors = command(folder, "--for", purpose)
    assert (status, errors) == (0, [f"captioner: --for {purpose}: {options.format(folder)}"])
    told = captions(folder / "captions.jsonl")["flag.png"]
    content = (folder / "flag.png").read_bytes()
    assert read_captions(content, fields="both", name="p") == (
        [told] if purpose in ("photos", "alt-text") else []
    )
    assert (folder / "flag.png.xmp").exists() == (purpose == "photos")
    assert (folder / "flag.txt").exists() == (purpose == "lora")
    assert (folder / "metadata.jsonl").exists() == (purpose == "dataset")


def test_options_given_beside_a_purpose_win(command, folder):
    options = ("--for", "photos", "--no-in-place", "--sidecar", "caption", "--existing", "skip")
    status, _, errors = command(folder, *options)
    assert (status, errors) == (0, ["captioner: --for photos: --skip-non-photos"])
    assert (folder / "flag.caption").exists()
    assert not (folder / "flag.png.xmp").exists()
    assert read_captions((folder / "flag.png").read_bytes(), name="p") == []


def test_a_data_set_needs_a_folder(command, folder, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text(f"{folder / 'flag.png'}\n")
    assert command("--list", names, "--for", "dataset") == (
        2, [], ["captioner: --for dataset needs a folder."],
    )  # fmt: skip
