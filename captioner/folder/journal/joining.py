"""Merges the journals of all shards into one."""

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
"""Records per commit."""


def join_shards(journal: Journal, settings: dict[str, Any]) -> None:
    """Merge the journals of all shards into one; repeating it adds nothing.

    Args:
        journal: open; the shards' journals lie beside it.
        settings: the settings it was opened with, and the shards, too, except their shard number.

    Raises:
        CaptionerError: a shard is missing, in use, or was created with other settings.
    """
    for shard, path in list(find_shards(journal.path)):
        with Journal(path, {**settings, "shard": str(shard)}) as part:
            records = (record for record, _ in read_records(part.path))
            while some := list(islice(records, _TOGETHER)):
                journal.commit(
                    [PendingEntry(record=record) for record in newer(some, journal.index)]
                )


def newer(records: Iterable[JournalRecord], index: JournalIndex) -> list[JournalRecord]:
    """Select the records that add to the index.

    These are new photos, and photos captioned or edited since. An edit already in the index wins.
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
