"""Lists and reads photos in object stores, such as `s3://bucket/photos`, through fsspec.

Credentials and endpoints come from the environment, as for the stores' own tools.
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
"""Seconds before each retry of a failed request."""
_BLOCK = 2**22
"""Read-ahead in bytes for archives, whose headers lie a photo apart."""
_CREDENTIALS = re.compile("Credential|Token|Auth|Profile")
"""Matches class names of credential errors, which differ between the stores' libraries."""
_DIGESTS = ("ETag", "md5Hash", "blob_id", "etag", "LastModified", "mtime", "created")
"""Keys under which stores report a digest of an object's content, or a time of change."""

_Answer = TypeVar("_Answer")


def is_remote(path: StrPath) -> bool:
    """Whether a path is the URL of an object, or of a prefix of objects."""
    return bool(_URL.match(os.fspath(path)))


def join(root: StrPath, name: str) -> str:
    """Return the path of a photo; names on lists may be URLs, which are absolute."""
    return name if is_remote(name) else os.path.join(root, name)


def is_folder(url: StrPath) -> bool:
    """Whether a URL is a bucket or a prefix of objects, not an object.

    Raises:
        MissingExtraError: the package for this kind of store is not installed.
        OSError: it does not exist, or the store cannot be reached.
    """
    return bool(_ask(url, lambda store, path: store.info(path))["type"] == "directory")


def list_folder(url: StrPath) -> list[tuple[str, bool, Stamp | None]]:
    """List a prefix: name, whether it is a prefix, and an object's stamp, sorted by name.

    Raises:
        OSError: the prefix cannot be listed.
    """
    entries = _ask(url, lambda store, path: (store.ls(path, detail=True), path))
    found = {
        entry["name"].rstrip("/").rpartition("/")[2]: entry
        for entry in entries[0]
        if entry["name"].strip("/") != entries[1].strip("/")  # placeholder object for the prefix
    }
    return [
        (name, entry["type"] == "directory", _stamp(entry)) for name, entry in sorted(found.items())
    ]


def stamp_of(url: StrPath) -> Stamp | None:
    """Return the current stamp of an object; None if it cannot be accessed."""
    try:
        return _stamp(_ask(url, lambda store, path: store.info(path)))
    except (OSError, CaptionerError):  # reported when it is read
        return None


def read(url: StrPath, *, start: int | None = None, end: int | None = None) -> bytes:
    """Return the content of an object, or a range of bytes.

    Raises:
        OSError: the object cannot be read.
    """
    return cast(bytes, _ask(url, lambda store, path: store.cat_file(path, start=start, end=end)))


def open_input(path: StrPath) -> BinaryIO:
    """Open a file or an object for reading.

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
    """Make a request, and retry it if the network or the store fails.

    Raises:
        MissingExtraError: the package for this kind of store is not installed.
        CaptionerError: the kind of store is unknown.
        OSError: the request failed; `strerror` says why.
    """
    for pause in (*_PAUSES, None):
        try:
            return call(*_store(os.fspath(url)))
        except CaptionerError:
            raise
        except FileNotFoundError as error:
            raise OSError(errno.ENOENT, "no such bucket or object; check the name") from error
        except PermissionError as error:
            raise OSError(
                errno.EACCES, "access denied; check the credentials and their permissions"
            ) from error
        except Exception as error:  # classes differ between the stores' libraries
            if _CREDENTIALS.search(type(error).__name__):
                raise OSError(
                    errno.EACCES,
                    f"no credentials ({error}); set them in the environment, or set "
                    "FSSPEC_S3_ANON=true for a public bucket",
                ) from error
            if pause is None:
                why = str(error) or type(error).__name__
                raise OSError(errno.EIO, f"the store does not answer ({why})") from error
            time.sleep(pause)
    raise AssertionError  # the last pause is None


def _store(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, which fsspec caches, and the path in it."""
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
        raise CaptionerError(f"{url}: unknown kind of store ({error}); check the URL.") from None
