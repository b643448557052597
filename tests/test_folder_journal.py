"""The journal in the hands of others: moved, deleted, damaged, begun again."""

import os
import shutil
from pathlib import Path

import pytest

from captioner.errors import CaptionerError
from captioner.folder.journal.journal import Journal
from captioner.folder.journal.pending import PendingEntry
from captioner.folder.journal.records import JournalRecord
from captioner.folder.sidecars.changes import Change
from tests.test_folder import NAMES, captions


def entry(name, *, folder=None):
    """A caption, which goes to a text file, too, if there is a folder."""
    path = os.path.join(folder or "", Path(name).with_suffix(".txt"))
    change = Change(kind="txt", path=path, before=None, caption="a dog")
    record = JournalRecord(image=name, status="captioned", caption="a dog", log_probability=-1.0)
    return PendingEntry(record=record, changes=(change,) if folder else ())


@pytest.mark.parametrize("harm", ["deleted", "replaced"])
def test_a_journal_removed_during_the_run_is_noticed_at_once(tmp_path, harm):
    path = tmp_path / "captions.jsonl"
    with Journal(path, {}) as journal:
        journal.commit([entry("a.jpg")])
        content = path.read_bytes()
        path.unlink()
        if harm == "replaced":  # as some editors save
            path.write_bytes(content)
        with pytest.raises(CaptionerError, match=r"moved, deleted or replaced during"):
            journal.commit([entry("b.jpg")])
        with pytest.raises(CaptionerError, match=r"moved, deleted or replaced during"):
            journal.tidy()


def test_a_batch_cut_short_is_completed_where_the_folder_is_now(tmp_path, monkeypatch):
    (tmp_path / "old/photos").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "old")
    path = Path("photos/captions.jsonl")
    with Journal(path, {}) as journal:
        journal._pending.write([entry("a.jpg", folder="photos")])
    (tmp_path / "old/photos").rename(tmp_path / "moved")
    (tmp_path / "old/photos").mkdir()  # another folder of this name
    with Journal(tmp_path / "moved/captions.jsonl", {}) as journal:
        assert len(journal.index.captioned) == 1
    assert (tmp_path / "moved/a.txt").read_text() == "a dog\n"
    assert list((tmp_path / "old/photos").iterdir()) == []


ODD = (
    b'[{"record": {"image": "a", "status": "failed"}, "before": null, "changes": '
    b'[{"kind": "odd", "path": "a", "before": null, "caption": "a"}]}]'
)


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b'[{"record": {}}]', b"{", b"[" * 100_000, ODD],
    ids=["empty", "number", "no record", "cut off", "deep", "kind"],
)
def test_a_damaged_pending_batch_is_named_with_the_way_out(command, folder, content):
    assert command(folder, "--include", "flag.png")[0] == 0
    pending = folder / "captions.pending.json"
    pending.write_bytes(content)
    status, _, (error,) = command(folder)
    assert status == 2
    assert error.startswith(f"captioner: {pending}: damaged, ")
    pending.unlink()
    assert command(folder)[0] == 0
    assert list(captions(folder / "captions.jsonl")) == NAMES


def test_beginning_again_loses_nothing_before_there_is_a_new_caption(command, folder):
    output = folder / "captions.jsonl"
    command(folder)
    before = output.read_bytes()
    status, _, errors = command(folder, "--overwrite", "--device", "none")
    assert (status, output.read_bytes()) == (2, before)
    assert "device 'none' cannot be used" in errors[0]
    assert command(folder)[1][0].endswith("0 captioned, 4 already captioned, 0 skipped, 0 failed")
    command(folder, "--overwrite", "--prefix", "A ")
    assert all(text.startswith("A ") for text in captions(output).values())


def test_an_interrupted_overwriting_run_says_how_to_resume(command, folder, monkeypatch):
    tidy = Journal.tidy

    def stop(error):
        def stopped(self, **options):
            if options:
                return tidy(self, **options)
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(Journal, "tidy", stopped)
            _, _, (told,) = command(folder, "--overwrite")
        return told

    assert "run the same command without --overwrite to resume" in stop(KeyboardInterrupt())
    assert stop(CaptionerError("Full.")) == "captioner: Full. To resume, omit --overwrite."


def test_a_dry_run_refuses_what_the_run_would_refuse(command, folder):
    command(folder)
    status, lines, (error,) = command(folder, "--dry-run", "--beam", 3)
    assert (status, lines) == (2, [])
    assert "search.beam was 2 and is now 3" in error
    assert command(folder, "--dry-run", "--beam", 3, "--overwrite")[0] == 0


@pytest.mark.skipif(os.name != "posix", reason="pipes as on POSIX")
def test_a_pipe_is_refused_as_output(command, folder, tmp_path):
    os.mkfifo(tmp_path / "c.jsonl")
    status, _, (error,) = command(folder, "--output", tmp_path / "c.jsonl")
    assert status == 2
    assert error.endswith("not a regular file; choose another --output.")


def test_a_journal_saved_by_an_editor_is_still_one(command, folder):
    command(folder)
    output = folder / "captions.jsonl"
    told = captions(output)
    for content in (
        output.read_bytes().replace(b"\n", b"\r\n"),
        output.read_bytes() + b"\n\n",
        output.read_bytes() + b"a note of mine\n",
    ):
        output.write_bytes(content)
        _, lines, _ = command(folder)
        assert lines[0].endswith("0 captioned, 4 already captioned, 0 skipped, 0 failed")
        assert captions(output) == told


def test_a_run_resumes_after_photos_and_captions_were_copied_elsewhere(command, folder, tmp_path):
    command(folder, "--include", "flag.png", "--sidecar", "txt")
    shutil.copytree(folder, tmp_path / "copy")
    assert command(tmp_path / "copy", "--sidecar", "txt")[0] == 0
    assert list(captions(tmp_path / "copy/captions.jsonl")) == NAMES
