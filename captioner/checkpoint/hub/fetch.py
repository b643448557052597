"""`hf:owner/name@revision` -> the checkpoint in the hub's local cache."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.checkpoint.header import read_header
from captioner.errors import CheckpointError, MissingExtraError

PREFIX = "hf:"
"""What tells a repository of the hub from a name or a path."""
WEIGHTS = "model.safetensors"
"""The one file of a repository that is read."""

_SETTINGS = re.compile(r"(all|https?|no)_proxy|HF_(ENDPOINT|HUB_OFFLINE|HUB_\w+_TIMEOUT)", re.I)
_CERTIFICATES = re.compile(r"SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE")
"""Variables of the environment that the client of the hub obeys."""
_PART = r"[A-Za-z0-9][\w.-]*"
_ADDRESS = re.compile(rf"hf:(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[\w./-]+))?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a checkpoint lies on the hub."""

    repo: str
    """OWNER/NAME."""
    revision: str | None
    """A branch, a tag or a commit; None is the main branch."""


def fetch(text: str) -> Path:
    """Download a checkpoint, or find it in the hub's cache, where it stays.

    The cache is asked first whether the hub has something newer; without a network, or with
    `HF_HUB_OFFLINE=1`, what it holds is taken.

    Args:
        text: `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION`.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        CheckpointError: no such repository, revision or file; the hub cannot be reached and the
            cache lacks it; or the file is no checkpoint of this program.
    """
    address = parse_address(text)
    path = _download(text, address)
    try:
        read_header(path)
    except CheckpointError as error:
        raise CheckpointError(f"{text}: {str(error).removeprefix(f'{path}: ')}") from error
    return path


def parse_address(text: str) -> Address:
    """Read `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION`.

    Raises:
        CheckpointError: it is neither.
    """
    found = _ADDRESS.fullmatch(text)
    if not found:
        raise CheckpointError(
            f"{text}: not the address of a checkpoint on the hub; "
            "write hf:OWNER/NAME or hf:OWNER/NAME@REVISION."
        )
    return Address(repo=found["repo"], revision=found["revision"])


def import_hub() -> Any:
    """Return the package huggingface_hub.

    Raises:
        MissingExtraError: it is not installed.
        CheckpointError: it takes offence at the environment.
    """
    try:
        import huggingface_hub  # noqa: PLC0415  # an extra
        import huggingface_hub.errors  # noqa: PLC0415  # not loaded with the package
    except ImportError as error:
        raise MissingExtraError(
            'The hub is spoken to by huggingface_hub: pip install "captioner[hub]"'
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"huggingface_hub does not start ({error}); check the variables that begin with HF_."
        ) from error
    return huggingface_hub


def _download(text: str, address: Address) -> Path:
    hub = import_hub()
    errors = hub.errors
    try:
        found = hub.hf_hub_download(
            address.repo, WEIGHTS, revision=address.revision, library_name="captioner"
        )
    except errors.GatedRepoError as error:
        problem = "its owner asks to accept terms first; do so on its page, then `hf auth login`."
        raise CheckpointError(f"{text}: {problem}") from error
    except errors.RepositoryNotFoundError as error:
        problem = "no such repository, or a private one; check the name, or `hf auth login`."
        raise CheckpointError(f"{text}: {problem}") from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{text}: the repository has no revision {address.revision!r}; "
            "check it, or leave it out for the newest."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{text}: not in the cache, and the hub cannot be reached; check {suspects()}."
        ) from error
    except errors.EntryNotFoundError as error:
        raise CheckpointError(
            f"{text}: the repository holds no {WEIGHTS}; it is not one that `captioner push` made."
        ) from error
    except Exception as error:  # of whichever HTTP library, about addresses and proxies, too
        raise CheckpointError(
            f"{text}: cannot be fetched ({first_line(error)}); check {suspects()}."
        ) from error
    return Path(found)


def first_line(error: Exception) -> str:
    """What an error says, without its explanations."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def suspects() -> str:
    """What may stand between this machine and the hub: the network, and variables that are set."""
    names = [
        name
        for name, value in sorted(os.environ.items())
        if _SETTINGS.fullmatch(name)
        or (_CERTIFICATES.fullmatch(name) and not os.path.exists(value))
    ]
    return " and ".join(["the network", *([", ".join(names)] if names else [])])
