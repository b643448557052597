"""A run of `captioner folder`: from the photos found to the journal."""

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

from captioner.durable import digest
from captioner.errors import MetadataError
from captioner.folder.changes import Change
from captioner.folder.inputs import Found, Photo
from captioner.folder.journal import Entry, Journal
from captioner.folder.plan import plan, remember
from captioner.folder.progress import Progress
from captioner.folder.records import Record
from captioner.folder.targets import Target
from captioner.folder.wording import Wording


class Sentence(Protocol):
    """What a caption is asked for; see `Caption`."""

    @property
    def text(self) -> str:
        """The sentence."""

    @property
    def log_probability(self) -> float:
        """Of the sentence."""

    def to_dict(self) -> dict[str, Any]:
        """Its words, among others."""


class Engine(Protocol):
    """What captions photos. It brings in torch, so it is made only once there is a photo."""

    def run(self, photos: Iterable[Photo]) -> Iterator[Sequence[tuple[Photo, Sentence | str]]]:
        """Yield the outcomes batch by batch."""


class Job:
    """Captions what is found and not yet done.

    Args:
        journal: open.
        load_engine: makes the engine; called only once there is a photo to caption.
        wording: what is made of the model's sentences.
        targets: where captions go beside the journal.
        words: whether records hold probability and attention of every word.
        retry_failed: caption only what failed before.
        progress: told of everything.
    """

    def __init__(
        self,
        journal: Journal,
        load_engine: Callable[[], Engine],
        *,
        wording: Wording,
        targets: Sequence[Target],
        words: bool,
        retry_failed: bool,
        progress: Progress,
    ) -> None:
        self.journal = journal
        self.load_engine = load_engine
        self.wording = wording
        self.targets = targets
        self.words = words
        self.retry_failed = retry_failed
        self.progress = progress
        self._engine: Engine | None = None
        self._met: set[bytes] | None = None  # when watching: each photo is counted only once
        remember(targets, journal.path)

    def run(self, found: Iterator[Found]) -> None:
        """Caption all of them, and write batch after batch.

        Raises:
            CaptionerError: the disk is full or the output cannot be written; what was written
                before stays, and the same run again goes on from there.
        """
        photos = self._select(found)
        first = next(photos, None)
        if first is None:
            return
        if self._engine is None:
            self._engine = self.load_engine()
        for outcomes in self._engine.run(chain([first], photos)):
            self._write(outcomes)

    def watch(self, find: Callable[[], Iterator[Found]], *, seconds: float) -> None:
        """Caption what is there and what comes, looking again after this many seconds, for ever.

        A file changed less than this long ago may still be on its way: it waits for its turn.
        """
        self._met = set()
        while True:
            self.run(_settled(find(), seconds))
            self.progress.advance()
            time.sleep(seconds)

    def _select(self, found: Iterator[Found]) -> Iterator[Photo]:
        """Yield what is to be captioned, and count the others."""
        steps = plan(found, self.journal.held, targets=self.targets, retry_failed=self.retry_failed)
        for step in steps:
            if self._met is not None:
                key = digest(step.found.name)
                if key in self._met:
                    continue
                self._met.add(key)
            if step.kind == "caption":
                assert isinstance(step.found, Photo)
                yield step.found
            elif step.kind == "done":
                self.progress.tally.before += 1
            elif step.kind == "failed before":
                self.progress.tally.failed += 1
            elif step.kind == "skip":
                self.progress.skipped(step.found.name, step.reason)
            else:
                self.progress.failed(step.found.name, step.reason)

    def _write(self, outcomes: Sequence[tuple[Photo, Sentence | str]]) -> None:
        entries: dict[bytes, Entry] = {}
        for photo, outcome in outcomes:
            key = digest(photo.name)
            if key in self.journal.held.captioned or key in entries:  # a list may name it twice
                self.progress.tally.before += 1
            elif isinstance(outcome, str):
                entries[key] = _failure(photo, outcome)
            else:
                entry = self._entry(photo, outcome)
                if isinstance(entry, str):
                    self.progress.skipped(photo.name, entry)
                else:
                    entries[key] = entry
        for record in self.journal.commit(list(entries.values())):
            if record.status == "captioned":
                self.progress.tally.captioned += 1
            else:
                self.progress.failed(record.image, record.reason or "")
        self.progress.advance()

    def _entry(self, photo: Photo, caption: Sentence) -> Entry | str:
        """Put a caption into the form in which it is written, or say why nothing is written."""
        text = self.wording(caption.text, photo=photo.name)
        try:
            plans = [target.plan(photo, text) for target in self.targets]
        except MetadataError as error:
            return _failure(photo, str(error).removeprefix(f"{photo.name}: "))
        except OSError as error:
            return _failure(photo, f"{error.filename} cannot be read: {error.strerror}.")
        changes = tuple(plan for plan in plans if isinstance(plan, Change))
        if plans and not changes:
            return str(plans[0])
        for target in self.targets:
            target.own(photo.name)
        record = Record(
            image=photo.name,
            status="captioned",
            caption=text,
            log_probability=caption.log_probability,
            words=caption.to_dict()["words"] if self.words else None,
        )
        return Entry(record=record, changes=changes)


def _failure(photo: Photo, reason: str) -> Entry:
    return Entry(record=Record(image=photo.name, status="failed", reason=reason))


def _settled(found: Iterator[Found], seconds: float) -> Iterator[Found]:
    """Leave out the files that changed within this time."""
    for item in found:
        try:
            age = time.time() - os.stat(item.path).st_mtime if isinstance(item, Photo) else math.inf
        except OSError:
            age = math.inf
        if abs(age) >= seconds:  # a clock may be wrong: what comes from the future is no draft
            yield item
