"""The journals of all shards, gathered into one."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from captioner.durable import digest
from captioner.folder.journal.index import JournalIndex, read_records
from captioner.folder.journal.journal import Journal
from captioner.folder.journal.pending import PendingEntry
from captioner.folder.journal.records import JournalRecord
from captioner.folder.sources.shards import find_shards

_TOGETHER = 1000
"""Records that are on disk before the next ones are read."""


def join_shards(journal: Journal, settings: dict[str, Any]) -> None:
    """Take what all shards have done into the journal of the whole; doing it again adds nothing.

    Args:
        journal: open; the shards' lie beside it.
        settings: that it was opened with, and the shards', too, apart from which part they are.

    Raises:
        CaptionerError: a shard is missing or at work, or was begun with other settings.
    """
    for shard, path in list(find_shards(journal.path)):
        with Journal(path, {**settings, "shard": str(shard)}) as part:
            records = (record for record, _ in read_records(part.path))
            while some := list(islice(records, _TOGETHER)):
                journal.commit(
                    [PendingEntry(record=record) for record in newer(some, journal.index)]
                )


def newer(records: Iterable[JournalRecord], index: JournalIndex) -> list[JournalRecord]:
    """Choose the records that say more than what the index knows.

    Those are of photos new to it, or captioned or edited since; what was edited in both stays.
    """
    latest = {digest(record.image): record for record in records}
    return [
        record
        for key, record in latest.items()
        if (key in index.captioned and record.edited and not index.is_edited(key))
        or (
            key not in index.captioned and (record.status == "captioned" or key not in index.failed)
        )
    ]
