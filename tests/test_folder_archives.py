"""Tar archives as they come: damaged, joined, with links and names that stand twice."""

import io
import os
import shutil
import subprocess
import tarfile
import zipfile
from random import Random

import pytest
from PIL import Image

from captioner.folder.journal.index import JournalIndex
from captioner.folder.sources.archives import list_archive, read_member
from captioner.folder.sources.inputs import (
    Filter,
    Photo,
    Problem,
    Replaced,
    find_photos,
    listed_photos,
)
from captioner.folder.sources.shards import Shard
from captioner.folder.watching import Watched
from captioner.pytorch import TorchCaptioner
from tests.photos import encode, quarters
from tests.test_folder import captions, records

FORMATS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}
LONG = "d" * 120 + "/Größe.jpg"
TAR = pytest.mark.skipif(not shutil.which("tar"), reason="needs the tar command")


def member(name, content=b"", **fields):
    """A file for `pack`, or with other fields another thing, such as a link."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def pack(*members, form="gnu"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=FORMATS[form]) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def contents(path):
    """What is in an archive: the bytes of every file."""
    files = list_archive(path).files.items()
    return {name: read_member(path, offset=offset, size=size) for name, (offset, size) in files}


@pytest.mark.parametrize("form", FORMATS)
def test_whatever_byte_of_a_header_is_flipped_nothing_is_lost_without_a_word(tmp_path, form):
    names = ["0.jpg", LONG if form != "ustar" else "a/1.jpg", "2.jpg"]
    whole = pack(*(member(name, name.encode(), mtime=1.5) for name in names), form=form)
    path = tmp_path / "s.tar"
    path.write_bytes(whole)
    sound = list_archive(path)
    assert (list(sound.files), sound.damage) == (names, None)
    places, flips, outcomes = list(sound.files.values()), Random(form), set()
    for byte in range(sum(places[0]), places[1][0]):
        flipped = whole[byte] ^ flips.randrange(1, 256)
        path.write_bytes(whole[:byte] + bytes([flipped]) + whole[byte + 1 :])
        found = list_archive(path)
        there = list(found.files.values())
        assert there == (places[:1] if found.damage else places), (byte, flipped)
        outcomes.add(bool(found.damage))
    assert outcomes == {True, False}


def test_a_flipped_bit_fails_the_archive_and_what_precedes_it_is_captioned(command, folder):
    photo = encode(quarters(), "PNG")
    whole = pack(*(member(f"{n}.png", photo) for n in range(3)))
    shard = folder / "s.tar"
    shard.write_bytes(whole)
    second = list_archive(shard).files["1.png"][0] - 512
    shard.write_bytes(whole[: second + 3] + b"q" + whole[second + 4 :])
    status, lines, errors = command(folder, "--include", "s.tar/*")
    assert status == 1
    assert lines[0].endswith("2 photos: 1 captioned, 0 already captioned, 0 skipped, 1 failed")
    reason = f"damaged tar archive (there is no header at byte {second}); download it again."
    assert errors == [f"captioner: s.tar/: {reason}"]
    assert records(folder / "captions.failed.jsonl") == [{"image": "s.tar/", "reason": reason}]
    shard.write_bytes(whole)
    status, lines, _ = command(folder, "--include", "s.tar/*", "--retry-failed")
    assert status == 0
    assert list(captions(folder / "captions.jsonl")) == [f"s.tar/{n}.png" for n in range(3)]


@pytest.mark.parametrize(
    ("cut", "damage"),
    [
        (0, "the end-of-archive marker is missing"),
        (-1, "it ends inside b.png"),
        (200, None),
    ],
)
def test_an_archive_cut_behind_its_last_photo_is_damaged(tmp_path, cut, damage):
    whole = pack(member("a.png", b"a" * 512), member("b.png", b"b" * 1024))
    path = tmp_path / "s.tar"
    path.write_bytes(whole[: 512 + 512 + 512 + 1024 + cut])
    found = list_archive(path)
    assert list(found.files) == ["a.png", "b.png"]
    assert found.damage == (damage and f"damaged tar archive ({damage}); download it again")


def test_a_size_beyond_the_end_or_below_zero_is_damage(tmp_path):
    path = tmp_path / "s.tar"
    for size, damage in ((1 << 60, "it ends inside b.png"), (-1024, "b.png has an invalid size")):
        odd = member("b.png", size=size)[0].tobuf(tarfile.GNU_FORMAT)
        path.write_bytes(pack(member("a.png", b"a" * 512))[:1024] + odd + bytes(2048))
        found = list_archive(path)
        assert "a.png" in found.files
        assert damage in found.damage


def test_zeros_in_place_of_a_header_are_damage(tmp_path):
    whole = pack(member("a.png", b"a" * 512), member("b.png", b"b" * 512))
    (tmp_path / "s.tar").write_bytes(whole[:1024] + bytes(512) + whole[1536:])
    found = list_archive(tmp_path / "s.tar")
    assert list(found.files) == ["a.png"]
    assert "there is no header at byte 1536" in found.damage


def test_a_download_whose_rest_is_not_written_yet_is_damaged(tmp_path):
    whole = pack(member("a.png", b"a" * 512))
    (tmp_path / "s.tar").write_bytes(whole[:1024] + bytes(3 << 20))
    assert "only zeros from byte 1024 on" in list_archive(tmp_path / "s.tar").damage
    (tmp_path / "s.tar").write_bytes(whole[:1024] + bytes(1 << 20))  # tar --blocking-factor=2048
    assert list_archive(tmp_path / "s.tar").damage is None


@TAR
@pytest.mark.parametrize("form", ["gnu", "posix", "ustar", "v7"])
def test_joined_archives_are_read_as_tar_reads_them(tmp_path, form):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(name.encode() * 700)
        make = ["tar", f"--format={form}", "-cf", f"{name}.tar", f"{name}.png"]
        subprocess.run(make, cwd=tmp_path, check=True)
    whole = (tmp_path / "a.tar").read_bytes() + (tmp_path / "b.tar").read_bytes()
    path = tmp_path / "s.tar"
    path.write_bytes(whole)
    told = subprocess.run(["tar", "-itf", path], capture_output=True, text=True, check=True)
    assert told.stdout.split() == list(contents(path)) == ["a.png", "b.png"]
    assert contents(path)["b.png"] == b"b" * 700
    assert list_archive(path).damage is None


@TAR
def test_of_files_with_one_name_the_last_counts_as_for_tar(command, folder, checkpoints, tmp_path):
    flag, strip = (folder / name for name in ("flag.png", "strip.jpg"))
    for photo, mode in ((flag, "-cf"), (strip, "-rf")):
        shutil.copy(photo, tmp_path / "x.png")
        subprocess.run(["tar", mode, "s.tar", "x.png"], cwd=tmp_path, check=True)
    shard = shutil.move(tmp_path / "s.tar", folder / "s.tar")
    subprocess.run(["tar", "-xf", shard], cwd=tmp_path, check=True)
    assert contents(shard) == {"x.png": (tmp_path / "x.png").read_bytes()}
    options = ("--include", "s.tar/*", "--gallery", folder / "gallery")
    status, lines, errors = command(folder, *options)
    assert status == 0
    assert lines[0].endswith("2 photos: 1 captioned, 0 already captioned, 1 skipped, 0 failed")
    assert errors == [
        "captioner: skipped s.tar/x.png (1 of 2): only the last file of a name counts."
    ]
    text = TorchCaptioner.load(checkpoints["lstm"], device="cpu").caption(strip).text
    assert captions(folder / "captions.jsonl") == {"s.tar/x.png": text}
    (shown,) = (folder / "gallery/pictures").glob("*.jpg")
    with Image.open(shown) as thumbnail, Image.open(strip) as last:
        assert thumbnail.size == last.size


def test_links_have_the_bytes_of_their_targets(tmp_path):
    path = tmp_path / "s.tar"
    link, hard = {"type": tarfile.SYMTYPE}, {"type": tarfile.LNKTYPE}
    path.write_bytes(
        pack(
            member("a/before.png", linkname="../b/1.png", **link),
            member("./b/1.png", b"1"),
            member("b/hard.png", linkname="./b/1.png", **hard),
            member("b/twice.png", linkname="../a/before.png", **link),
            member("b/1.png", linkname="b/1.png", **hard),  # as of `tar -cf s.tar b/1.png b/1.png`
            member("gone.png", linkname="b/2.png", **hard),
            member("out.png", linkname="/etc/1.png", **link),
            member("self.png", linkname="self.png", **link),
            member("pipe.png", type=tarfile.FIFOTYPE),
            member("folder.png", type=tarfile.DIRTYPE),
            member("a.txt", linkname="b.txt", **link),
        )
    )
    photos = ["a/before.png", "b/1.png", "b/hard.png", "b/twice.png"]
    found = list(find_photos(path, Filter()))
    assert sorted(f.name for f in found if isinstance(f, Photo)) == photos
    assert {f.read() for f in found if isinstance(f, Photo)} == {b"1"}
    lost = "link to {}, which is not in the archive; unpack the archive there."
    assert {f.name: f.reason for f in found if not isinstance(f, Photo)} == {
        "gone.png": lost.format("b/2.png"),
        "out.png": lost.format("/etc/1.png"),
        "self.png": lost.format("self.png"),
        "pipe.png": "not a regular file; unpack the archive.",
    }


@TAR
@pytest.mark.parametrize("form", [["gnu"], ["posix", "--sparse-version=1.0"]])
def test_a_sparse_photo_is_named(command, folder, form):
    with (folder / "hole.png").open("wb") as file:
        file.truncate(1 << 20)
    make = ["tar", "--sparse", f"--format={form[0]}", *form[1:], "-cf", "s.tar", "hole.png"]
    subprocess.run([*make, "flag.png"], cwd=folder, check=True)
    status, lines, errors = command(folder, "--include", "s.tar/*")
    assert (status, "2 photos: 1 captioned" in lines[0], "1 failed" in lines[0]) == (1, True, True)
    assert errors == [
        "captioner: s.tar/hole.png: sparse file; unpack the archive, or recreate it without "
        "--sparse."
    ]
    (failed,) = records(folder / "captions.failed.jsonl")
    assert failed["image"] == "s.tar/hole.png"


def test_photos_without_an_ending_are_known_by_content_and_inner_archives_are_named(tmp_path):
    photo, inner = encode(quarters(), "PNG"), pack(member("x.png", b"1"))
    (tmp_path / "s.tar").write_bytes(
        pack(
            member("1", photo),
            member("1.txt", photo),
            member("1.cls", b"7"),
            member("more.tar", inner),
            member("more.tgz", inner),
            member("old.zip", inner),
        )
    )
    found = list(find_photos(tmp_path, Filter(exclude=("old.*",))))
    assert [(type(f), f.name) for f in found] == [
        (Photo, "s.tar/1"),
        (Problem, "s.tar/more.tar"),
        (Problem, "s.tar/more.tgz"),
    ]
    assert found[0].read() == photo
    reason = "nested archive; unpack the outer one, or use --exclude."
    assert {f.reason for f in found[1:]} == {reason}


def test_a_photo_that_an_archive_lacks_is_named_by_one_shard(tmp_path):
    path = tmp_path / "s.tar"
    path.write_bytes(pack(member("x.png", linkname="y.png", type=tarfile.SYMTYPE)))
    thirds = [Shard(number=number, count=3) for number in (1, 2, 3)]
    found = [f for shard in thirds for f in find_photos(path, Filter(shard=shard))]
    assert [f.name for f in found] == ["x.png"]


COMPRESSED = ["s.tar.gz", "s.TGZ", "s.tar.bz2", "s.tar.xz", "s.tar.zst"]


def test_archives_that_must_be_unpacked_fail_with_the_way_out(command, folder):
    for name in COMPRESSED:
        (folder / name).write_bytes(b"")
    with zipfile.ZipFile(folder / "s.zip", "w") as archive:
        for name in ("a.png", "b/c.JPG", "notes.txt"):
            archive.writestr(name, b"x")
    (folder / "bad.zip").write_bytes(b"PK")
    with zipfile.ZipFile(folder / "texts.zip", "w") as archive:
        archive.writestr("notes.txt", b"x")
    status, lines, errors = command(folder)
    assert status == 1
    assert lines[0].endswith("11 photos: 4 captioned, 0 already captioned, 0 skipped, 7 failed")
    reasons = {r["image"]: r["reason"] for r in records(folder / "captions.failed.jsonl")}
    way = "decompress it to a .tar, or skip it with --exclude."
    assert reasons == dict.fromkeys(COMPRESSED, f"compressed archive; {way}") | {
        "s.zip": "zip archive with 2 photos; unpack it, or skip it with --exclude.",
        "bad.zip": "damaged zip archive (File is not a zip file); download it again, then unpack "
        "it, or skip it with --exclude.",
    }
    assert sorted(errors) == sorted(f"captioner: {name}: {why}" for name, why in reasons.items())
    out = ("--exclude", "*.zip", "--exclude", "s.t*")
    assert command(folder, *out)[0] == 0


def test_compressed_archives_on_lists_and_as_input_are_reported(command, tmp_path):
    (tmp_path / "s.tgz").write_bytes(b"\x1f\x8b\x08")
    (tmp_path / "s.zip").write_bytes(b"PK\5\6" + bytes(18))
    (found,) = listed_photos(io.BytesIO(b"s.tgz\n"), tmp_path, Filter(), end=b"\n")
    assert isinstance(found, Problem)
    assert found.reason.startswith("compressed archive; decompress it to a .tar")
    for name, reason in (
        ("s.tgz", "compressed with gzip; decompress it to a .tar"),
        ("s.zip", "zip archive; unpack it"),
    ):
        status, _, errors = command(tmp_path / name)
        assert status == 2
        assert errors == [
            f"captioner: {tmp_path / name}: neither a folder nor a tar archive: {reason}."
        ]


@pytest.mark.skipif(os.name != "posix", reason="reads a file twice while it is watched")
def test_what_is_replaced_is_counted_once_while_a_folder_is_watched(tmp_path):
    path = tmp_path / "s.tar"
    path.write_bytes(pack(member("x.png", b"1"), member("x.png", b"2"), member("x.png", b"3")))
    os.utime(path, (1, 1))
    watched = Watched(JournalIndex(tmp_path), seconds=2.0)
    found = list(watched.new_items(find_photos(tmp_path, Filter())))
    assert [(type(f), f.name) for f in found] == [
        (Photo, "s.tar/x.png"),
        (Replaced, "s.tar/x.png (1 of 3)"),
        (Replaced, "s.tar/x.png (2 of 3)"),
    ]
    assert found[0].read() == b"3"
    assert list(watched.new_items(find_photos(tmp_path, Filter()))) == []
