"""One run of `captioner folder`, from the photos found to the journal."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Protocol

from captioner.durable import digest
from captioner.errors import MetadataError
from captioner.folder.journal.journal import Journal
from captioner.folder.journal.pending import PendingEntry
from captioner.folder.journal.records import JournalRecord
from captioner.folder.limits import Limits
from captioner.folder.outputs.silence import Silence
from captioner.folder.outputs.wording import Wording
from captioner.folder.plan import plan, remember
from captioner.folder.progress import Progress
from captioner.folder.sidecars.targets import Target
from captioner.folder.sources.inputs import Found, Photo, Problem
from captioner.folder.sources.remote import StrPath
from captioner.folder.stopping import uninterrupted
from captioner.folder.upkeep import Upkeep, noted, stamped
from captioner.folder.watching import Watched
from captioner.result.confidence import Judgement


class Sentence(Protocol):
    """The part of `Caption` that a run needs."""

    @property
    def text(self) -> str:
        """Caption text."""

    @property
    def log_probability(self) -> float:
        """Log-probability of the caption, natural logarithm."""

    @property
    def judgement(self) -> Judgement:
        """Confidence in the caption."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, including `words` and `geometry`."""


class Engine(Protocol):
    """Captions photos. Loading one is slow, so it happens only when there is a photo to caption."""

    def run(self, photos: Iterable[Photo]) -> Iterator[Sequence[tuple[Photo, Sentence | str]]]:
        """Yield each photo with its caption, or with the reason it failed, batch by batch."""


_PATIENCE = 30
"""Pause between two scans of a watched folder, in multiples of a scan's CPU time."""
_LONGEST_PAUSE = 60.0
"""Longest pause between two scans, in seconds."""
_DIGITS = 4
"""Decimal places of confidence and probability in the journal."""
_WORD_KEYS = ("words", "geometry")
"""Keys of `Caption.to_dict` that hold words and attention."""


class Job:
    """Captions the photos found that are not done yet.

    Args:
        journal: open.
        load_engine: creates the engine; called when the first photo needs a caption.
        wording: template for the caption text.
        silence: decides which captions are withheld.
        targets: files that receive captions in addition to the journal.
        words: whether records include probability and attention of every word.
        retry_failed: caption only photos that failed before.
        retried: name prefixes of folders and archives that are retried with them.
        progress: reports progress and failures.
        root: folder that names are relative to, or the archive.
        limits: conditions that stop the run early.
    """

    def __init__(
        self,
        journal: Journal,
        load_engine: Callable[[], Engine],
        *,
        wording: Wording,
        silence: Silence = Silence(),  # noqa: B008  # frozen
        targets: Sequence[Target],
        words: bool,
        retry_failed: bool,
        retried: tuple[str, ...] = (),
        progress: Progress,
        root: StrPath,
        limits: Limits | None = None,
    ) -> None:
        self.journal = journal
        self.load_engine = load_engine
        self.wording = wording
        self.silence = silence
        self.targets = targets
        self.words = words
        self.retry_failed = retry_failed
        self.retried = retried
        self.progress = progress
        self.root = root
        self.limits = limits or Limits()
        self.problems: dict[str, str] = {}
        """Folders and archives that cannot be listed, with the reason."""
        self.met: set[bytes] = set()
        """Digests of the failed photos seen in this run, whichever run they failed in."""
        self._unreadable: set[str] = set()  # problems counted in the tally
        self._replaced: set[bytes] = set()  # digests of photos to caption again
        self.upkeep = Upkeep(journal, targets, progress=progress, root=root)
        self._engine: Engine | None = None
        self._watched: Watched | None = None
        if journal.index.size:  # empty with --overwrite: old captions claim no files
            remember(targets, journal.path, root)

    def run(self, found: Iterator[Found]) -> None:
        """Caption all of them, committing each batch.

        Raises:
            CaptionerError: the disk is full or the output cannot be written. Committed batches
                are kept, and the same run resumes after them.
        """
        photos = self._select(found if self._watched else self._note(found))
        first = next(photos, None)
        if first is not None:
            if self._engine is None:
                self._engine = self.load_engine()
            for outcomes in self._engine.run(chain([first], photos)):
                self._write(outcomes)
        self.upkeep.write()

    def watch(self, find: Callable[[], Iterator[Found]], *, seconds: float) -> None:
        """Caption existing and arriving photos, rescanning every `seconds`; does not return.

        The pause grows where a scan itself takes long, so that it never keeps a core busy. Files
        modified within the last `seconds` may still be incomplete and wait. A file that failed
        because it was incomplete is retried once it has changed.
        """
        self._watched = Watched(self.journal.index, seconds=seconds)
        while True:
            began = time.thread_time()
            self.problems = {}
            self.run(self._watched.news(self._note(find())))
            self._forget_mended()
            self.limits.check()
            self.progress.advance()
            rest = _PATIENCE * (time.thread_time() - began)
            time.sleep(max(seconds, min(rest, _LONGEST_PAUSE)))

    def _forget_mended(self) -> None:
        """Stop counting folders and archives as failed once they can be listed again."""
        assert self._watched is not None
        mended = self._unreadable - self.problems.keys()
        self.progress.tally.failed -= len(mended)
        self._unreadable -= mended
        self._watched.forget(mended)

    def _note(self, found: Iterator[Found]) -> Iterator[Found]:
        """Record problems as they pass through."""
        for item in found:
            if isinstance(item, Problem):
                self.problems[item.name] = item.reason
            yield item

    def _select(self, found: Iterator[Found]) -> Iterator[Photo]:
        """Yield the photos to caption, and count all others."""
        steps = plan(
            found,
            self.journal.index,
            targets=self.targets,
            retry_failed=self.retry_failed,
            retried=self.retried,
        )
        for step in steps:
            if step.kind == "caption":
                assert isinstance(step.found, Photo)
                yield replace(step.found, stamp=step.found.look())
            elif step.kind == "caption again":
                assert isinstance(step.found, Photo)
                self._replaced.add(digest(step.found.name))
                yield replace(step.found, stamp=step.found.look())
            elif step.kind == "write":
                assert isinstance(step.found, Photo)
                self.upkeep.add(step.found)
            elif step.kind == "done":
                # A photo whose edited caption could not be written counts as failed instead.
                self.progress.tally.before += step.found.name not in self.upkeep.unwritten
            elif step.kind == "failed before":
                assert isinstance(step.found, Photo)
                self.met.add(digest(step.found.name))
                if self._watched is not None and self._watched.tries_again(step.found):
                    self.progress.tally.failed -= 1  # already counted
                    yield step.found
                else:
                    self.progress.tally.failed += 1
            elif step.kind == "skip":
                self.progress.skipped(step.found.name, step.reason)
            else:
                self._unreadable.add(step.found.name)
                self.progress.failed(step.found.name, step.reason)

    def _write(self, outcomes: Sequence[tuple[Photo, Sentence | str]]) -> None:
        entries: dict[bytes, PendingEntry] = {}
        for photo, outcome in outcomes:
            key = digest(photo.name)
            twice = entries.get(key)  # a list may name a photo twice
            done = key in self.journal.index.captioned and key not in self._replaced
            if done or (twice and twice.record.caption):
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
        with uninterrupted():  # so that the tally matches the disk
            for record, reason in self.journal.commit(list(entries.values())):
                self.limits.count(failed=reason is not None)
                if reason is None:
                    self.progress.tally.captioned += 1
                else:
                    self.met.add(digest(record.image))
                    self.progress.failed(record.image, reason)
                    if record.caption is not None:  # the previous caption stays
                        self.upkeep.unwritten[record.image] = reason
        self._replaced -= entries.keys()
        self.progress.advance()
        self.limits.check()

    def _entry(self, photo: Photo, caption: Sentence) -> PendingEntry | str:
        """Return the journal entry for a caption, or the reason for skipping the photo."""
        key = digest(photo.name)
        record = describe(
            photo, caption, wording=self.wording, silence=self.silence, words=self.words
        )
        silent = self.silence.keeps(caption.judgement)
        before = self.journal.index.read(key) if key in self._replaced else None
        if silent:
            return PendingEntry(record=noted(record, before, ()), changes=(), before=before)
        try:
            changes = self.upkeep.plan(photo, record, self.targets, before=before)
        except MetadataError as error:
            return _failure(photo, str(error).removeprefix(f"{photo.name}: "))
        if isinstance(changes, str):
            if before is None:
                return changes
            changes = ()  # human captions in files are kept
        if any(change.inside for change in changes) and photo.look() != photo.stamp:
            record = replace(record, modified=None)  # photo changed meanwhile: next run redoes it
        return PendingEntry(record=noted(record, before, changes), changes=changes, before=before)


def describe(
    photo: Photo, caption: Sentence, *, wording: Wording, silence: Silence, words: bool
) -> JournalRecord:
    """Convert a caption to its journal record."""
    judged = caption.judgement
    return JournalRecord(
        image=photo.name,
        status="captioned",
        caption="" if silence.keeps(judged) else wording(caption.text, photo=photo),
        log_probability=caption.log_probability,
        confidence=_rounded(judged.confidence),
        level=judged.level,
        photo_probability=_rounded(judged.photo_probability),
        is_photo=judged.is_photo,
        **({name: caption.to_dict()[name] for name in _WORD_KEYS} if words else {}),
        **stamped(photo.stamp),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _failure(photo: Photo, reason: str) -> PendingEntry:
    return PendingEntry(record=JournalRecord(image=photo.name, status="failed", reason=reason))
