"""`captioner folder` told to end: a real process, and real signals."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from captioner.cli.stopping import Stopped, stopping_gently
from tests.test_folder import NAMES, captions

ROOT = Path(__file__).parent.parent
PROGRAM = """
import sys, time
from captioner.cli import program
from captioner.folder import results
from captioner.pipeline import Captioner

caption, write = Captioner.caption_batch, results.write_table

def take_a_minute(self, photos, **options):
    if not photos[0].image.endswith("flag.png"):
        time.sleep(60)
    return caption(self, photos, **options)

def write_for_a_minute(*arguments):
    time.sleep(60 * ("slow" in arguments[0].name))
    write(*arguments)

Captioner.caption_batch, results.write_table = take_a_minute, write_for_a_minute
program()
"""
"""The command, where a batch after the first takes a minute, and so does a table called slow."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")


@contextmanager
def at_work(checkpoint, folder, *arguments):
    """Run the command until its first batch is done and the next ones have begun."""
    options = ("--batch-size", "2", "--precision", "float32", "--checkpoint", checkpoint)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "folder", folder, *arguments, *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: (folder / "captions.jsonl").read_bytes().count(b"\n") == 2, process)
            yield process
        finally:
            process.kill()


def wait_until(come, process):
    for _ in range(6000):
        try:
            if come():
                return
        except FileNotFoundError:
            pass
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    raise AssertionError("it did not come")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_ends_at_once_when_told_to_and_the_same_command_goes_on(
    command, checkpoints, folder, number, status
):
    output, table = folder / "captions.jsonl", folder / "captions.csv"
    with at_work(checkpoints["lstm"], folder, "--output", output, "--output", table) as process:
        started = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert time.monotonic() - started < 5  # a batch in hand takes a minute
    assert (process.returncode, out) == (status, "")
    assert err == (
        f"captioner: {output}: interrupted after 2 photos: 2 captioned, 0 captioned before, 0 "
        "skipped, 0 failed; the same command goes on from here.\n"
    )
    assert list(captions(output)) == NAMES[:2]
    assert len(table.read_text().splitlines()) == 3
    again, lines, _ = command(folder, "--output", output, "--output", table)
    assert again == 0
    assert "4 photos: 2 captioned, 2 captioned before" in lines[0]
    assert list(captions(output)) == NAMES


def test_told_again_while_tables_are_written_it_dies_there_and_loses_nothing(
    command, checkpoints, folder
):
    output, table = folder / "captions.jsonl", folder / "slow.csv"
    with at_work(checkpoints["lstm"], folder, "--output", output, "--output", table) as process:
        process.send_signal(signal.SIGINT)
        assert "interrupted after 2 photos" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == -signal.SIGINT
    assert not table.exists()
    assert command(folder, "--output", output, "--output", table)[0] == 0
    assert list(captions(output)) == NAMES


def test_signals_are_as_before_afterwards_and_those_ignored_stay_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "a test before left a handler"
    try:
        with stopping_gently():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            with pytest.raises(Stopped) as stopped:
                signal.raise_signal(signal.SIGTERM)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        assert stopped.value.status == 143
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
