"""Every error raised on purpose.

    CaptionerError
    ├── ImageError          a photo that cannot be read: names the file and the reason
    ├── MetadataError       a file that cannot take, or does not hold, a caption as metadata
    │   └── UnsupportedFileError    a kind of file that never holds one
    ├── ConfigError         a setting that is unknown, missing or out of range
    ├── CheckpointError     a checkpoint that is missing, corrupt, or of a newer format
    ├── DataError           captions, splits or archives that do not fit together
    └── MissingExtraError   an optional package that this feature needs

A user's mistake is a `CaptionerError`: its text is the whole answer, and the command line prints it
without a traceback. A caller's mistake is a `ValueError`; our own is an `assert`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class CaptionerError(Exception):
    """Base of every error that a user can fix."""


class ImageError(CaptionerError):
    """A photo cannot be read; the text names it, says why, and what would help."""


class MetadataError(CaptionerError):
    """A caption cannot be written into a file or read from it; the text names it and says why."""


class UnsupportedFileError(MetadataError):
    """Files of this kind hold no captions; the text says which do."""


class ConfigError(CaptionerError):
    """A setting is unknown, missing or out of range."""


class CheckpointError(CaptionerError):
    """A checkpoint is missing, corrupt, or newer than this program."""


class DataError(CaptionerError):
    """Captions, splits, results or archives do not fit together."""


class MissingExtraError(CaptionerError):
    """An optional package is not installed; the text holds the line that installs it."""


@contextmanager
def require_torch() -> Iterator[None]:
    """Import what runs on PyTorch.

    Raises:
        MissingExtraError: it, or what comes with it, is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "torchvision", "timm"):
            raise
        raise MissingExtraError(
            f'This needs {error.name}: pip install "captioner[torch]"'
        ) from error


@contextmanager
def wrap_library_errors(
    raised: type[CaptionerError],
    explain: Callable[[BaseException], str],
    *,
    of: type[Exception] | tuple[type[Exception], ...] = Exception,
) -> Iterator[None]:
    """Turn what a library raises about its input into an error of ours, which passes through.

    Args:
        raised: the error a user sees.
        explain: its text, made of the library's error.
        of: what the library raises; one written in Rust may also panic, with no `Exception`.
    """
    try:
        yield
    except CaptionerError:
        raise
    except BaseException as error:
        if not isinstance(error, of) and type(error).__name__ != "PanicException":
            raise
        raise raised(explain(error)) from error


def require(condition: bool, message: str) -> None:
    """Raise a `ConfigError` with this message unless a condition holds."""
    if not condition:
        raise ConfigError(message)
