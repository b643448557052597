"""What is made of a journal at the end of a run: tables, a report of failures, a gallery."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.folder.journal.journal import Journal
from captioner.folder.outputs.edits import are_written, remember_tables
from captioner.folder.outputs.failures import write_report
from captioner.folder.outputs.tables import prepare_table, write_table
from captioner.folder.sources.remote import StrPath


@dataclass(frozen=True, kw_only=True)
class Results:
    """Where they go."""

    tables: Sequence[Path]
    """CSV and Parquet files, and data sets."""
    words: bool
    """Whether the journal holds words."""
    gallery: Path | None
    """Its folder."""
    root: StrPath
    """The folder that names in the journal are relative to, or the archive."""

    def prepare(self) -> None:
        """Make sure that they can be written, before hours of work begin.

        Raises:
            CaptionerError: they cannot.
        """
        for table in self.tables:
            prepare_table(table)
        if self.gallery:
            from captioner.folder.outputs.album import prepare_album  # noqa: PLC0415  # only if there is one

            prepare_album(self.gallery)

    def write(
        self,
        journal: Journal,
        problems: Mapping[str, str],
        *,
        met: Container[bytes],
        whole: bool,
    ) -> None:
        """Write them as the journal is now.

        Args:
            journal: open, and tidy.
            problems: folders and archives that could not be looked through, with the reason.
            met: digests of the photos that failed and came by in this run.
            whole: with the gallery, which takes longest.

        Raises:
            CaptionerError: one of them cannot be written.
        """
        write_report(journal, problems, met=met, root=self.root)
        if not are_written(self.tables, journal.path):
            for table in self.tables:
                write_table(table, journal.path, words=self.words, root=self.root)
            remember_tables(self.tables, journal.path)
        if self.gallery and whole:
            from captioner.folder.outputs.album import write_album  # noqa: PLC0415

            write_album(self.gallery, journal.path, root=self.root)
