"""Images by name, read in place from folders, tar archives and zip archives."""

import glob
import io
import os
import time
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from captioner.errors import DataError
from captioner.folder.sources.archives import list_archive
from data.packed import PackedDict

Result = TypeVar("Result")


class _Place(NamedTuple):
    """Location of the bytes of one image: a file, or a range of an archive."""

    path: str
    offset: int = 0
    size: int | None = None  # in bytes; None is the rest of the file
    zipped: int | None = None  # in a zip archive, behind a header: compressed bytes, 0 for plain


_ZIP_HEADER = 30  # bytes before the name; the last four are the lengths of name and extra field
_DEFLATED = zipfile.ZIP_DEFLATED
_AT_ONCE = 16
"""Files read concurrently, to hide the latency of network mounts."""
_SLOW = 0.002
"""Seconds per file above which threads pay off; reads from memory and local SSDs are faster."""
_SLOW_MEMBER = 0.0005
"""Likewise, per member of an archive."""


class ImageSource:
    """Images of several folders and archives, by name.

    An image's name is its path inside its folder or archive. A shorter or longer path also matches
    if it is unambiguous: `dog.jpg` and `photos/val/dog.jpg` match `val/dog.jpg`, but the latter
    never matches `train/dog.jpg`. If no name matches exactly, composed (NFC) and decomposed (NFD,
    macOS) accents are treated as equal.

    Archives are indexed once, on construction, and never unpacked. Every read opens its file anew,
    so threads and workers, forked or spawned, can share one source.
    """

    def __init__(self, paths: str | Path | Iterable[str | Path]) -> None:
        """Index the files.

        Args:
            paths: one or several folders (searched recursively, including `.tar` archives in
                them), `.tar` and `.zip` archives, or patterns such as `shards/train-*.tar`.

        Raises:
            DataError: a path does not exist, an archive is damaged or compressed, or there are no
                images.
        """
        given = [paths] if isinstance(paths, str | Path) else list(paths)
        self.paths = tuple(str(path) for path in given)
        places: dict[str, list[_Place]] = defaultdict(list)
        for name, place in _index([found for path in self.paths for found in _expand(path)]):
            if place not in places[name]:  # given twice: a folder, and an archive inside it
                places[name].append(place)
        if not places:
            raise DataError(f"There are no images in {', '.join(self.paths) or 'an empty list'}.")
        self._places = PackedDict(places)

    @cached_property
    def _by_file_name(self) -> PackedDict[str, list[str]]:
        """Full names by file name; built only if a name does not match exactly."""
        names: dict[str, list[str]] = defaultdict(list)
        for name in self._places:
            names[_compose(PurePosixPath(name).name)].append(name)
        return PackedDict(names)

    def names(self) -> tuple[str, ...]:
        """Return all names: paths inside their folders or archives."""
        return tuple(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: str) -> bool:
        """Whether exactly one image matches this name."""
        return len(self._find(name)) == 1

    def read(self, name: str) -> bytes:
        """Return the encoded image.

        Raises:
            DataError: no image or several match this name, or the file has changed or cannot be
                read.
        """
        place = self._only(name)
        try:
            with open(place.path, "rb", buffering=0) as file:
                if place.zipped is not None:
                    content = _unzip(file, place)
                else:
                    file.seek(place.offset)
                    content = file.read() if place.size is None else file.read(place.size)
        except (OSError, zlib.error) as error:
            raise DataError(f"Image {name!r} cannot be read: {error}.") from error
        if place.size is not None and len(content) < place.size:
            raise DataError(
                f"{place.path} ends inside image {name!r}: the archive was truncated after it was "
                "indexed. Download it again."
            )
        return content

    def read_each(self, names: Iterable[str]) -> Iterator[bytes]:
        """Yield the encoded images, in this order.

        As soon as a read is slow, the remaining ones are read concurrently.

        Raises:
            DataError: as `read`, when the image is due.
        """
        return _map(self.read, names, expected=lambda content: _SLOW)

    def size(self, name: str) -> int:
        """Return the size of the encoded image in bytes.

        Raises:
            DataError: no image or several match this name, or its file is gone.
        """
        place = self._only(name)
        return _status(place, name).st_size if place.size is None else place.size

    def stamps(self, names: Iterable[str]) -> Iterator[tuple[int, ...]]:
        """Yield numbers that change when an image does, in this order, without reading the images.

        They are size and modification time, in nanoseconds, of the image's file or archive, and its
        place in the archive. A copy of the data has the same ones only if it keeps the times.

        Raises:
            DataError: as `size`, when the image is due.
        """
        archives: dict[str, os.stat_result] = {}
        for name in names:
            place = self._only(name)
            status = archives.get(place.path) or _status(place, name)
            if place.size is not None:
                archives[place.path] = status
            yield status.st_size, status.st_mtime_ns, place.offset, place.size or 0

    def require(self, names: Iterable[str]) -> None:
        """Check that each of these names matches exactly one image.

        Raises:
            DataError: some do not; the message counts them and names the first three.
        """
        wanted = list(names)
        absent = [name for name in wanted if name not in self]
        if len(absent) == 1:
            self._only(absent[0])
        if absent:
            shown = ", ".join(map(repr, absent[:3])) + (", ..." if len(absent) > 3 else "")
            raise DataError(
                f"{len(absent)} of {len(wanted)} images with captions are missing or ambiguous in "
                f"{self._describe()}: {shown}. "
                + (
                    self._explain_backslashes(absent[0])
                    or "Add their folder or archive, or remove them from the caption file."
                )
            )

    def _find(self, name: str) -> list[_Place]:
        """Return all matches; an exact match excludes longer and shorter paths."""
        if name not in self._places:
            name = _tidy(name)
        if name in self._places:
            return self._places[name]
        near = self._by_file_name.get(_compose(PurePosixPath(name).name), [])
        fits = [held for held in near if _ends_alike(name, held)] or [
            held for held in near if _ends_alike(_compose(name), _compose(held))
        ]
        return [place for held in fits for place in self._places[held]]

    def _only(self, name: str) -> _Place:
        places = self._find(name)
        if not places:
            raise DataError(
                f"Image {name!r} is not in {self._describe()}. "
                + (
                    self._explain_backslashes(name)
                    or "Add its folder or archive, or remove it from the caption file."
                )
            )
        if len(places) > 1:
            raise DataError(
                f"Image {name!r} is ambiguous: {len(places)} files match, such as one in "
                f"{places[0].path} and one in {places[1].path}. Add its folder to the name, or "
                "give only one of the sources."
            )
        return places[0]

    def _explain_backslashes(self, name: str) -> str | None:
        """Explain that a path uses Windows separators, if it exists otherwise."""
        path = name.replace("\\", "/")
        if path == name or path not in self:
            return None
        return f"Its path uses backslashes; write {path!r} in the caption file."

    def _describe(self) -> str:
        return f"{', '.join(self.paths)} ({len(self)} images, such as {next(iter(self._places))!r})"


def _status(place: _Place, name: str) -> os.stat_result:
    try:
        return os.stat(place.path)
    except OSError as error:
        raise DataError(
            f"Image {name!r} is gone: {error}. Put it back, and run the same command again."
        ) from error


def _expand(path: str) -> list[str]:
    """Turn a path or pattern into paths that exist."""
    found = [path] if os.path.exists(path) else sorted(glob.glob(path))
    if not found:
        raise DataError(f"Image folder or archive {path} does not exist. Check the path.")
    return found


def _index(paths: list[str]) -> Iterator[tuple[str, _Place]]:
    """Index the images of folders and archives."""
    files = [file for path in dict.fromkeys(paths) for file in _files(path)]
    archives = [path for name, path in files if name is None]
    damaged: list[str] = []
    indexed = _map(
        partial(_index_archive, damaged=damaged),
        archives,
        expected=lambda found: _SLOW_MEMBER * len(found),
    )
    for name, path in files:
        if name is None:
            yield from next(indexed)
        else:
            yield name, _Place(path)
    if damaged:
        raise DataError("\n".join(sorted(damaged)))


def _map(
    read: Callable[[str], Result], files: Iterable[str], *, expected: Callable[[Result], float]
) -> Iterator[Result]:
    """Apply `read` in order, and concurrently as soon as one call is slow.

    Threads from the start would only compete for the interpreter on local disks: COCO's shards took
    3 times as long.

    Args:
        read: reads one file.
        files: the files.
        expected: longest time, in seconds, that such a result may take on a local disk.
    """
    left = iter(files)
    for file in left:
        started = time.perf_counter()
        result = read(file)
        slow = time.perf_counter() - started > expected(result)
        yield result
        if slow:
            break
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(read, left)


def _files(path: str) -> Iterator[tuple[str | None, str]]:
    """Yield (name, path) of every image file, and (None, path) of every archive."""
    if not os.path.isdir(path):
        yield None, path
        return
    # Data sets are often symlinked into place, so links to folders are followed.
    for folder, inside, files in os.walk(path, followlinks=True):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        above = "" if folder == path else _tidy(os.path.relpath(folder, path)) + "/"
        for file in sorted(name for name in files if not name.startswith(".")):
            yield None if file.endswith(".tar") else above + file, os.path.join(folder, file)


def _index_archive(path: str, *, damaged: list[str]) -> list[tuple[str, _Place]]:
    """Index the images of an archive; why it cannot be read is added to the list."""
    try:
        return list(_index_zip(path) if path.endswith(".zip") else _index_tar(path))
    except DataError as error:
        damaged.append(str(error))
        return []


def _index_tar(path: str) -> Iterator[tuple[str, _Place]]:
    """Index the images; WebDataset's JSON files with captions are skipped."""
    try:
        contents = list_archive(Path(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}.") from error
    if contents.damage:
        raise DataError(f"{path}: {contents.damage}.")
    for name, (offset, size) in contents.files.items():
        if not name.endswith(".json"):
            yield _tidy(name), _Place(path, offset, size)


def _index_zip(path: str) -> Iterator[tuple[str, _Place]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(
            f"{path} is not a complete zip archive ({error}). Resume the download, or download it "
            "again."
        ) from error
    for member in members:
        if member.is_dir():
            continue
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, _DEFLATED):
            raise DataError(
                f"{path}: {member.filename!r} is encrypted, or compressed with a method other than "
                "deflate. Unpack the archive."
            )
        taken = member.compress_size if member.compress_type == _DEFLATED else 0
        yield (
            _tidy(member.filename),
            _Place(path, member.header_offset, member.file_size, zipped=taken),
        )


def _unzip(file: io.FileIO, place: _Place) -> bytes:
    """Read one member, after its local header of variable length."""
    file.seek(place.offset)
    header = file.read(_ZIP_HEADER)
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    file.seek(place.offset + _ZIP_HEADER + names)
    if place.zipped:
        return zlib.decompress(file.read(place.zipped), wbits=-zlib.MAX_WBITS)
    return file.read(place.size or 0)


def _tidy(name: str) -> str:
    return str(PurePosixPath(name.replace(os.sep, "/")))


def _ends_alike(one: str, other: str) -> bool:
    parts, others = PurePosixPath(one).parts, PurePosixPath(other).parts
    shared = min(len(parts), len(others))
    return parts[-shared:] == others[-shared:]


def _compose(name: str) -> str:
    return unicodedata.normalize("NFC", name)
