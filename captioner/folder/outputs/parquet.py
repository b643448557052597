"""Parquet tables."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from captioner.errors import MissingExtraError
from captioner.folder.journal.records import JournalRecord
from captioner.folder.outputs.contract import COLUMNS, Table, read_columns, refused
from captioner.folder.sources.remote import StrPath
from captioner.interchange import portable

_GROUP = 1000
"""Rows per row group, held in memory together."""


class ParquetTable(Table):
    """One row per photo with typed columns, optionally including words."""

    def check(self, path: Path, root: StrPath) -> None:
        """Check that pyarrow is installed."""
        _import_arrow(path)

    def write(self, path: Path, records: Iterator[JournalRecord], *, words: bool) -> None:
        """Write row groups; with `words`, a column of that name.

        The column exists even if no photo has words, so that all shards share one schema.
        """
        arrow, parquet = _import_arrow(path)
        schema = _schema(arrow, words=words)
        with parquet.ParquetWriter(path, schema) as writer:
            while part := list(islice(records, _GROUP)):
                rows = [portable(record.to_dict()) for record in part]
                writer.write_table(arrow.Table.from_pylist(rows, schema=schema))

    def read(self, path: Path) -> Iterator[tuple[str, str]]:
        """Yield photo names and captions."""
        arrow, parquet = _import_arrow(path)
        try:
            file = parquet.ParquetFile(path)
            read_columns(path, [name for name in file.schema_arrow.names if name != "words"])
            for batch in file.iter_batches(columns=["image", "caption"]):
                for row in batch.to_pylist():
                    image, caption = row["image"], row["caption"] or ""
                    if not isinstance(image, str) or not isinstance(caption, str):
                        raise refused(path, f"it has a row for {image!r} with {caption!r}")
                    yield image, caption
        except (arrow.ArrowException, OSError) as error:
            raise refused(path, f"it cannot be read ({error})") from error


def _schema(arrow: Any, *, words: bool) -> Any:
    """Return the Arrow schema."""
    text, number = arrow.string(), arrow.float64()
    kinds = dict.fromkeys(("log_probability", "confidence", "photo_probability"), number)
    kinds["is_photo"] = arrow.bool_()
    columns = [(name, kinds.get(name, text)) for name in COLUMNS]
    if words:  # as in `Caption.to_dict`
        weights = arrow.list_(arrow.list_(number))
        attention = arrow.struct([("grid", arrow.list_(arrow.int64())), ("weights", weights)])
        word = [("word", text), ("probability", number), ("doubtful", arrow.bool_())]
        word += [("gate", number), ("entropy", number)]
        columns.append(("words", arrow.list_(arrow.struct([*word, ("attention", attention)]))))
    return arrow.schema(columns)


def _import_arrow(path: Path) -> tuple[Any, Any]:
    """Return `pyarrow` and `pyarrow.parquet`.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: PLC0415  # an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError(
            f"{path}: Parquet needs pyarrow; install it: pip install 'captioner[parquet]'"
        ) from None
    return pyarrow, parquet
