"""Outputs that training programs read: by their own readers."""

import io
import json
import shutil
import tarfile

import pytest
from PIL import Image

from captioner.folder.outputs import datasets as outputs
from captioner.folder.outputs.tables import write_table
from tests.photos import encode, quarters
from tests.test_folder import captions


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_metadata_lines_hold_name_and_text_of_what_has_a_caption(command, folder):
    (folder / "broken.png").write_bytes(b"")
    with tarfile.open(folder / "shard.tar", "w") as archive:
        archive.add(folder / "flag.png", "0.png")
    metadata = folder / "metadata.jsonl"
    assert command(folder, "--output", metadata)[0] == 1
    written = captions(folder / "captions.jsonl")
    assert lines(metadata) == [
        {"file_name": name, "text": written[name]}
        for name in ("flag.png", "more/large.jpg", "strip.jpg", "tower.png")
    ]
    assert written["shard.tar/0.png"]


@pytest.mark.filterwarnings("ignore")
def test_the_datasets_library_reads_the_folder(command, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets.load")
    command(folder, "--output", folder / "metadata.jsonl")
    read = datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "c"))
    rows = {row["text"]: row["image"].size for row in read["train"]}
    assert rows == {
        text: Image.open(folder / name).size
        for name, text in captions(folder / "captions.jsonl").items()
    }


def test_texts_edited_in_the_metadata_are_kept(command, folder):
    metadata = folder / "metadata.jsonl"
    command(folder, "--output", metadata)
    edited = lines(metadata)
    edited[0]["text"] = "the flag of nowhere"
    metadata.write_text("".join(json.dumps(line) + "\n" for line in edited))
    assert command(folder, "--output", metadata, "--sidecar", "txt")[0] == 0
    assert lines(metadata) == edited
    assert captions(folder / "captions.jsonl")["flag.png"] == "the flag of nowhere"
    assert (folder / "flag.txt").read_text() == "the flag of nowhere\n"
    metadata.write_text("[]\n")
    status, _, errors = command(folder, "--output", metadata)
    assert (status, errors) == (2, [
        f"captioner: {metadata}: edited since it was written, and the edits cannot be kept: it "
        "cannot be read (line 1 lacks file_name or text). Move the file away to keep it, or delete "
        "it to have it written again.",
    ])  # fmt: skip


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it closes nothing
def test_webdataset_reads_photos_captions_and_records(command, folder, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    (folder / "broken.png").write_bytes(b"")
    with tarfile.open(folder / "shard.tar", "w") as archive:
        archive.add(folder / "more" / "large.jpg", "a.b.JPEG")
    out = tmp_path / "out" / "photos-%06d.tar"
    assert command(folder, "--output", out)[0] == 1
    texts = captions(tmp_path / "out" / "captions.jsonl")
    read = webdataset.WebDataset(
        str(tmp_path / "out" / "photos-000000.tar"), shardshuffle=False, empty_check=False
    )
    samples = list(read)
    assert [json.loads(sample["json"])["image"] for sample in samples] == [
        "flag.png", "more/large.jpg", "shard.tar/a.b.JPEG", "strip.jpg", "tower.png",
    ]  # fmt: skip
    for sample in samples:
        record = json.loads(sample["json"])
        assert sample["txt"].decode() == record["caption"] == texts[record["image"]]
        assert "log_probability" in record
    assert samples[0]["png"] == (folder / "flag.png").read_bytes()
    assert samples[2]["jpg"] == samples[1]["jpg"] == (folder / "more" / "large.jpg").read_bytes()

    before = (tmp_path / "out" / "photos-000000.tar").stat().st_mtime_ns
    assert command(folder, "--output", out)[0] == 1
    assert (tmp_path / "out" / "photos-000000.tar").stat().st_mtime_ns == before
    (tmp_path / "out" / "photos-000000.tar").unlink()
    command(folder, "--output", out)
    assert (tmp_path / "out" / "photos-000000.tar").exists()


def test_a_large_data_set_is_divided_and_a_smaller_one_leaves_nothing_of_it(
    command, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(outputs, "_LARGEST", 1)
    out = tmp_path / "out" / "photos-%06d.tar"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photos-000004.tar").write_bytes(b"of a larger one")
    command(folder, "--output", out)
    found = sorted(path.name for path in out.parent.glob("*.tar"))
    assert found == [f"photos-00000{number}.tar" for number in range(4)]
    names = [name for path in sorted(out.parent.glob("*.tar")) for name in _names(path)]
    assert names[:3] == ["000000000.png", "000000000.txt", "000000000.json"]
    assert len(names) == len(set(names)) == 12


def _names(path):
    with tarfile.open(path) as archive:
        return archive.getnames()


def test_a_data_set_in_an_unsuitable_place_is_refused(command, folder, tmp_path):
    elsewhere = tmp_path / "metadata.jsonl"
    status, _, errors = command(folder, "--output", elsewhere)
    assert (status, errors) == (2, [
        f"captioner: {elsewhere}: an imagefolder data set must lie in the folder of its photos; "
        f"use --output {folder / 'metadata.jsonl'}, or another name.",
    ])  # fmt: skip
    inside = folder / "more" / "all.tar"
    status, _, errors = command(folder, "--output", inside)
    assert (status, errors) == (2, [
        f"captioner: {inside}: lies inside the photo folder, so the next run would caption its "
        "photos; choose a path outside.",
    ])  # fmt: skip
    odd = tmp_path / "a-%z.tar"
    status, _, errors = command(folder, "--output", odd)
    assert (status, errors) == (2, [
        f"captioner: {odd}: use %06d for the number of each archive, and %% for a percent sign.",
    ])  # fmt: skip
    status, _, errors = command(folder, "--shard", "1/2", "--output", folder / "metadata.jsonl")
    assert (status, errors) == (2, [
        f"captioner: {folder / 'metadata.jsonl'}: covers the whole folder; write it with --join "
        "when all shards are done.",
    ])  # fmt: skip


def test_photos_that_are_gone_are_left_out_of_archives(command, folder, tmp_path):
    command(folder)
    (folder / "strip.jpg").unlink()
    shutil.copy(folder / "captions.jsonl", tmp_path / "lines.jsonl")
    write_table(tmp_path / "a.tar", tmp_path / "lines.jsonl", words=False, root=folder)
    assert [name for name in _names(tmp_path / "a.tar") if name.endswith(("jpg", "png"))] == [
        "000000000.png", "000000001.jpg", "000000003.png",
    ]  # fmt: skip
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        member = tarfile.TarInfo("x.png")
        member.size = len(content := encode(quarters(), "PNG"))
        archive.addfile(member, io.BytesIO(content))
    assert command(tmp_path / "b.tar", "--output", tmp_path / "o" / "of_a_tar.tar")[0] == 0
    assert len(_names(tmp_path / "o" / "of_a_tar.tar")) == 3
