import io
import os
import subprocess
import sys
import tarfile

import pytest

from captioner.errors import CaptionerError, ImageError
from captioner.folder.sources.inputs import Filter, Photo, Problem, find_photos, listed_photos
from tests.photos import encode, quarters

POSIX = pytest.mark.skipif(os.name != "posix", reason="links, pipes and names as on POSIX")


def lay_out(folder, *names, content=b""):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def names(folder, **chosen):
    return [found.name for found in find_photos(folder, Filter(**chosen))]


def listed(text, root, *, end=b"\n", **chosen):
    return list(listed_photos(io.BytesIO(text), root, Filter(**chosen), end=end))


def archive(path, **members):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_photos_come_sorted_by_name_folders_among_them(tmp_path):
    lay_out(tmp_path, "z.jpg", "b/2.png", "b/10.png", "a.webp", "b/c/x.gif", "B.JPEG")
    expected = ["B.JPEG", "a.webp", "b/10.png", "b/2.png", "b/c/x.gif", "z.jpg"]
    assert names(tmp_path) == expected
    assert names(tmp_path) == expected
    assert next(find_photos(tmp_path, Filter())).path == str(tmp_path / "B.JPEG")


def test_the_ending_may_be_of_any_case_and_the_content_tells_what_has_none(tmp_path):
    lay_out(tmp_path, "a.JPG", "b.Png", "notes.txt", "data.bin", "README", "captions.jsonl")
    lay_out(tmp_path, "photo", "photo.backup", "x.txt", content=encode(quarters(), "JPEG"))
    assert names(tmp_path) == ["a.JPG", "b.Png", "photo", "photo.backup"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000"])
def test_every_kind_of_photo_is_known_by_how_it_begins(tmp_path, kind):
    lay_out(tmp_path, "unnamed", content=encode(quarters(), kind))
    assert names(tmp_path) == ["unnamed"]


def test_hidden_files_and_folders_are_left_out_unless_asked_for(tmp_path):
    lay_out(tmp_path, ".a.jpg", ".git/b.jpg", "c.jpg")
    assert names(tmp_path) == ["c.jpg"]
    assert names(tmp_path, hidden=True) == [".a.jpg", ".git/b.jpg", "c.jpg"]


def test_folders_marked_as_holding_no_photos_are_left_out(tmp_path):
    lay_out(tmp_path, "thumbs/.nomedia", "thumbs/a.jpg", "thumbs/more/b.jpg", "c.jpg")
    assert names(tmp_path) == ["c.jpg"]
    assert names(tmp_path, hidden=True) == ["c.jpg", "thumbs/a.jpg", "thumbs/more/b.jpg"]


def test_patterns_choose_by_whole_name_or_what_follows_a_slash_in_any_case(tmp_path):
    lay_out(tmp_path, "IMG_1.JPG", "cat.png", "2024/IMG_2.jpg", "2024/thumbs/IMG_2.jpg")
    assert names(tmp_path, include=("*.jpg",), exclude=("thumbs/*",)) == [
        "2024/IMG_2.jpg",
        "IMG_1.JPG",
    ]
    assert names(tmp_path, include=("2024/*", "cat.*")) == [
        "2024/IMG_2.jpg",
        "2024/thumbs/IMG_2.jpg",
        "cat.png",
    ]
    assert names(tmp_path, include=("mg_1.jpg",)) == []


@POSIX
def test_links_are_followed_but_never_in_circles(tmp_path):
    lay_out(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/other").symlink_to("../b")
    (tmp_path / "b/other").symlink_to("../a")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    assert names(tmp_path) == ["a/1.jpg", "a/other/2.jpg", "b/2.jpg", "b/other/1.jpg", "gone.jpg"]


@POSIX
def test_folders_and_pipes_with_names_of_photos_are_not_photos(tmp_path):
    lay_out(tmp_path, "x.jpg/1.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.tar")
    found = list(find_photos(tmp_path, Filter()))
    assert [item.name for item in found] == ["pipe.jpg", "pipe.tar/", "x.jpg/1.jpg"]
    assert found[1].reason == "not a regular file; save it as a file."
    with pytest.raises(ImageError, match=r"^pipe.jpg: not a regular file"):
        found[0].read()


@POSIX
def test_names_that_are_not_text_round_trip(tmp_path):
    odd = os.fsencode(tmp_path) + b"/odd-\xff.jpg"
    with open(odd, "wb"):
        pass
    (found,) = find_photos(tmp_path, Filter())
    assert os.fsencode(found.name) == b"odd-\xff.jpg"
    assert listed(b"odd-\xff.jpg\n", tmp_path) == [found]


def test_a_folder_that_cannot_be_listed_is_a_problem_and_the_others_are_searched(
    tmp_path, monkeypatch
):
    lay_out(tmp_path, "a/1.jpg", "b/2.jpg")
    scandir = os.scandir

    def guarded(folder):
        if os.path.basename(folder) == "a":  # permissions do not stop root, who may run the tests
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    first, second = find_photos(tmp_path, Filter())
    reason = "folder cannot be listed: Permission denied."
    assert first == Problem(name="a/", reason=reason, path=str(tmp_path / "a"))
    assert second.name == "b/2.jpg"


def test_folders_may_be_nested_deeper_than_python_calls_itself(tmp_path):
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "os.chdir(sys.argv[1])\n"
        "for _ in range(400): os.mkdir('d'); os.chdir('d')\n"
        "open('x.jpg', 'w').close()\n"
        "os.chdir(sys.argv[1])\n"
        "sys.setrecursionlimit(120)\n"
        "from captioner.folder.sources.inputs import Filter, find_photos\n"
        "print([f.name for f in find_photos(Path('.'), Filter())] == ['d/' * 400 + 'x.jpg'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CaptionerError, match=r"none: no such folder; check the path\.$"):
        list(find_photos(tmp_path / "none", Filter()))


def test_an_archive_is_a_folder_whose_photos_are_read_in_place(tmp_path):
    photo = encode(quarters(), "PNG")
    archive(tmp_path / "s.tar", b_png=photo, a_JPG=b"jpeg", a_txt=b"a caption", c_png=b"")
    found = list(find_photos(tmp_path, Filter()))
    assert [item.name for item in found] == ["s.tar/b.png", "s.tar/a.JPG", "s.tar/c.png"]
    assert [item.read() for item in found] == [photo, b"jpeg", b""]
    assert [item.name for item in find_photos(tmp_path / "s.tar", Filter())] == [
        "b.png",
        "a.JPG",
        "c.png",
    ]
    assert names(tmp_path, include=("s.tar/a*",)) == ["s.tar/a.JPG"]
    assert names(tmp_path, exclude=("*.tar/*",)) == []


def test_a_broken_archive_is_a_problem_after_what_could_be_read(tmp_path):
    archive(tmp_path / "s.tar", a_png=b"a" * 2000, b_png=b"b" * 2000)
    content = (tmp_path / "s.tar").read_bytes()
    (tmp_path / "s.tar").write_bytes(content[:3500])
    (tmp_path / "t.tar").write_bytes(b"no archive at all")
    lay_out(tmp_path, "u.jpg")
    found = list(find_photos(tmp_path, Filter()))
    problems = {item.name: item.reason for item in found if isinstance(item, Problem)}
    assert found[0].name == "s.tar/a.png"
    assert found[-1].name == "u.jpg"
    assert problems["t.tar/"] == (
        "not an uncompressed tar archive (truncated header); decompress it, or download it again."
    )
    cut = Photo(name="x", path=str(tmp_path / "s.tar"), offset=3000, size=2000)
    with pytest.raises(ImageError, match=r"^x: the archive is truncated; download it again\.$"):
        cut.read()


def test_an_archive_cut_short_between_two_photos_is_a_problem_too(tmp_path):
    archive(tmp_path / "s.tar", a_png=b"a" * 2000, b_png=b"b" * 2000)
    content = (tmp_path / "s.tar").read_bytes()
    assert [type(item) for item in find_photos(tmp_path, Filter())] == [Photo, Photo]
    for cut in (1, 511):
        (tmp_path / "s.tar").write_bytes(content[: 512 + 2048 + cut])
        first, second = find_photos(tmp_path, Filter())
        assert first.name == "s.tar/a.png"
        assert "ends in the middle of a header" in second.reason


def test_a_list_is_taken_as_it_stands(tmp_path):
    text = b"b.jpg\r\n\nsub/a.png\n./c.jpg\n../.hidden.jpg\n/abs/d.jpg\nno ending"
    found = listed(text, tmp_path)
    assert [photo.name for photo in found] == [
        "b.jpg", "sub/a.png", "./c.jpg", "../.hidden.jpg", "/abs/d.jpg", "no ending",
    ]  # fmt: skip
    assert found[1].path == os.path.join(tmp_path, "sub/a.png")
    assert found[4].path == "/abs/d.jpg"


def test_names_with_line_feeds_can_be_listed_with_zeros(tmp_path):
    names = [b"a\nb.jpg", b"c.jpg", *(b"%d.jpg" % i for i in range(20_000))]
    for last in (b"", b"\0"):
        found = listed(b"\0".join(names) + last, tmp_path, end=b"\0")
        assert [os.fsencode(photo.name) for photo in found] == names


def test_what_is_no_photo_by_its_name_nor_its_first_bytes_is_passed_by(tmp_path):
    lay_out(tmp_path, "cars", content=b"BMW, Bavaria's best-known car maker")
    lay_out(tmp_path, "burst", content=b"\0\0\0\x18ftyphevc\0\0\0\0")
    lay_out(tmp_path, "half", content=encode(quarters(), "PNG")[:40])
    assert names(tmp_path) == ["burst", "half"]


@pytest.mark.parametrize("pattern", ["2024", "2024/", "./2024", "2024/*", "TRIP", "20*/t?ip"])
def test_a_pattern_may_name_a_folder(tmp_path, pattern):
    lay_out(tmp_path, "2024/Trip/a.jpg", "b/2024.jpg", "c.jpg")
    assert names(tmp_path, exclude=(pattern,)) == ["b/2024.jpg", "c.jpg"]
    assert names(tmp_path, include=(pattern,)) == ["2024/Trip/a.jpg"]


def test_what_is_excluded_is_not_looked_into(tmp_path, monkeypatch):
    lay_out(tmp_path, "bad.tar", "a/b/1.jpg", "c.jpg", content=b"x")
    entered = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: entered.append(folder) or scandir(folder))
    assert names(tmp_path, exclude=("*.tar", "a")) == ["c.jpg"]
    assert entered == [str(tmp_path)]


def test_incomplete_downloads_are_not_photos(tmp_path):
    endings = (".part", ".crdownload", ".download", ".TMP")
    content = encode(quarters(), "PNG")
    lay_out(tmp_path, *(f"a.png{ending}" for ending in endings), content=content)
    assert names(tmp_path) == []


def test_a_list_may_begin_with_a_mark_and_name_archives(tmp_path):
    lay_out(tmp_path, "a.jpg")
    archive(tmp_path / "s.tar", one_png=b"1", two_txt=b"2")
    lay_out(tmp_path, "bad.tar", content=b"x" * 600)
    found = listed(b"\xef\xbb\xbfa.jpg\r\ns.tar\r\nbad.tar\r\ngone.tar\r\n", tmp_path)
    assert [item.name for item in found] == ["a.jpg", "s.tar/one.png", "bad.tar/", "gone.tar"]
    assert found[1].read() == b"1"
    assert isinstance(found[2], Problem)


@pytest.mark.parametrize("text", [b"a.jpg\0b.jpg\0", "a.jpg\nb.jpg\n".encode("utf-16")])
def test_a_list_with_the_wrong_terminator_is_explained(tmp_path, text):
    with pytest.raises(CaptionerError, match=r"NUL bytes; .* use --null; otherwise save .* UTF-8"):
        listed(text, tmp_path)


# Patterns


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("**/*.jpg", ["a.jpg", "x/b.jpg", "x/y/c.jpg"]),
        ("**/x/*.jpg", ["x/b.jpg", "x/y/c.jpg"]),
        ("x/**/*.jpg", ["x/b.jpg", "x/y/c.jpg"]),
        ("x/**/y/**/*.jpg", ["x/y/c.jpg"]),
        ("**/**/a.jpg", ["a.jpg"]),
        ("x/**", ["x/b.jpg", "x/y/c.jpg"]),
        ("**/", ["a.jpg", "x/b.jpg", "x/y/c.jpg"]),
        ("x**/c.jpg", ["x/y/c.jpg"]),
    ],
)
def test_two_stars_stand_for_any_folders_or_none(tmp_path, pattern, fitting):
    lay_out(tmp_path, "a.jpg", "x/b.jpg", "x/y/c.jpg")
    assert names(tmp_path, include=(pattern,)) == fitting
    rest = [name for name in ["a.jpg", "x/b.jpg", "x/y/c.jpg"] if name not in fitting]
    assert names(tmp_path, exclude=(pattern,)) == rest


@pytest.mark.parametrize("pattern", ["a[1]", "a[1]/", "A[1]/*.jpg", "a[1]/?.jpg", "**/a[1]/x.jpg"])
def test_brackets_are_taken_as_they_stand_too(tmp_path, pattern):
    lay_out(tmp_path, "a[1]/x.jpg", "a[2]/x.jpg", "c.jpg")
    assert names(tmp_path, include=(pattern,)) == ["a[1]/x.jpg"]
    assert names(tmp_path, exclude=(pattern,)) == ["a[2]/x.jpg", "c.jpg"]


def test_brackets_are_sets_of_letters(tmp_path):
    lay_out(tmp_path, "IMG_1.jpg", "IMG_2.jpg", "IMG_3.jpg", "IMG_[12].jpg")
    assert names(tmp_path, include=("IMG_[12].jpg",)) == ["IMG_1.jpg", "IMG_2.jpg", "IMG_[12].jpg"]
    assert names(tmp_path, include=("IMG_[!12].jpg",)) == ["IMG_3.jpg"]


# Folders that machines keep


MACHINES = (
    "2024/@eaDir/IMG_1.jpg/SYNOPHOTO_THUMB_XL.jpg",
    "#recycle/x.jpg",
    "$RECYCLE.BIN/S-1-5/x.jpg",
    "Lightroom Previews.lrdata/1/x.jpg",
    "System Volume Information/x.jpg",
    "lost+found/x.jpg",
)


def test_system_folders_are_skipped_and_recorded(tmp_path):
    lay_out(tmp_path, "2024/IMG_1.jpg", "recycle/y.jpg", *MACHINES)
    chosen = Filter()
    found = [photo.name for photo in find_photos(tmp_path, chosen)]
    assert found == ["2024/IMG_1.jpg", "recycle/y.jpg"]
    assert chosen.skipped_folders == {
        "2024/@eaDir", "#recycle", "$RECYCLE.BIN", "Lightroom Previews.lrdata",
        "System Volume Information", "lost+found",
    }  # fmt: skip
    assert len(names(tmp_path, hidden=True)) == 2 + len(MACHINES)
    assert names(tmp_path / "#recycle") == ["x.jpg"]


def test_what_a_pattern_excludes_is_not_noted(tmp_path):
    lay_out(tmp_path, "a.jpg", *MACHINES)
    chosen = Filter(exclude=("@eaDir", "#recycle", "[$]*", "*.lrdata", "System*", "lost*"))
    assert [photo.name for photo in find_photos(tmp_path, chosen)] == ["a.jpg"]
    assert chosen.skipped_folders == set()


def test_system_folders_in_archives_are_skipped(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name in ("a.jpg", "@eaDir/a.jpg/thumb.jpg"):
            tar.addfile(tarfile.TarInfo(name))
    chosen = Filter()
    assert [photo.name for photo in find_photos(tmp_path, chosen)] == ["s.tar/a.jpg"]
    assert chosen.skipped_folders == {"s.tar/@eaDir"}


# What people write into lists


def test_lists_may_hold_quotes_and_file_addresses(tmp_path):
    lay_out(tmp_path, "a b.jpg", "'c'.jpg", "d'.jpg", "50%#1.jpg", '"e.jpg"')
    address = (tmp_path / "a b.jpg").as_uri()
    text = f"\"a b.jpg\"\r\n'a b.jpg'\n'c'.jpg\nd'.jpg\n\"e.jpg\"\n{address}\nfile://{tmp_path}/50%#1.jpg\n"
    found = [photo.path for photo in listed(text.encode(), tmp_path)]
    plain = ["a b.jpg", "a b.jpg", "'c'.jpg", "d'.jpg", '"e.jpg"', "a b.jpg", "50%#1.jpg"]
    assert found == [str(tmp_path / name) for name in plain]


def test_a_comment_in_a_list_is_named_unless_there_is_such_a_file(tmp_path):
    lay_out(tmp_path, "#1.jpg", "a.jpg")
    comment, first, second = listed(b"# my holiday\n#1.jpg\na.jpg\n", tmp_path)
    assert comment == Problem(
        name="# my holiday",
        reason="no such file; if it is a comment, remove it: lists contain only paths.",
        path="# my holiday",
    )
    assert [first.name, second.name] == ["#1.jpg", "a.jpg"]


@pytest.mark.parametrize(
    "kind", ["cr2", "CR3", "nef", "ARW", "dng", "orf", "RAF", "rw2", "psd", "hif"]
)
def test_raw_photos_and_layers_count_as_photos(tmp_path, kind):
    lay_out(tmp_path, f"a.{kind}", "b.pdf")
    assert names(tmp_path) == [f"a.{kind}"]


@pytest.mark.parametrize(
    "beginning",
    [
        b"\0\0\0\x18ftypcrx ", b"FUJIFILMCCD-RAW ", b"IIRO\x08\0\0\0", b"IIU\0\x18\0\0\0",
        b"8BPS\0\1", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x18ftypheix",
    ],
)  # fmt: skip
def test_what_phones_and_cameras_make_is_known_by_how_it_begins(tmp_path, beginning):
    lay_out(tmp_path, "unnamed", content=beginning.ljust(16, b"\0"))
    assert names(tmp_path) == ["unnamed"]
