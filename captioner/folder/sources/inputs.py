"""Finds photos in a folder, a list or a tar archive, in a stable order.

Each may lie on disk or in an object store. In a folder, a file is a photo if its extension or its
first bytes say so. The decoder later goes by content alone, so a PNG named `photo.jpg` works.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from captioner.errors import CaptionerError, ImageError
from captioner.folder.sources import remote
from captioner.folder.sources.archives import (
    Contents,
    is_packed,
    list_archive,
    read_member,
    refuse_packed,
)
from captioner.folder.sources.filters import NO_PHOTOS, Filter
from captioner.folder.sources.lists import is_comment, read_list
from captioner.folder.sources.remote import StrPath, is_remote
from captioner.folder.sources.stamps import Stamp
from captioner.photo.kinds import has_photo_signature

_SUFFIXES = re.compile(
    r"\.(avif|bmp|dib|gif|hei[cf]|hif|ico|j2k|jfif|jp2|jpe?g?|jxl|mpo|p[bgnp]m|png|psd|tga|tiff?|webp"
    r"|3fr|arw|cr[23w]|dng|erf|iiq|kdc|mef|mos|mrw|nef|nrw|orf|pef|raf|rw[2l]|sr[2fw]|x3f)",
    re.IGNORECASE,
)
"""Extensions of photos: such a file is captioned, or fails with a reason."""
_OTHERS = re.compile(
    r"\.(csv|db|html?|ini|jsonl?|log|md|parquet|pdf|py|toml|[ct]sv|txt|unfinished|xm[lp]|ya?ml|zip"
    r"|aria2|crdownload|download|filepart|opdownload|part|partial|tmp)",
    re.IGNORECASE,
)
"""Extensions of other files common beside photos, and of incomplete downloads; these are not
opened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """A photo to caption, not opened yet."""

    name: str
    """Name in the journal."""
    path: str
    """Path or URL of the photo, or of the archive it lies in."""
    offset: int | None = None
    """Offset in the archive, in bytes; None outside archives."""
    size: int = 0
    """Size in the archive, in bytes."""
    stamp: Stamp | None = None
    """Stamp before it was read."""

    def current_stamp(self) -> Stamp | None:
        """Return its current stamp; None if it cannot be accessed."""
        if self.offset is not None:
            return Stamp(size=self.size, modified=None)
        if is_remote(self.path):  # from the listing, without another request
            return self.stamp or remote.stamp_of(self.path)
        return Stamp.of_file(self.path)

    def read(self) -> str | bytes:
        """Return the argument for `Captioner.prepare`: a path, or bytes from an archive or store.

        Raises:
            ImageError: it cannot be read, or is a pipe or a device, which could block for ever.
        """
        try:
            if self.offset is not None:
                return read_member(self.path, offset=self.offset, size=self.size)
            if is_remote(self.path):
                return remote.read(self.path)
            mode = os.stat(self.path).st_mode
        except ValueError as error:
            raise ImageError(f"{self.name}: {error}.") from error
        except CaptionerError as error:  # a missing package, perhaps on this machine only
            raise ImageError(f"{self.name}: {str(error).removeprefix(f'{self.name}: ')}") from error
        except OSError as error:
            if self.offset is None and not is_remote(self.path):
                return self.path  # the loader reports the error
            of = "" if self.path == self.name else f"{self.path}: "
            raise ImageError(f"{self.name}: {of}{error.strerror}.") from error
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ImageError(f"{self.name}: not a regular file; save it as a file.")
        return self.path


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A folder or archive that cannot be listed, or an archive member that cannot be read."""

    name: str
    reason: str
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Replaced:
    """A photo in an archive that is skipped because a later one has the same name."""

    name: str
    """Its name, with its number among those of the same name."""
    reason: str
    path: str


Found = Photo | Problem | Replaced


def find_photos(root: StrPath, chosen: Filter) -> Iterator[Found]:
    """Find photos in a folder, recursively and sorted by name, or in a tar archive.

    The root may be in an object store. Symbolic links are followed, except to a parent folder. Tar
    archives in a folder are treated as folders, with their members in archive order.

    Raises:
        CaptionerError: the folder does not exist.
        OSError: the object store cannot be reached.
    """
    if remote.is_folder(root) if is_remote(root) else os.path.isdir(root):
        yield from _walk(root, chosen)
    elif is_remote(root) or os.path.exists(root):
        for found in _members(os.fspath(root), "", chosen):
            if found.name == str(root) or chosen.shard.contains(found.name):
                yield found
    else:
        raise CaptionerError(f"{root}: no such folder; check the path.")


def listed_photos(file: BinaryIO, root: StrPath, chosen: Filter, *, end: bytes) -> Iterator[Found]:
    """Yield the photos on a list of paths; a tar archive on the list stands for its members.

    Args:
        file: the list; empty lines are ignored, and names need not be valid UTF-8.
        root: folder that relative paths are relative to.
        chosen: applied to the paths as listed; dot files are included, since they are named.
        end: terminator of each path: a newline or a NUL byte.

    Raises:
        CaptionerError: paths end with the other terminator.
    """
    chosen = replace(chosen, hidden=True)
    for name in read_list(file, root, end=end):
        if not chosen.shard.contains(name):
            continue
        if is_comment(name, root):
            reason = "no such file; if it is a comment, remove it: lists contain only paths."
            yield Problem(name=name, reason=reason, path=name)
            continue
        path, plain = remote.join(root, name), name.removeprefix("./")
        if os.path.splitext(name)[1].lower() == ".tar" and _is_file(path):
            if not chosen.excludes(plain):
                yield from _members(path, f"{name}/", chosen)
        elif is_packed(name) and _is_file(path):
            yield from _packed(path, name, chosen)
        elif chosen.accepts(plain):
            yield Photo(name=name, path=path)


def _is_file(path: str) -> bool:
    """Whether a file exists; assumed for objects in stores."""
    return is_remote(path) or os.path.isfile(path)


def _walk(root: StrPath, chosen: Filter) -> Iterator[Found]:
    """Walk folders depth-first, iteratively, since nesting may exceed Python's recursion limit."""
    top = os.fspath(root)
    stack = [(top, "", _identify(top), _list_folder(top))]
    while stack:
        folder, prefix, _, entries = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
            continue
        if isinstance(entry, OSError):
            reason = f"folder cannot be listed: {entry.strerror}."
            yield Problem(name=prefix or f"{root}/", reason=reason, path=folder)
            continue
        own_name, is_folder, stamp = entry
        path, name = os.path.join(folder, own_name), prefix + own_name
        if not chosen.hidden and own_name.startswith("."):
            continue
        if not is_folder:
            yield from _file(path, name, chosen, stamp)
            continue
        if chosen.excludes(name) or chosen.skips_folder(name):
            continue
        if not chosen.hidden and os.path.exists(os.path.join(path, NO_PHOTOS)):
            continue
        identity = _identify(path)
        if is_remote(path) or (identity and identity not in [above for _, _, above, _ in stack]):
            stack.append((path, f"{name}/", identity, _list_folder(path)))


def _list_folder(folder: str) -> Iterator[tuple[str, bool, Stamp | None] | OSError]:
    """Yield name, whether it is a folder, and stamp (object stores only), sorted by name.

    If the folder cannot be listed, yield the error.
    """
    try:
        if is_remote(folder):
            found = remote.list_folder(folder)
        else:
            with os.scandir(folder) as entries:
                found = sorted((entry.name, _is_folder(entry), None) for entry in entries)
    except OSError as error:
        yield error
        return
    yield from found


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identify(path: str) -> tuple[int, int] | None:
    """Return device and inode number of a folder; None if it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _file(path: str, name: str, chosen: Filter, stamp: Stamp | None) -> Iterator[Found]:
    suffix = os.path.splitext(path)[1]
    if not chosen.shard.contains(name):
        return
    if suffix.lower() == ".tar":
        if chosen.excludes(name):
            return
        yield from _members(path, f"{name}/", chosen)
    elif is_packed(name):
        yield from _packed(path, name, chosen)
    elif chosen.accepts(name) and (_SUFFIXES.fullmatch(suffix) or _content_is_a_photo(path)):
        yield Photo(name=name, path=path, stamp=stamp)


def _content_is_a_photo(path: str) -> bool:
    if _OTHERS.fullmatch(os.path.splitext(path)[1]):
        return False
    try:
        if is_remote(path):
            return has_photo_signature(remote.read(path, start=0, end=16))
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would block
            return False
        with open(path, "rb", buffering=0) as file:
            return has_photo_signature(file.read(16))
    except OSError:
        return False


def _members(path: str, prefix: str, chosen: Filter) -> Iterator[Found]:
    """Yield the photos of an archive, recognised as in a folder."""
    try:
        contents = list_archive(path)
        unnamed = _unnamed_photos(path, contents)
    except ValueError as error:
        yield Problem(name=prefix or path, reason=f"{error}.", path=path)
        return
    except OSError as error:
        yield Problem(name=prefix or path, reason=f"cannot be read: {error.strerror}.", path=path)
        return
    for name, (offset, size) in contents.files.items():
        if (_is_photo(name) or name in unnamed) and chosen.accepts(prefix + name):
            yield Photo(name=prefix + name, path=path, offset=offset, size=size)
        elif (name.lower().endswith(".tar") or is_packed(name)) and not chosen.excludes(
            prefix + name
        ):
            reason = "nested archive; unpack the outer one, or use --exclude."
            yield Problem(name=prefix + name, reason=reason, path=path)
    for name, reason in contents.unreadable.items():
        if _is_photo(name) and chosen.accepts(prefix + name):
            yield Problem(name=prefix + name, reason=reason, path=path)
    for name, times in Counter(contents.replaced).items():
        if _is_photo(name) and chosen.accepts(prefix + name):
            for number in range(1, times + 1):
                which = f"{prefix}{name} ({number} of {times + 1})"
                yield Replaced(name=which, reason="only the last file of a name counts", path=path)
    if contents.damage:
        yield Problem(name=prefix or path, reason=f"{contents.damage}.", path=path)


def _packed(path: str, name: str, chosen: Filter) -> Iterator[Found]:
    """Yield a problem for an archive that must be unpacked first."""
    if chosen.excludes(name):
        return
    reason = refuse_packed(
        path, holds=lambda inner: _is_photo(inner) and chosen.accepts(f"{name}/{inner}")
    )
    if reason:
        yield Problem(name=name, reason=reason, path=path)


def _unnamed_photos(path: str, contents: Contents) -> set[str]:
    """Find members that start like photos and whose extension is unknown."""
    found = set()
    with remote.open_input(path) as file:
        for name, (offset, _) in contents.files.items():
            suffix = os.path.splitext(name)[1]
            if not (_SUFFIXES.fullmatch(suffix) or _OTHERS.fullmatch(suffix)):
                file.seek(offset)
                if has_photo_signature(file.read(16)):
                    found.add(name)
    return found


def _is_photo(name: str) -> bool:
    return bool(_SUFFIXES.fullmatch(os.path.splitext(name)[1]))
