"""Photos in tar archives, read in place."""

import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path


def list_archive(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield the files of an archive as (name, offset in bytes, size in bytes), as they stand in it.

    Raises:
        ValueError: it is compressed, damaged, or no tar archive; what came before is yielded.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for somebody to write
        raise ValueError("a pipe or a device, not a file; save it as a file")
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isreg() and not member.issparse():
                    yield member.name.removeprefix("./"), member.offset_data, member.size
                archive.members = []  # type: ignore[attr-defined]  # tarfile remembers all of them, and a shard may hold many
            if 0 < path.stat().st_size - archive.offset < tarfile.BLOCKSIZE:
                raise tarfile.ReadError("it ends in the middle of a header")
    except tarfile.TarError as error:
        raise ValueError(
            f"not a whole, uncompressed tar archive ({error}); decompress it, or fetch it again"
        ) from error


def read_member(path: Path, *, offset: int, size: int) -> bytes:
    """Return the bytes of one file in an archive.

    Raises:
        ValueError: the archive ends inside it.
        OSError: the archive cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) < size:
        raise ValueError("its archive was cut short; fetch it again")
    return content
