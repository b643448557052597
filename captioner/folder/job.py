"""One run of `captioner folder`, from the photos found to the journal."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from itertools import chain
from typing import Protocol

from captioner.durable import digest
from captioner.errors import MetadataError
from captioner.folder.journal.journal import Journal
from captioner.folder.journal.pending import PendingEntry
from captioner.folder.journal.records import JournalRecord
from captioner.folder.limits import Limits
from captioner.folder.outputs.template import CaptionTemplate, ConfidenceFilter
from captioner.folder.plan import claim_shared, plan
from captioner.folder.progress import Progress
from captioner.folder.sidecars.targets import Target
from captioner.folder.sources.inputs import Found, Photo, Problem
from captioner.folder.sources.remote import StrPath
from captioner.folder.stopping import defer_signals
from captioner.folder.updating import SidecarUpdater, stamp_fields, with_files
from captioner.folder.watching import Watched
from captioner.result.caption import Caption


class Engine(Protocol):
    """Captions photos. Loading one is slow, so it happens only when there is a photo to caption."""

    def run(self, photos: Iterable[Photo]) -> Iterator[Sequence[tuple[Photo, Caption | str]]]:
        """Yield each photo with its caption, or with the reason it failed, batch by batch."""


_PATIENCE = 30
"""Pause between two scans of a watched folder, in multiples of a scan's CPU time."""
_LONGEST_PAUSE = 60.0
"""Longest pause between two scans, in seconds."""
_DIGITS = 4
"""Decimal places of confidence and probability in the journal."""
_WORD_KEYS = ("words", "geometry")
"""Keys of `Caption.to_dict` that hold words and attention."""


@dataclass(eq=False)
class Job:
    """Captions the photos found that are not done yet."""

    journal: Journal
    """The journal, open."""
    load_engine: Callable[[], Engine]
    """Creates the engine; called when the first photo needs a caption."""
    _: KW_ONLY
    template: CaptionTemplate
    """Template for the caption text."""
    confidence_filter: ConfidenceFilter = ConfidenceFilter()  # noqa: RUF009  # frozen
    """Decides which captions are withheld."""
    targets: Sequence[Target]
    """Files that receive captions in addition to the journal."""
    words: bool
    """Whether records include probability and attention of every word."""
    retry_failed: bool
    """Caption only photos that failed before."""
    retried: tuple[str, ...] = ()
    """Name prefixes of folders and archives that are retried with them."""
    progress: Progress
    """Reports progress and failures."""
    root: StrPath
    """Folder that names are relative to, or the archive."""
    limits: Limits = field(default_factory=Limits)
    """Conditions that stop the run early."""

    def __post_init__(self) -> None:
        self.problems: dict[str, str] = {}
        """Folders and archives that cannot be listed, with the reason."""
        self.met: set[bytes] = set()
        """Digests of the failed photos seen in this run, whichever run they failed in."""
        self.failed_before = 0
        """Number of those that failed in an earlier run, and were not retried."""
        self._unreadable: set[str] = set()  # problems counted in the tally
        self._replaced: set[bytes] = set()  # digests of photos to caption again
        self.updater = SidecarUpdater(
            self.journal, self.targets, progress=self.progress, root=self.root
        )
        self._engine: Engine | None = None
        self._watched: Watched | None = None
        if self.journal.index.size:  # empty with --overwrite: old captions claim no files
            claim_shared(self.targets, self.journal.path, self.root)

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
        self.updater.write()

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
            self.run(self._watched.new_items(self._note(find())))
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
            photo = step.found
            if step.kind == "skip":
                self.progress.skipped(photo.name, step.reason)
            elif not isinstance(photo, Photo):
                self._unreadable.add(photo.name)
                self.progress.failed(photo.name, step.reason)
            elif step.kind == "write":
                self.updater.add(photo)
            elif step.kind == "done":
                # A photo whose edited caption could not be written counts as failed instead.
                self.progress.tally.before += photo.name not in self.updater.unwritten
            elif step.kind == "failed before":
                self.met.add(digest(photo.name))
                if self._watched is not None and self._watched.should_retry(photo):
                    self.progress.tally.failed -= 1  # already counted
                    yield photo
                else:
                    self.progress.tally.failed += 1
                    self.failed_before += 1
            else:
                if step.kind == "caption again":
                    self._replaced.add(digest(photo.name))
                yield replace(photo, stamp=photo.current_stamp())

    def _write(self, outcomes: Sequence[tuple[Photo, Caption | str]]) -> None:
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
        with defer_signals():  # so that the tally matches the disk
            for record, reason in self.journal.commit(list(entries.values())):
                self.limits.count(failed=reason is not None)
                if reason is None:
                    self.progress.tally.captioned += 1
                else:
                    self.met.add(digest(record.image))
                    self.progress.failed(record.image, reason)
                    if record.caption is not None:  # the previous caption stays
                        self.updater.unwritten[record.image] = reason
        self._replaced -= entries.keys()
        self.progress.advance()
        self.limits.check()

    def _entry(self, photo: Photo, caption: Caption) -> PendingEntry | str:
        """Return the journal entry for a caption, or the reason for skipping the photo."""
        key = digest(photo.name)
        record = make_record(
            photo,
            caption,
            template=self.template,
            confidence_filter=self.confidence_filter,
            words=self.words,
        )
        withheld = self.confidence_filter.withholds(caption.judgement)
        before = self.journal.index.read(key) if key in self._replaced else None
        if withheld:
            return PendingEntry(record=with_files(record, before, ()), changes=(), before=before)
        try:
            changes = self.updater.plan(photo, record, self.targets, before=before)
        except MetadataError as error:
            return _failure(photo, str(error).removeprefix(f"{photo.name}: "))
        if isinstance(changes, str):
            if before is None:
                return changes
            changes = ()  # human captions in files are kept
        if any(change.inside for change in changes) and photo.current_stamp() != photo.stamp:
            record = replace(record, modified=None)  # photo changed meanwhile: next run redoes it
        return PendingEntry(
            record=with_files(record, before, changes), changes=changes, before=before
        )


def make_record(
    photo: Photo,
    caption: Caption,
    *,
    template: CaptionTemplate,
    confidence_filter: ConfidenceFilter,
    words: bool,
) -> JournalRecord:
    """Convert a caption to its journal record."""
    judged = caption.judgement
    return JournalRecord(
        image=photo.name,
        status="captioned",
        caption="" if confidence_filter.withholds(judged) else template(caption.text, photo=photo),
        log_probability=caption.log_probability,
        confidence=_rounded(judged.confidence),
        level=judged.level,
        photo_probability=_rounded(judged.photo_probability),
        is_photo=judged.is_photo,
        **({name: caption.to_dict()[name] for name in _WORD_KEYS} if words else {}),
        **stamp_fields(photo.stamp),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _failure(photo: Photo, reason: str) -> PendingEntry:
    return PendingEntry(record=JournalRecord(image=photo.name, status="failed", reason=reason))
