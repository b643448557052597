"""Photos in object stores, such as `s3://bucket/photos`, listed and read through fsspec.

Credentials and endpoints come from the environment, as the stores' own tools take them.
"""

import errno
import os
import re
import time
from collections.abc import Callable
from typing import Any, BinaryIO, TypeAlias, TypeVar, cast

from captioner.errors import CaptionerError, MissingExtraError
from captioner.folder.sources.stamps import Stamp

StrPath: TypeAlias = str | os.PathLike[str]

_URL = re.compile(r"(?!(?:file|https?|ftp|data):)[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_PAUSES = (0.5, 2.0, 5.0)
"""Seconds before a request that failed is made again."""
_BLOCK = 2**22
"""Bytes that are read ahead in an archive, whose headers lie a photo apart."""
_CREDENTIALS = re.compile("Credential|Token|Auth|Profile")
"""In the names of errors about them; each store's library has its own classes."""
_DIGESTS = ("ETag", "md5Hash", "blob_id", "etag", "LastModified", "mtime", "created")
"""What stores call the digest of an object's content, or else what changes with it."""

_Answer = TypeVar("_Answer")


def is_remote(path: StrPath) -> bool:
    """Whether a path is the URL of an object, or of a prefix of objects."""
    return bool(_URL.match(os.fspath(path)))


def join(root: StrPath, name: str) -> str:
    """Return where a photo lies; a list may name some by their URLs."""
    return name if is_remote(name) else os.path.join(root, name)


def is_folder(url: StrPath) -> bool:
    """Whether a URL is a prefix of objects, or a bucket, not an object.

    Raises:
        MissingExtraError: the package for this kind of store is not installed.
        OSError: there is neither, or the store cannot be asked.
    """
    return bool(_ask(url, lambda store, path: store.info(path))["type"] == "directory")


def list_folder(url: StrPath) -> list[tuple[str, bool, Stamp | None]]:
    """List what is under a prefix by name, whether it is a prefix itself, and an object's stamp.

    Raises:
        OSError: it cannot be listed.
    """
    entries = _ask(url, lambda store, path: (store.ls(path, detail=True), path))
    found = {
        entry["name"].rstrip("/").rpartition("/")[2]: entry
        for entry in entries[0]
        if entry["name"].strip("/") != entries[1].strip("/")  # some programs write such marks
    }
    return [
        (name, entry["type"] == "directory", _stamp(entry)) for name, entry in sorted(found.items())
    ]


def look(url: StrPath) -> Stamp | None:
    """Return the stamp of an object as it is now; None if it cannot be seen."""
    try:
        return _stamp(_ask(url, lambda store, path: store.info(path)))
    except (OSError, CaptionerError):  # who reads it says why
        return None


def read(url: StrPath, *, start: int | None = None, end: int | None = None) -> bytes:
    """Return the bytes of an object, or of a part of it.

    Raises:
        OSError: it cannot be read.
    """
    return cast(bytes, _ask(url, lambda store, path: store.cat_file(path, start=start, end=end)))


def open_input(path: StrPath) -> BinaryIO:
    """Open a file, or an object, for reading.

    Raises:
        OSError: it cannot be opened.
    """
    if not is_remote(path):
        return open(path, "rb")
    opened = _ask(path, lambda store, key: store.open(key, block_size=_BLOCK))
    return cast(BinaryIO, opened)


def _stamp(info: dict[str, Any]) -> Stamp | None:
    if info.get("size") is None:
        return None
    mark = next((str(info[name]) for name in _DIGESTS if info.get(name)), None)
    return Stamp(size=info["size"], modified=None, etag=mark and mark.strip('"'))


def _ask(url: StrPath, call: Callable[[Any, str], _Answer]) -> _Answer:
    """Make a request, and again after a pause where the network or the store fails.

    Raises:
        MissingExtraError: the package for this kind of store is not installed.
        CaptionerError: there is no such kind of store.
        OSError: whose `strerror` says why the store gives no answer.
    """
    for pause in (*_PAUSES, None):
        try:
            return call(*_store(os.fspath(url)))
        except CaptionerError:
            raise
        except FileNotFoundError as error:
            raise _failure(errno.ENOENT, "no such object or bucket; check the name") from error
        except PermissionError as error:
            raise _failure(
                errno.EACCES, "access is denied; check the credentials and their rights"
            ) from error
        except Exception as error:  # each store's library has its own
            if _CREDENTIALS.search(type(error).__name__):
                raise _failure(
                    errno.EACCES,
                    f"no credentials ({error}); set them in the environment, or for a public "
                    "bucket FSSPEC_S3_ANON=true",
                ) from error
            if pause is None:
                why = str(error) or type(error).__name__
                raise _failure(errno.EIO, f"the store gives no answer ({why})") from error
            time.sleep(pause)
    raise AssertionError  # the last pause is None


def _failure(number: int, why: str) -> OSError:
    return OSError(number, why)


def _store(url: str) -> tuple[Any, str]:
    """The file system of a URL, which fsspec keeps, and the path in it."""
    scheme = url.partition("://")[0]
    try:
        import fsspec.core  # noqa: PLC0415  # an extra
    except ImportError:
        raise MissingExtraError(
            f"{scheme}:// needs fsspec; install it: pip install 'captioner[remote]'"
        ) from None
    try:
        return cast(tuple[Any, str], fsspec.core.url_to_fs(url, use_listings_cache=False))
    except ImportError as error:
        raise MissingExtraError(
            f"{scheme}:// needs another package ({error}); for S3: pip install 'captioner[remote]'"
        ) from None
    except ValueError as error:
        raise CaptionerError(f"{url}: no such kind of store ({error}); check the URL.") from None
