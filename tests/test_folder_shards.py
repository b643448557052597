"""A run shared out to several machines, and what they wrote put together."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import pytest

from captioner.errors import ConfigError
from captioner.folder.journal.journal import Journal
from captioner.folder.sources.inputs import Filter, Problem, find_photos, listed_photos
from captioner.folder.sources.shards import Shard
from captioner.pytorch import TorchCaptioner
from tests.photos import encode, noise

ROOT = Path(__file__).parent.parent
THIRDS = [Shard(number=number, count=3) for number in (1, 2, 3)]


@pytest.fixture
def many(tmp_path):
    """Thirty photos, two of them broken, and three archives of two."""
    place = tmp_path / "many"
    (place / "sub").mkdir(parents=True)
    for number in range(30):
        noise(8, 8, seed=number).save(place / ("sub" if number % 3 else ".") / f"{number}.png")
    for number in (4, 9):
        (photo,) = place.rglob(f"{number}.png")
        photo.write_bytes(photo.read_bytes()[:60])
    for number in range(3):
        with tarfile.open(place / f"{number}.tar", "w") as archive:
            for own in range(2):
                content = encode(noise(8, 8, seed=100 + 2 * number + own), "PNG")
                member = tarfile.TarInfo(f"{own}.png")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return place


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def journals(folder, count):
    return [folder / f"captions-{n:03}-of-{count:03}.jsonl" for n in range(1, count + 1)]


def by_name(found):
    return sorted(found, key=lambda record: record["image"])


def rounded(found):
    """Records of which the sums over a batch may differ in the last digit."""
    return [
        {k: round(v, 4) if isinstance(v, float) else v for k, v in record.items()}
        for record in by_name(found)
    ]


def test_shards_together_are_the_whole_and_no_photo_is_in_two(many):
    whole = [found.name for found in find_photos(many, Filter())]
    for count in (1, 2, 3, 7, 50):
        parts = [
            [photo.name for photo in find_photos(many, Filter(shard=Shard(number=n, count=count)))]
            for n in range(1, count + 1)
        ]
        assert sorted(name for part in parts for name in part) == sorted(whole)
        assert all(part == [name for name in whole if name in part] for part in parts)


def test_what_a_photo_is_called_decides_for_ever_and_on_every_machine():
    names = [f"photo-{number}.jpg" for number in range(9)]
    owners = [next(s.number for s in THIRDS if s.contains(name)) for name in names]
    assert owners == [2, 3, 1, 1, 1, 2, 3, 2, 2]  # by `b2sum -l 128`
    sizes = Counter(s.number for n in range(9000) for s in THIRDS if s.contains(f"{n}.jpg"))
    assert all(2800 < size < 3200 for size in sizes.values())


def test_photos_that_would_share_a_text_file_are_in_one_shard():
    for shard in THIRDS:
        assert shard.contains("a/flag.png") == shard.contains("a/flag.jpeg")


def test_an_archive_is_opened_by_one_shard_only_unless_it_is_all_there_is(many, monkeypatch):
    opened = []
    whole = tarfile.open

    def watched(*, fileobj, mode):
        opened.append(Path(fileobj.name).name)
        return whole(fileobj=fileobj, mode=mode)

    monkeypatch.setattr(tarfile, "open", watched)
    found = [[f.name for f in find_photos(many, Filter(shard=shard))] for shard in THIRDS]
    assert sorted(opened) == ["0.tar", "1.tar", "2.tar"]
    for archive in opened:
        assert {sum(name.startswith(archive) for name in part) for part in found} == {0, 2}
    alone = [[f.name for f in find_photos(many / "0.tar", Filter(shard=s))] for s in THIRDS]
    assert sorted(alone) == [[], ["0.png"], ["1.png"]]


def test_lists_are_shared_out_too_and_a_name_listed_twice_stays_together(tmp_path):
    text = b"".join(b"%d.jpg\n" % (number % 20) for number in range(40))
    parts = [
        [p.name for p in listed_photos(io.BytesIO(text), tmp_path, Filter(shard=s), end=b"\n")]
        for s in THIRDS
    ]
    assert sorted(name for part in parts for name in part) == sorted(text.decode().split())
    assert all(set(Counter(part).values()) == {2} for part in parts)


def test_every_shard_names_a_folder_that_it_cannot_list(many, monkeypatch):
    scandir = os.scandir

    def guarded(folder):
        if os.path.basename(folder) == "sub":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    for shard in THIRDS:
        found = list(find_photos(many, Filter(shard=shard)))
        assert [item.name for item in found if isinstance(item, Problem)] == ["sub/"]


def test_shards_caption_what_the_whole_run_does_and_join_to_the_same(command, many, tmp_path):
    whole = tmp_path / "whole.jsonl"
    command(many, "--output", whole, "--words")
    totals = []
    for number in (1, 2, 3):
        status, lines, _ = command(many, "--shard", f"{number}/3", "--words")
        assert lines[0].startswith(f"{journals(many, 3)[number - 1]}: ")
        totals.append(int(lines[0].split()[1]))
        assert status in (0, 1)
    parts = [record for path in journals(many, 3) for record in records(path)]
    assert len(parts) == sum(totals) == 36
    assert min(totals) > 3
    names = ["caption", "image", "log_probability", "reason", "status"]
    strip = [{k: v for k, v in record.items() if k in names} for record in parts]
    expected = [{k: v for k, v in record.items() if k in names} for record in records(whole)]
    assert rounded(strip) == rounded(expected)
    status, lines, _ = command(many, "--join", "--words")
    summary = "36 photos: 0 captioned, 34 already captioned, 0 skipped, 2 failed"
    assert (status, lines) == (1, [f"{many / 'captions.jsonl'}: {summary}"])
    assert by_name(records(many / "captions.jsonl")) == by_name(parts)
    assert len(records(many / "captions.failed.jsonl")) == 2


def test_joined_shards_need_no_model_and_give_tables_and_a_gallery(command, many, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    for number in (1, 2):
        command(many, "--shard", f"{number}/2", "--exclude", "[49].png")
    monkeypatch.delattr(TorchCaptioner, "open")
    outputs = ("--output", many / "captions.parquet", "--gallery", many / "gallery")
    for _ in range(2):  # joining what is joined changes nothing
        status, lines, _ = command(many, "--join", "--exclude", "[49].png", *outputs)
        assert status == 0
        assert "34 already captioned" in lines[0]
        assert parquet.read_table(many / "captions.parquet").num_rows == 34
        assert len(records(many / "captions.jsonl")) == 34
    page = (many / "gallery/index.html").read_text(encoding="utf-8")
    assert page.count("<img") >= 34


def test_every_output_is_named_after_its_shard(command, many):
    outputs = ("--output", many / "out/c.csv", "--gallery", many / "out/gallery")
    command(many, *outputs, "--shard", "2/12")
    assert sorted(path.name for path in (many / "out").iterdir()) == [
        "c-002-of-012.csv", "c-002-of-012.jsonl", "c-002-of-012.run.json",
        "c-002-of-012.tables.json", "gallery-002-of-012",
    ]  # fmt: skip


def test_a_shard_resumes_with_new_and_failed_photos(command, many):
    for number in (1, 2):
        command(many, "--shard", f"{number}/2")
    for number in range(50, 60):
        noise(8, 8, seed=number).save(many / f"{number}.png")
    for number in (4, 9):
        (photo,) = many.rglob(f"{number}.png")
        noise(8, 8, seed=number).save(photo)
    new = 0
    for number in (1, 2):
        _, lines, _ = command(many, "--shard", f"{number}/2")
        new += int(lines[0].partition(" captioned,")[0].split()[-1])
        assert command(many, "--shard", f"{number}/2", "--retry-failed")[0] == 0
    assert new == 10
    found = [record for path in journals(many, 2) for record in records(path)]
    assert len(found) == len({record["image"] for record in found}) == 46
    assert {record["status"] for record in found} == {"captioned"}


def test_a_shard_killed_half_way_is_completed_and_joined(command, many, checkpoints):
    for number in range(100, 200):
        noise(8, 8, seed=number).save(many / f"{number}.png")
    part, other = journals(many, 2)
    process = subprocess.Popen(
        [
            sys.executable, "-m", "captioner", "folder", many, "--shard", "1/2", "--quiet",
            "--batch-size", "2", "--precision", "float32", "--checkpoint", checkpoints["lstm"],
        ],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not part.exists() or part.read_bytes().count(b"\n") < 10:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = part.read_bytes().count(b"\n")
    status, _, errors = command(many, "--join")
    assert (status, errors) == (
        2,
        [
            f"captioner: {other}: missing, while other shards are there; run --shard 2/2, or copy "
            "its files next to the others."
        ],
    )
    command(many, "--shard", "1/2")
    command(many, "--shard", "2/2")
    assert 10 <= done < len(records(part))
    _, lines, _ = command(many, "--join")
    assert lines[0].endswith("136 photos: 0 captioned, 134 already captioned, 0 skipped, 2 failed")
    names = [record["image"] for record in records(many / "captions.jsonl")]
    assert len(names) == len(set(names)) == 136


def test_two_shards_on_one_output_are_refused(command, many):
    first, second = journals(many, 2)
    with Journal(first, {}):
        status, _, errors = command(many, "--shard", "1/2")
    assert status == 2
    assert errors[0].startswith(f"captioner: {first}: in use by another run")
    command(many, "--shard", "1/2")
    for suffix in (".jsonl", ".run.json"):
        shutil.copy(first.with_suffix(suffix), second.with_suffix(suffix))
    status, _, errors = command(many, "--shard", "2/2")
    assert status == 2
    assert errors[0].startswith(
        f'captioner: {second}: was created with other settings: shard was "1/2" and is now "2/2"'
    )


def test_joining_refuses_shards_at_work_and_of_other_settings(command, many):
    second = journals(many, 2)[1]
    command(many, "--shard", "1/2")
    command(many, "--shard", "2/2", "--prefix", "A ")
    status, _, errors = command(many, "--join")
    assert status == 2
    assert 'text.prefix was "A " and is now ""' in errors[0]
    with Journal(second, json.loads(second.with_suffix(".run.json").read_text())["settings"]):
        status, _, errors = command(many, "--join")
    assert status == 2
    assert errors[0].startswith(f"captioner: {second}: in use by another run")


def test_a_dry_run_of_join_lists_what_no_shard_has_captioned(command, many):
    for number in (1, 2):
        command(many, "--shard", f"{number}/2")
    noise(8, 8).save(many / "new.png")
    before = sorted(many.rglob("*"))
    _, lines, _ = command(many, "--join", "--dry-run")
    assert [line for line in lines if line.startswith("caption\t")] == ["caption\tnew.png"]
    assert Counter(line.partition("\t")[0] for line in lines) == {
        "done": 34, "failed before": 2, "caption": 1,
    }  # fmt: skip
    assert sorted(many.rglob("*")) == before
    _, lines, _ = command(many, "--shard", "2/2", "--dry-run")
    assert 10 < len(lines) < 27


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0/4", "shard 0/4: no such shard; they are numbered from 1/4 to 4/4."),
        ("5/4", "shard 5/4: no such shard; they are numbered from 1/4 to 4/4."),
        ("4", "shard '4': use NUMBER/COUNT, such as 3/16."),
        ("1/0", "shard '1/0': use NUMBER/COUNT, such as 3/16."),
        ("-1/4", "shard '-1/4': use NUMBER/COUNT, such as 3/16."),
    ],
)
def test_a_malformed_shard_is_refused(text, problem):
    with pytest.raises(ConfigError) as caught:
        Shard.parse(text)
    assert str(caught.value) == problem


def test_joining_without_shards_or_as_a_shard_is_explained(command, many):
    status, _, errors = command(many, "--join")
    assert (status, len(errors)) == (2, 1)
    assert "no such file, nor that of another shard" in errors[0]
    status, _, errors = command(many, "--join", "--shard", "1/2")
    assert (status, errors) == (
        2, ["captioner: --join merges all shards; omit --shard."],
    )  # fmt: skip
