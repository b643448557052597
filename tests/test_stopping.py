"""`captioner folder` told to end: a real process, and real signals."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from captioner.folder.stopping import Stopped, defer_signals, graceful_shutdown
from tests.test_folder import NAMES, captions

ROOT = Path(__file__).parent.parent
PROGRAM = """
import sys, time
from captioner.cli import program
from captioner.folder.outputs import results
from captioner.pytorch import TorchCaptioner

caption, write = TorchCaptioner.caption_batch, results.write_table

def take_an_hour(self, photos, **options):
    if not photos[0].image.endswith("flag.png"):
        time.sleep(3600)
    return caption(self, photos, **options)

def write_for_an_hour(*arguments, **options):
    time.sleep(3600 * ("slow" in arguments[0].name))
    write(*arguments, **options)

TorchCaptioner.caption_batch, results.write_table = take_an_hour, write_for_an_hour
program()
"""
"""The command, where a batch after the first takes an hour, and so does a table called slow."""
SIGNALLED = """
import os, signal
from captioner.folder.journal.journal import Journal

commit = Journal.commit

def commit_and_be_stopped(self, entries):
    records = commit(self, entries)
    os.kill(os.getpid(), signal.SIGTERM)
    return records

Journal.commit = commit_and_be_stopped
"""
"""What makes a signal arrive when a batch is on disk, and not counted yet."""
PATIENCE = 300
"""Seconds that a loaded machine may take, and less than what must not be waited for."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")


@contextmanager
def running(checkpoint, folder, *arguments, program=PROGRAM):
    """Run the command with batches of two photos."""
    options = ("--batch-size", "2", "--precision", "float32", "--checkpoint", checkpoint)
    with subprocess.Popen(
        [sys.executable, "-c", program, "folder", folder, *arguments, *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def at_work(checkpoint, folder, *arguments):
    """Run the command until its first batch is done and the next ones have begun."""
    with running(checkpoint, folder, *arguments) as process:
        wait_until(lambda: (folder / "captions.jsonl").read_bytes().count(b"\n") == 2, process)
        yield process


def wait_until(come, process):
    for _ in range(100 * PATIENCE):
        try:
            if come():
                return
        except FileNotFoundError:
            pass
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    raise AssertionError("it did not come")


INTERRUPTED = (
    "captioner: {}: interrupted after 2 photos: 2 captioned, 0 already captioned, 0 skipped, "
    "0 failed; run the same command to resume.\n"
)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_run_at_once_and_the_same_command_resumes(
    command, checkpoints, folder, number, status
):
    output, table = folder / "captions.jsonl", folder / "captions.csv"
    with at_work(checkpoints["lstm"], folder, "--output", output, "--output", table) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)  # a batch in hand takes an hour
    assert (process.returncode, out) == (status, "")
    assert err == INTERRUPTED.format(output)
    assert list(captions(output)) == NAMES[:2]
    assert len(table.read_text().splitlines()) == 3
    again, lines, _ = command(folder, "--output", output, "--output", table)
    assert again == 0
    assert "4 photos: 2 captioned, 2 already captioned" in lines[0]
    assert list(captions(output)) == NAMES


def test_a_second_signal_kills_it_while_tables_are_written_and_loses_nothing(
    command, checkpoints, folder
):
    output, table = folder / "captions.jsonl", folder / "slow.csv"
    with at_work(checkpoints["lstm"], folder, "--output", output, "--output", table) as process:
        process.send_signal(signal.SIGINT)
        assert "interrupted after 2 photos" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == -signal.SIGINT
    assert not table.exists()
    assert command(folder, "--output", output, "--output", table)[0] == 0
    assert list(captions(output)) == NAMES


def test_what_is_on_disk_when_a_signal_arrives_is_counted(checkpoints, folder):
    output = folder / "captions.jsonl"
    arguments = (checkpoints["lstm"], folder, "--output", output)
    with running(*arguments, program=SIGNALLED + PROGRAM) as process:
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert err == INTERRUPTED.format(output)
    assert list(captions(output)) == NAMES[:2]


def test_a_signal_waits_for_what_is_not_to_be_interrupted_and_the_next_one_would_kill():
    done = []

    def work():
        signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        done.append("all of it")

    with graceful_shutdown():
        with pytest.raises(Stopped) as stopped, defer_signals(), defer_signals():
            work()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert (done, stopped.value.status) == (["all of it"], 143)


def test_what_is_not_to_be_interrupted_leaves_signals_as_they_were():
    before = signal.getsignal(signal.SIGINT)
    with defer_signals():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt), defer_signals():
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(OSError, match="full"), defer_signals():
        raise OSError("full")
    assert signal.getsignal(signal.SIGINT) is before


def test_threads_that_receive_no_signals_are_left_alone():
    handlers = []

    def work():
        with defer_signals():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]


def test_signals_are_as_before_afterwards_and_those_ignored_stay_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "a test before left a handler"
    try:
        with graceful_shutdown():
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
