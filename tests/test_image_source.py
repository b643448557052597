import io
import math
import multiprocessing
import os
import sys
import tarfile
import threading
import unicodedata
import zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from captioner.errors import DataError
from data.image_source import ImageSource


def folder(path: Path, **files: bytes) -> Path:
    """Write files; `__` in a name stands for a folder."""
    for name, content in files.items():
        file = path / (name.replace("__", "/") + ".jpg")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return path


def tar(path: Path, mode: str = "w", **files: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "/") + ".jpg")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_folders_and_archives_stand_side_by_side(tmp_path):
    photos = folder(tmp_path / "photos", val2014__a=b"a", val2014__deep__b=b"bb", top=b"")
    shard = tar(tmp_path / "shard.tar", c=b"ccc", inner__d=b"d" * 2000)
    source = ImageSource([photos, str(shard)])
    assert source.names() == (
        "top.jpg",
        "val2014/a.jpg",
        "val2014/deep/b.jpg",
        "c.jpg",
        "inner/d.jpg",
    )
    assert [source.read(name) for name in source.names()] == [b"", b"a", b"bb", b"ccc", b"d" * 2000]
    assert [source.size(name) for name in source.names()] == [0, 1, 2, 3, 2000]
    assert len(source) == 5


def test_a_folder_of_shards_a_pattern_and_a_list_find_the_same(tmp_path):
    shards = [tar(tmp_path / "shards" / f"train-{n}.tar", **{f"p{n}": b"%d" % n}) for n in range(3)]
    names = ("p0.jpg", "p1.jpg", "p2.jpg")
    for paths in (tmp_path / "shards", str(tmp_path / "shards" / "train-*.tar"), shards):
        source = ImageSource(paths)
        assert source.names() == names
        assert [source.read(name) for name in names] == [b"0", b"1", b"2"]
    assert ImageSource([tmp_path / "shards", *shards]).read("p1.jpg") == b"1"


def test_an_image_has_other_stamps_once_its_file_or_archive_is_written_anew(tmp_path):
    loose, shard = folder(tmp_path / "loose", a=b"1", b=b"2"), tar(tmp_path / "s.tar", c=b"3")
    source, names = ImageSource([loose, shard]), ["a.jpg", "b.jpg", "c.jpg"]
    before = list(source.stamps(names))
    assert list(source.stamps(names)) == before
    for path, changed in ((loose / "a.jpg", "a.jpg"), (shard, "c.jpg")):
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
        after = list(source.stamps(names))
        pairs = zip(names, before, after, strict=True)
        assert [name for name, old, new in pairs if old != new] == [changed]
        before = after


def test_an_image_that_was_deleted_is_named(tmp_path):
    source = ImageSource(folder(tmp_path, a=b"1"))
    (tmp_path / "a.jpg").unlink()
    for ask in (source.size, lambda name: list(source.stamps([name]))):
        with pytest.raises(DataError) as error:
            ask("a.jpg")
        assert str(error.value) == (
            f"Image 'a.jpg' is gone: [Errno 2] No such file or directory: '{tmp_path}/a.jpg'. Put "
            "it back, and run the same command again."
        )


def test_a_name_may_say_less_or_more_of_the_path_but_nothing_else(tmp_path):
    source = ImageSource(folder(tmp_path, val__dog=b"val", val__x=b"deep", x=b"top"))
    assert source.read("dog.jpg") == b"val"
    assert source.read("photos/val/dog.jpg") == b"val"
    assert source.read("./val/dog.jpg") == b"val"
    assert source.read("x.jpg") == b"top"  # the exact path goes first
    assert "train/dog.jpg" not in source
    assert "og.jpg" not in source
    assert "" not in source


def test_two_images_that_fit_a_name_are_not_guessed_between(tmp_path):
    source = ImageSource(folder(tmp_path, train__1=b"t", val__1=b"v"))
    assert "1.jpg" not in source
    with pytest.raises(DataError) as error:
        source.read("1.jpg")
    assert str(error.value) == (
        f"Image '1.jpg' is ambiguous: 2 files match, such as one in {tmp_path}/train/1.jpg and one "
        f"in {tmp_path}/val/1.jpg. Add its folder to the name, or give only one of the sources."
    )
    assert source.read("val/1.jpg") == b"v"


def test_accents_may_be_composed_in_captions_and_decomposed_on_disk_or_the_reverse(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "Käse/Größe.jpg") for form in ("NFC", "NFD"))
    assert nfc != nfd
    for there, said in ((nfc, nfd), (nfd, nfc)):
        folder = tmp_path / str(said == nfd)
        (folder / there).parent.mkdir(parents=True)
        (folder / there).write_bytes(b"1")
        source = ImageSource(folder)
        source.require([there, said, said.rpartition("/")[2]])
        assert source.read(said) == b"1"


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS takes both for one name")
def test_of_two_forms_of_a_name_the_exact_one_is_meant_and_a_third_is_not_guessed(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "ảé.jpg") for form in ("NFC", "NFD"))
    mixed = unicodedata.normalize("NFC", "ả") + unicodedata.normalize("NFD", "é.jpg")
    for name in (nfc, nfd):
        (tmp_path / name).write_bytes(name.encode())
    source = ImageSource(tmp_path)
    assert [source.read(name).decode() for name in (nfc, nfd)] == [nfc, nfd]
    with pytest.raises(DataError, match="is ambiguous: 2 files match"):
        source.read(mixed)


@pytest.mark.skipif(os.name == "nt", reason="paths are written so on Windows")
def test_backslashes_are_named_as_the_cause(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "photos" / name).write_bytes(b"1")
    source = ImageSource(tmp_path)
    told = "Its path uses backslashes; write 'photos/a.jpg' in the caption file."
    for names in (["photos\\a.jpg"], ["photos\\a.jpg", "photos\\b.jpg"]):
        with pytest.raises(DataError) as error:
            source.require(names)
        assert str(error.value).endswith(told)
    with pytest.raises(DataError, match=r"Add its folder or archive, or remove it"):
        source.require(["photos\\c.jpg"])


def test_links_in_an_archive_are_images_and_the_last_of_a_name_counts(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for content in (b"1", b"22"):
            member = tarfile.TarInfo("a.jpg")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("b/c.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "../a.jpg"
        archive.addfile(link)
    source = ImageSource(tmp_path / "s.tar")
    assert [source.read(name) for name in ("a.jpg", "b/c.jpg")] == [b"22", b"22"]


def test_damage_in_the_middle_of_an_archive_is_noticed(tmp_path):
    shard = tar(tmp_path / "s.tar", a=b"a" * 5000, b=b"b" * 5000)
    content = bytearray(shard.read_bytes())
    content[content.index(b"b.jpg")] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match=r"s\.tar: damaged tar archive \(there is no header at"):
        ImageSource(shard)


def test_a_missing_image_is_named_with_the_sources_searched(tmp_path):
    source = ImageSource(folder(tmp_path, a=b"a"))
    with pytest.raises(DataError) as error:
        source.read("b.jpg")
    assert str(error.value) == (
        f"Image 'b.jpg' is not in {tmp_path} (1 images, such as 'a.jpg'). Add its folder or "
        "archive, or remove it from the caption file."
    )


def test_all_missing_images_are_counted_before_the_work_begins(tmp_path):
    source = ImageSource(folder(tmp_path, a=b"a"))
    source.require(["a.jpg", "a.jpg"])
    with pytest.raises(DataError, match=r"Image 'b\.jpg' is not in"):
        source.require(["a.jpg", "b.jpg"])
    with pytest.raises(DataError) as error:
        source.require(["a.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"])
    assert str(error.value) == (
        "4 of 5 images with captions are missing or ambiguous in "
        f"{tmp_path} (1 images, such as 'a.jpg'): '1.jpg', '2.jpg', '3.jpg', .... "
        "Add their folder or archive, or remove them from the caption file."
    )


def test_hidden_files_are_skipped_and_linked_folders_are_not(tmp_path):
    real = folder(tmp_path / "elsewhere", a=b"a")
    photos = folder(tmp_path / "photos", b=b"b")
    (photos / ".hidden.jpg").write_bytes(b"")
    (photos / "linked").symlink_to(real)
    assert ImageSource(photos).names() == ("b.jpg", "linked/a.jpg")


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_processes_read_from_one_source_at_once(tmp_path, start):
    files = {f"p{n}": bytes([n]) * 3000 for n in range(40)}
    source = ImageSource(tar(tmp_path / "shard.tar", **files))
    context = multiprocessing.get_context(start)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(source.read, source.names(), chunksize=5)) == list(files.values())


def test_threads_read_from_one_source_at_once(tmp_path):
    files = {f"p{n}": bytes([n]) * 3000 for n in range(200)}
    source = ImageSource(tar(tmp_path / "shard.tar", **files))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.read, source.names())) == list(files.values())


@pytest.mark.parametrize("slow", [0, math.inf])
def test_images_are_read_concurrently_once_a_read_is_slow(tmp_path, monkeypatch, slow):
    names = [f"p{n}.jpg" for n in range(5)]
    source = ImageSource(folder(tmp_path, **{name[:-4]: name.encode() for name in names}))
    company, threads, read = threading.Barrier(4), [], source.read

    def wait(name):
        threads.append(threading.get_ident())
        if name != "p0.jpg" and not slow:
            company.wait(timeout=300)
        return read(name)

    monkeypatch.setattr("data.image_source._SLOW", slow)
    monkeypatch.setattr(source, "read", wait)
    assert list(source.read_each(names)) == [name.encode() for name in names]
    here = threading.get_ident()
    assert [thread == here for thread in threads] == [True, *[slow > 0] * 4]


@pytest.mark.parametrize("slow", [0, math.inf])
def test_an_image_that_cannot_be_read_is_reported_in_its_turn(tmp_path, monkeypatch, slow):
    monkeypatch.setattr("data.image_source._SLOW", slow)
    contents = ImageSource(folder(tmp_path, a=b"1")).read_each(["a.jpg", "a.jpg", "none.jpg"])
    assert [next(contents), next(contents)] == [b"1", b"1"]
    with pytest.raises(DataError, match=r"Image 'none\.jpg' is not in"):
        next(contents)


@pytest.mark.parametrize("slow", [0, math.inf])
def test_archives_are_indexed_concurrently_as_soon_as_one_is_slow(tmp_path, monkeypatch, slow):
    for n in range(5):
        tar(tmp_path / f"{n}.tar", **{f"p{n}": b"%d" % n})
    company, threads, opened = threading.Barrier(4), [], tarfile.open

    def wait(*arguments, **named):
        threads.append(threading.get_ident())
        if len(threads) > 1 and not slow:
            company.wait(timeout=300)
        return opened(*arguments, **named)

    monkeypatch.setattr("data.image_source._SLOW_MEMBER", slow)
    monkeypatch.setattr(tarfile, "open", wait)
    assert ImageSource(tmp_path).names() == tuple(f"p{n}.jpg" for n in range(5))
    here = threading.get_ident()
    assert [thread == here for thread in threads] == [True, *[slow > 0] * 4]


def test_paths_that_hold_nothing_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"Image folder or archive .*nowhere does not exist\."):
        ImageSource(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"There are no images in .*"):
        ImageSource(tmp_path)
    with pytest.raises(DataError, match=r"There are no images in an empty list\."):
        ImageSource([])


def test_a_compressed_or_broken_archive_is_refused_by_name(tmp_path):
    packed = tar(tmp_path / "packed.tar", "w:gz", a=b"a")
    with pytest.raises(DataError, match=r"packed\.tar: compressed with gzip; decompress it to"):
        ImageSource(packed)
    whole = tar(tmp_path / "cut.tar", a=b"a" * 5000, b=b"b" * 5000)
    whole.write_bytes(whole.read_bytes()[:8000])
    with pytest.raises(DataError, match=r"cut\.tar: damaged tar archive \(it ends inside"):
        ImageSource(whole)


def test_an_archive_that_shrinks_or_goes_afterwards_is_noticed(tmp_path):
    shard = tar(tmp_path / "shard.tar", a=b"a" * 5000)
    source = ImageSource(shard)
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"shard\.tar ends inside image 'a\.jpg'"):
        source.read("a.jpg")
    shard.unlink()
    with pytest.raises(DataError, match=r"Image 'a\.jpg' cannot be read: .*No such file"):
        source.read("a.jpg")


def zipped(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("photos")
        for number, (name, content) in enumerate(files.items()):
            method = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            archive.writestr(f"photos/{name}.jpg", content, compress_type=method)
    return path


def test_a_zip_archive_is_read_in_place_when_it_is_named(tmp_path):
    path = zipped(tmp_path / "photos.zip", a=b"a" * 900, b=b"b" * 900, c=b"", d=b"")
    source = ImageSource(path)
    assert source.names() == tuple(f"photos/{name}.jpg" for name in "abcd")
    assert [source.read(f"{name}.jpg") for name in "abcd"] == [b"a" * 900, b"b" * 900, b"", b""]
    assert [source.size(f"{name}.jpg") for name in "abcd"] == [900, 900, 0, 0]
    folder(tmp_path, photos__a=b"unpacked")
    assert ImageSource(tmp_path).read("a.jpg") == b"unpacked"


def test_a_zip_archive_that_is_cut_or_changed_is_noticed(tmp_path):
    path = zipped(tmp_path / "photos.zip", a=b"a" * 900, b=bytes(range(250)) * 9)
    whole = path.read_bytes()
    source = ImageSource(path)
    path.write_bytes(whole[:600])
    with pytest.raises(DataError, match=r"photos\.zip ends inside image 'a\.jpg'"):
        source.read("a.jpg")
    path.write_bytes(whole.replace(b"photos/b", b"photos/x")[:-300])
    with pytest.raises(DataError, match=r"photos\.zip is not a complete zip archive"):
        ImageSource(path)
    path.write_bytes(b"\0" * len(whole))
    with pytest.raises(DataError, match=r"Image 'b\.jpg' cannot be read"):
        source.read("b.jpg")


def test_captions_beside_the_photos_of_a_shard_are_no_images(tmp_path):
    shard = tar(tmp_path / "shard.tar", a=b"a")
    with tarfile.open(shard, "a") as archive:
        archive.addfile(tarfile.TarInfo("a.json"), io.BytesIO())
    assert ImageSource(shard).names() == ("a.jpg",)
