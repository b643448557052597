"""A run of `captioner folder`: from the photos found to the journal."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

from captioner.durable import digest
from captioner.errors import MetadataError, UnsupportedFileError
from captioner.folder.changes import Change
from captioner.folder.inputs import Found, Photo, Problem
from captioner.folder.journal import Journal
from captioner.folder.pending import Entry
from captioner.folder.plan import plan, remember
from captioner.folder.progress import Progress
from captioner.folder.records import Record
from captioner.folder.stopping import uninterrupted
from captioner.folder.targets import Target
from captioner.folder.watching import Watched
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
        retried: how names begin that are tried with them.
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
        retried: tuple[str, ...] = (),
        progress: Progress,
    ) -> None:
        self.journal = journal
        self.load_engine = load_engine
        self.wording = wording
        self.targets = targets
        self.words = words
        self.retry_failed = retry_failed
        self.retried = retried
        self.progress = progress
        self.problems: dict[str, str] = {}
        """Folders and archives that cannot be looked through, with the reason."""
        self.met: set[bytes] = set()
        """Digests of the photos that failed and came by, now or in an earlier run."""
        self._unreadable: set[str] = set()  # problems that the tally counts
        self._engine: Engine | None = None
        self._watched: Watched | None = None
        if journal.held.size:  # what is to be overwritten is not of this run
            remember(targets, journal.path)

    def run(self, found: Iterator[Found]) -> None:
        """Caption all of them, and write batch after batch.

        Raises:
            CaptionerError: the disk is full or the output cannot be written; what was written
                before stays, and the same run again goes on from there.
        """
        photos = self._select(found if self._watched else self._note(found))
        first = next(photos, None)
        if first is None:
            return
        if self._engine is None:
            self._engine = self.load_engine()
        for outcomes in self._engine.run(chain([first], photos)):
            self._write(outcomes)

    def watch(self, find: Callable[[], Iterator[Found]], *, seconds: float) -> None:
        """Caption what is there and what comes, looking again after this many seconds, for ever.

        A file changed less than this long ago may still be on its way: it waits for its turn. What
        was met half copied all the same, and failed, is tried again when it has changed.
        """
        self._watched = Watched(self.journal.held, seconds=seconds)
        while True:
            self.problems = {}
            self.run(self._watched.news(self._note(find())))
            self._forget_mended()
            self.progress.advance()
            time.sleep(seconds)

    def _forget_mended(self) -> None:
        """Let folders and archives that can be looked through now count no longer as failed."""
        assert self._watched is not None
        mended = self._unreadable - self.problems.keys()
        self.progress.tally.failed -= len(mended)
        self._unreadable -= mended
        self._watched.forget(mended)

    def _note(self, found: Iterator[Found]) -> Iterator[Found]:
        """Remember the problems that come by."""
        for item in found:
            if isinstance(item, Problem):
                self.problems[item.name] = item.reason
            yield item

    def _select(self, found: Iterator[Found]) -> Iterator[Photo]:
        """Yield what is to be captioned, and count the others."""
        steps = plan(
            found,
            self.journal.held,
            targets=self.targets,
            retry_failed=self.retry_failed,
            retried=self.retried,
        )
        for step in steps:
            if step.kind == "caption":
                assert isinstance(step.found, Photo)
                yield step.found
            elif step.kind == "done":
                self.progress.tally.before += 1
            elif step.kind == "failed before":
                assert isinstance(step.found, Photo)
                self.met.add(digest(step.found.name))
                if self._watched is not None and self._watched.tries_again(step.found):
                    self.progress.tally.failed -= 1  # counted when it was met
                    yield step.found
                else:
                    self.progress.tally.failed += 1
            elif step.kind == "skip":
                self.progress.skipped(step.found.name, step.reason)
            else:
                self._unreadable.add(step.found.name)
                self.progress.failed(step.found.name, step.reason)

    def _write(self, outcomes: Sequence[tuple[Photo, Sentence | str]]) -> None:
        entries: dict[bytes, Entry] = {}
        for photo, outcome in outcomes:
            key = digest(photo.name)
            twice = entries.get(key)  # a list may name it so
            if key in self.journal.held.captioned or (twice and twice.record.caption):
                self.progress.tally.before += 1
            elif twice:
                self.progress.tally.failed += 1
            elif isinstance(outcome, str):
                entries[key] = _failure(photo, outcome)
            else:
                entry = self._entry(photo, outcome)
                if isinstance(entry, str):
                    self.progress.skipped(photo.name, entry)
                else:
                    entries[key] = entry
        with uninterrupted():  # what is written is also counted
            for record in self.journal.commit(list(entries.values())):
                if record.status == "captioned":
                    self.progress.tally.captioned += 1
                else:
                    self.met.add(digest(record.image))
                    self.progress.failed(record.image, record.reason or "")
        self.progress.advance()

    def _entry(self, photo: Photo, caption: Sentence) -> Entry | str:
        """Put a caption into the form in which it is written, or say why nothing is written."""
        text = self.wording(caption.text, photo=photo)
        plans: list[Change | str] = []
        unsupported: MetadataError | None = None
        for target in self.targets:
            try:
                plans.append(target.plan(photo, text))
            except UnsupportedFileError as error:
                unsupported = error  # a sidecar will do, if there is one
            except MetadataError as error:
                return _failure(photo, str(error).removeprefix(f"{photo.name}: "))
            except OSError as error:
                return _failure(photo, f"{error.filename} cannot be read: {error.strerror}.")
        changes = tuple(plan for plan in plans if isinstance(plan, Change))
        if unsupported is not None and not changes:
            return _failure(photo, str(unsupported).removeprefix(f"{photo.name}: "))
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
