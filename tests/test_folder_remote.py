"""Photos in object stores: a real S3 server on loopback, faults of the network included."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from captioner.cli import main
from captioner.errors import MissingExtraError
from captioner.folder.sources import remote
from captioner.folder.sources.filters import Filter
from captioner.folder.sources.inputs import Photo, find_photos
from captioner.folder.sources.stamps import Stamp
from tests import stores
from tests.photos import encode, noise, quarters

pytest.importorskip("moto")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of botocore and moto
ROOT = Path(__file__).parent.parent
URL = f"s3://{stores.BUCKET}"
SUMMARY = "photos: {} captioned, {} already captioned, {} skipped, {} failed"


@pytest.fixture(scope="module")
def server():
    with stores.serving() as (address, port):
        network = stores.Network(port)
        yield address, network
        network.close()


@pytest.fixture
def store(server, monkeypatch):
    """The server, empty, as the environment names it."""
    import s3fs

    address, _ = server
    for name, value in stores.credentials(address).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    fs = stores.connect()
    if fs.exists(stores.BUCKET):
        fs.rm(stores.BUCKET, recursive=True)
    yield fs
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(store, folder):
    """Four photos, as in `folder`."""
    stores.upload(folder)
    return store


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def captions(path):
    return {record["image"]: record.get("caption") for record in records(path)}


def test_a_bucket_is_captioned_as_the_folder_it_was_filled_from(command, bucket, folder, tmp_path):
    output = tmp_path / "remote.jsonl"
    status, lines, errors = command(URL, "--output", output)
    assert (status, errors) == (0, [])
    assert lines == [f"{output}: 4 {SUMMARY.format(4, 0, 0, 0)}"]
    command(folder)
    assert captions(output) == captions(folder / "captions.jsonl")
    for record in records(output):
        content = (folder / record["image"]).read_bytes()
        assert record["size"] == len(content)
        assert record["etag"] == bucket.info(f"{URL}/{record['image']}")["ETag"].strip('"')
        assert "modified" not in record


def test_a_second_run_captions_what_is_new_or_replaced_and_nothing_else(
    command, bucket, tmp_path, monkeypatch
):
    output = tmp_path / "remote.jsonl"
    command(URL, "--output", output)
    before = output.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(Photo, "read", None)
        assert command(URL, "--output", output)[1][0].endswith(SUMMARY.format(0, 4, 0, 0))
    assert output.read_bytes() == before
    bucket.pipe_file(f"{URL}/new.png", encode(quarters(), "PNG"))
    bucket.pipe_file(f"{URL}/flag.png", encode(noise(), "PNG"))
    assert command(URL, "--output", output)[1][0].endswith(SUMMARY.format(2, 3, 0, 0))
    assert sorted(captions(output)) == [
        "flag.png", "more/large.jpg", "new.png", "strip.jpg", "tower.png",
    ]  # fmt: skip


def test_prefixes_are_folders_that_filters_choose_from(store, folder):
    (folder / "more" / "@eaDir").mkdir()
    shutil.copy(folder / "flag.png", folder / "more" / "@eaDir" / "thumb.png")
    shutil.copy(folder / "flag.png", folder / "unnamed")
    shutil.copy(folder / "flag.png", folder / ".hidden.png")
    (folder / "notes.txt").write_text("no photo")
    stores.upload(folder)
    store.pipe_file(f"{URL}/more/", b"")  # the mark of a folder that consoles leave
    found = [photo.name for photo in find_photos(URL, Filter())]
    assert found == ["flag.png", "more/large.jpg", "strip.jpg", "tower.png", "unnamed"]
    assert found == [photo.name for photo in find_photos(folder, Filter())]
    assert [photo.name for photo in find_photos(f"{URL}/more", Filter())] == ["large.jpg"]
    chosen = Filter(include=("*.png",), exclude=("tower*",))
    assert [photo.name for photo in find_photos(URL, chosen)] == ["flag.png"]


def test_tar_archives_in_a_store_are_read_in_place(command, store, folder, tmp_path):
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(folder / "flag.png", "0.png")
        archive.add(folder / "more" / "large.jpg", "1.jpg")
    shards = tmp_path / "shards"
    shards.mkdir()
    shutil.move(tmp_path / "shard.tar", shards)
    (shards / "cut.tar").write_bytes((shards / "shard.tar").read_bytes()[:5000])
    stores.upload(shards)
    output = tmp_path / "out" / "captions.jsonl"
    status, lines, errors = command(
        URL, "--output", output, "--gallery", tmp_path / "gallery", "--words"
    )
    assert status == 1
    assert lines[0].endswith("5 " + SUMMARY.format(3, 0, 0, 2)), errors
    assert [name for name, text in captions(output).items() if text] == [
        "cut.tar/0.png", "shard.tar/0.png", "shard.tar/1.jpg",
    ]  # fmt: skip
    pictures = list((tmp_path / "gallery" / "pictures").iterdir())
    assert len(pictures) == 6  # each once more with its attention
    whole = command(f"{URL}/shard.tar", "--output", tmp_path / "one.jsonl")
    assert whole[1][0].endswith("2 " + SUMMARY.format(2, 0, 0, 0))


def test_a_list_names_objects_by_key_or_url(command, bucket, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text(f"flag.png\n{URL}/more/large.jpg\n")
    output = tmp_path / "captions.jsonl"
    assert command(URL, "--list", names, "--output", output)[0] == 0
    assert list(captions(output)) == ["flag.png", f"{URL}/more/large.jpg"]


def test_a_malformed_url_on_a_list_fails_alone(command, bucket, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("odd://x/a.jpg\ngs://photos/b.jpg\nflag.png\n")
    output = tmp_path / "captions.jsonl"
    status, lines, errors = command(URL, "--list", names, "--output", output)
    assert status == 1
    assert lines[0].endswith("3 " + SUMMARY.format(1, 0, 0, 2))
    assert errors[0].startswith("captioner: odd://x/a.jpg: unknown kind of store (")
    assert errors[1].startswith("captioner: gs://photos/b.jpg: gs:// needs another package (")


def test_an_object_that_vanished_fails_and_the_others_are_captioned(
    command, bucket, tmp_path, monkeypatch
):
    find = remote.list_folder

    def late(url):
        found = find(url)
        if "more" not in url:
            bucket.rm(f"{URL}/strip.jpg")
        return found

    monkeypatch.setattr(remote, "list_folder", late)
    output = tmp_path / "captions.jsonl"
    status, lines, errors = command(URL, "--output", output, "--quiet")
    assert (status, lines) == (1, [])
    reason = "s3://photos/strip.jpg: no such bucket or object; check the name."
    assert errors == [f"captioner: strip.jpg: {reason}"]
    assert [name for name, text in captions(output).items() if text] == [
        "flag.png", "more/large.jpg", "tower.png",
    ]  # fmt: skip


def test_network_faults_are_retried(command, bucket, server, tmp_path, monkeypatch):
    import s3fs

    _, network = server
    monkeypatch.setattr(remote, "_PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{network.port}")
    s3fs.S3FileSystem.clear_instance_cache()
    network.failing = 3
    assert command(URL, "--output", tmp_path / "a.jsonl")[:2] == (
        0,
        [f"{tmp_path / 'a.jsonl'}: 4 {SUMMARY.format(4, 0, 0, 0)}"],
    )
    assert network.failing == 0
    s3fs.S3FileSystem.clear_instance_cache()
    network.failing = 10**6
    status, _, errors = command(URL, "--output", tmp_path / "b.jsonl")
    network.failing = 0
    assert status == 2
    assert errors[0].startswith(f"captioner: {URL}: cannot be read: the store does not answer (")


def test_what_is_wrong_with_a_store_is_said(command, bucket, tmp_path, monkeypatch):
    import s3fs

    output = ("--output", tmp_path / "captions.jsonl")
    missing = "s3://nowhere-at-all: no such bucket or object; check the name."
    assert command("s3://nowhere-at-all", *output) == (2, [], [f"captioner: {missing}"])
    status, _, errors = command(URL)
    assert (status, errors) == (2, [
        f"captioner: {URL}: captions of an object store go to a local file; use --output "
        "FILE.jsonl.",
    ])  # fmt: skip
    for option in ("--in-place", "--sidecar=txt"):
        status, _, errors = command(URL, *output, option)
        assert (status, errors) == (2, [
            f"captioner: {URL}: --sidecar and --in-place need a local folder; object stores are "
            "read-only.",
        ])  # fmt: skip
    assert command(URL, *output, "--watch")[0] == 2
    status, _, errors = command("odd://x", *output)
    assert status == 2
    assert errors[0].startswith("captioner: odd://x: unknown kind of store (")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3fs.S3FileSystem.clear_instance_cache()
    status, _, errors = command(URL, *output)
    assert status == 2
    assert errors == [
        f"captioner: {URL}: cannot be read: no credentials (Unable to locate credentials); set "
        "them in the environment, or set FSSPEC_S3_ANON=true for a public bucket."
    ]
    assert not output[1].exists()


def test_denied_access_is_distinguished_from_a_missing_object(monkeypatch):
    class Store:
        def info(self, path):
            raise PermissionError(13, "Forbidden")

    monkeypatch.setattr(remote, "_store", lambda url: (Store(), url))
    with pytest.raises(OSError, match="access denied; check the credentials and their permissions"):
        remote.is_folder(URL)


def test_without_the_extra_an_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingExtraError) as caught:
        remote.is_folder(URL)
    expected = "s3:// needs fsspec; install it: pip install 'captioner[remote]'"
    assert str(caught.value) == expected


def test_a_store_whose_package_is_missing_is_named():
    with pytest.raises(MissingExtraError, match=r"^gs:// needs another package \(.*gcsfs.*\)"):
        remote.is_folder("gs://bucket/photos")


def test_an_object_is_another_one_when_its_digest_changes():
    one = Stamp(size=3, modified=None, etag="a")
    assert one.may_be(one.number)
    assert not Stamp(size=3, modified=None, etag="b").may_be(one.number)


@pytest.mark.parametrize("path", ["photos", "C:\\photos", "file:///a", "https://example.org/a"])
def test_what_is_no_url_of_a_store_is_a_path(path):
    assert not remote.is_remote(path)


def test_photos_of_a_store_are_captioned_on_a_cluster(
    command, bucket, server, checkpoints, tmp_path
):
    pytest.importorskip("ray")
    bucket.pipe_file(f"{URL}/broken.png", b"")
    options = ("--search", "greedy", "--precision", "float32")
    local, there = tmp_path / "local.jsonl", tmp_path / "there.jsonl"
    assert command(URL, "--output", local, *options)[0] == 1
    with TemporaryDirectory(prefix="ray", dir="/tmp") as place:  # paths of sockets must be short
        environment = os.environ | {"RAY_ADDRESS": "", "RAY_TMPDIR": place, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-m", "captioner", "folder", URL, "--output", there, *options,
             "--engine", "ray", "--checkpoint", checkpoints["lstm"]],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout.partition(": ")[2]) == (
        1,
        f"5 {SUMMARY.format(4, 0, 0, 1)}\n",
    ), done.stderr
    assert there.read_bytes() == local.read_bytes()


def test_single_photos_are_captioned_from_a_store(bucket, checkpoints, folder, tmp_path, capfd):
    photo, model = f"{URL}/flag.png", ("--checkpoint", str(checkpoints["lstm"]))
    assert main(["caption", photo, "--overlay", str(tmp_path / "overlay"), *model]) == 0
    out, err = capfd.readouterr()
    assert main(["caption", str(folder / "flag.png"), *model]) == 0
    assert capfd.readouterr().out == out
    assert [path.name for path in (tmp_path / "overlay").iterdir()] == ["flag.png.png"]
    assert main(["caption", f"{URL}/gone.png", photo, "--json", *model]) == 1
    out, err = capfd.readouterr()
    assert json.loads(out)["image"] == photo
    gone = f"{URL}/gone.png"
    assert err.startswith(f"captioner: {gone}: no such bucket or object; check the name.")
