"""Everything written at the end of a run: tables, the list of failures, the gallery."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.durable import explained, make_folder
from captioner.folder.journal.journal import Journal
from captioner.folder.outputs.edits import are_written, remember_tables
from captioner.folder.outputs.failures import write_report
from captioner.folder.outputs.tables import write_table
from captioner.folder.sources.remote import StrPath


@dataclass(frozen=True, kw_only=True)
class Results:
    """Output paths, and how to write them."""

    tables: Sequence[Path]
    """CSV files, Parquet files and data sets."""
    words: bool
    """Whether the journal includes words."""
    gallery: Path | None
    """Folder of the gallery; None for no gallery."""
    root: StrPath
    """Folder that names in the journal are relative to, or the archive."""

    def prepare(self) -> None:
        """Check, before the run, that all outputs can be written.

        Raises:
            CaptionerError: an output cannot be written.
        """
        for table in self.tables:
            with explained(table, option="--output"):
                make_folder(table.parent)
        if self.gallery:
            from captioner.folder.outputs.gallery import prepare_gallery  # noqa: PLC0415  # loads Pillow

            prepare_gallery(self.gallery)

    def write(
        self,
        journal: Journal,
        problems: Mapping[str, str],
        *,
        met: Container[bytes],
        whole: bool,
    ) -> None:
        """Write all outputs from the journal's current content.

        Args:
            journal: open, and tidied.
            problems: folders and archives that could not be listed, with the reason.
            met: digests of the failed photos seen in this run.
            whole: whether to write the gallery, too, which takes longest.

        Raises:
            CaptionerError: an output cannot be written.
        """
        write_report(journal, problems, met=met, root=self.root)
        if not are_written(self.tables, journal.path):
            for table in self.tables:
                write_table(table, journal.path, words=self.words, root=self.root)
            remember_tables(self.tables, journal.path)
        if self.gallery and whole:
            from captioner.folder.outputs.gallery import export_gallery  # noqa: PLC0415

            export_gallery(self.gallery, journal.path, root=self.root)
