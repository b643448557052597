"""`hf:owner/name@revision` -> the checkpoint in the hub's local cache."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.checkpoint.files import DESCRIPTION, EVIDENCE, GRAPHS, WEIGHTS
from captioner.checkpoint.header import read_header
from captioner.errors import CheckpointError, MissingExtraError
from captioner.pretrained.families import read_family
from captioner.pretrained.files import CONFIG, SETTINGS, has_weights, parts_of, read_json
from captioner.pretrained.files import WEIGHTS as PRETRAINED_WEIGHTS

PREFIX = "hf:"
"""Prefix of addresses on the hub."""

_SETTINGS = re.compile(r"(all|https?|no)_proxy|HF_(ENDPOINT|HUB_OFFLINE|HUB_\w+_TIMEOUT)", re.I)
_CERTIFICATES = re.compile(r"SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE")
"""Environment variables that the hub's client reads."""
_UNREACHABLE = re.compile("Connect|Timeout")
"""Matches class names of errors that mean there is no network."""
_PATIENCE = 10.0
"""Timeout for the hub's answer, in seconds."""
_PART = r"[A-Za-z0-9][\w.-]*"
_ADDRESS = re.compile(rf"hf:(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[\w./-]+))?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Address:
    """The address of a checkpoint on the hub."""

    repo: str
    """OWNER/NAME."""
    revision: str | None
    """A branch, a tag or a commit; None is the main branch."""


def fetch(text: str) -> Path:
    """Download a checkpoint into the hub's cache, or find it there.

    The hub is checked for a newer version first; without a network, or with `HF_HUB_OFFLINE=1`, the
    cached one is used. ONNX graphs are downloaded with the file. Of a pretrained captioner,
    configuration, tokenizer and one format of weights are downloaded; never code, and nothing
    twice.

    Args:
        text: `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION`.

    Returns:
        The file, or the folder of a pretrained captioner.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        CheckpointError: the repository, revision or file does not exist; the hub cannot be reached
            and the cache lacks it; or the file is not a checkpoint of this program.
    """
    address = parse_address(text)
    with _explained(text, address):
        known = not is_reachable(address)
        path = _fetch_pretrained(text, address, known=known) or _fetch_own(address, known=known)
    try:
        read_header(path)
    except CheckpointError as error:
        raise _named(text, path, error) from error
    return path


def parse_address(text: str) -> Address:
    """Read `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION`.

    Raises:
        CheckpointError: it has another form.
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
        CheckpointError: its import fails, because of environment variables.
    """
    try:
        import huggingface_hub  # noqa: PLC0415  # an extra
        import huggingface_hub.errors  # noqa: PLC0415  # not loaded with the package
    except ImportError as error:
        raise MissingExtraError(
            'Access to the hub needs huggingface_hub: pip install "captioner[hub]"'
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"huggingface_hub cannot be loaded ({error}); check the environment variables that "
            "begin with HF_."
        ) from error
    return huggingface_hub


def _fetch_pretrained(text: str, address: Address, *, known: bool) -> Path | None:
    """Fetch a pretrained captioner; None if the repository is one of ours.

    Weights are downloaded last, so if the cache has them, it has everything. `known` uses the cache
    only.
    """
    try:
        folder = download(address, CONFIG, local_files_only=known).parent
    except import_hub().errors.EntryNotFoundError:  # also of what the cache lacks
        return None
    try:
        read_family(folder)
    except CheckpointError as error:
        raise _named(text, folder, error) from error
    if has_weights(folder):
        return folder
    commit = Address(repo=address.repo, revision=folder.name)
    listed = (
        import_hub()
        .HfApi(library_name="captioner")
        .model_info(commit.repo, revision=commit.revision, files_metadata=True)
    )
    sizes = {file.rfilename: file.size or 0 for file in listed.siblings}
    for name in SETTINGS:
        if name in sizes:
            download(commit, name)
    weights = next((name for name in PRETRAINED_WEIGHTS if name in sizes), None)
    if weights is None:
        raise CheckpointError(
            f"{text}: the repository holds no weights; expected one of "
            f"{', '.join(PRETRAINED_WEIGHTS)}."
        )
    names = [weights]
    if weights.endswith(".json"):
        download(commit, weights)
        names = parts_of(read_json(folder, weights), where=f"{text}: {weights}")
    megabytes = sum(sizes.get(name, 0) for name in names) / 1e6
    licence = (listed.card_data or {}).get("license") or "not stated"
    print(
        f"captioner: {text}: fetching {megabytes:.0f} MB; licence: {licence}",
        file=sys.stderr,
        flush=True,
    )
    for name in names:
        download(commit, name)
    return folder


def _fetch_own(address: Address, *, known: bool) -> Path:
    """Fetch the file of one of our checkpoints, and any graphs beside it."""
    weights = download(address, WEIGHTS, local_files_only=known)
    commit = Address(repo=address.repo, revision=weights.parent.name)
    missing = import_hub().errors.EntryNotFoundError
    with suppress(missing):
        for name in GRAPHS:
            download(commit, name, local_files_only=known)
        with suppress(missing):
            download(commit, EVIDENCE, local_files_only=known)
        download(commit, DESCRIPTION, local_files_only=known)
    return weights


def _named(text: str, path: Path, error: CheckpointError) -> CheckpointError:
    """Name the address in an error about a file in the cache."""
    return CheckpointError(f"{text}: {str(error).removeprefix(str(path)).lstrip(':/ ')}")


def is_reachable(address: Address) -> bool:
    """Whether the hub answers, even with an error.

    Checked once in advance, since the client would retry every file for half a minute.
    """
    hub = import_hub()
    try:
        hub.HfApi(library_name="captioner").model_info(
            address.repo, revision=address.revision, timeout=_PATIENCE
        )
    except hub.errors.OfflineModeIsEnabled:
        return False
    except Exception as error:  # of whichever HTTP library; others are explained by the download
        return _UNREACHABLE.search(type(error).__name__) is None
    return True


def download(address: Address, name: str, *, local_files_only: bool = False) -> Path:
    """Download one file, or find it in the cache."""
    found = import_hub().hf_hub_download(
        address.repo,
        name,
        revision=address.revision,
        library_name="captioner",
        local_files_only=local_files_only,
    )
    return Path(found)


@contextmanager
def _explained(text: str, address: Address) -> Iterator[None]:
    """Convert errors of the hub's client to CheckpointError."""
    errors = import_hub().errors
    try:
        yield
    except CheckpointError:
        raise
    except errors.GatedRepoError as error:
        problem = "access requires accepting its terms; do so on its page, then `hf auth login`."
        raise CheckpointError(f"{text}: {problem}") from error
    except errors.RepositoryNotFoundError as error:
        problem = "no such repository, or a private one; check the name, or `hf auth login`."
        raise CheckpointError(f"{text}: {problem}") from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{text}: the repository has no revision {address.revision!r}; "
            "check it, or leave it out for the newest."
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise CheckpointError(
            f"{text}: not in the cache, and the hub cannot be reached; check {likely_causes()}."
        ) from error
    except errors.EntryNotFoundError as error:
        raise CheckpointError(
            f"{text}: the repository holds neither a {CONFIG} of a captioner nor a {WEIGHTS} that "
            "`captioner push` made."
        ) from error
    except Exception as error:  # of whichever HTTP library, about addresses and proxies, too
        raise CheckpointError(
            f"{text}: cannot be fetched ({first_line(error)}); check {likely_causes()}."
        ) from error


def first_line(error: Exception) -> str:
    """Return the first line of an error."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def likely_causes() -> str:
    """List what may block access to the hub: the network, and variables that are set."""
    names = [
        name
        for name, value in sorted(os.environ.items())
        if _SETTINGS.fullmatch(name)
        or (_CERTIFICATES.fullmatch(name) and not os.path.exists(value))
    ]
    return " and ".join(["the network", *([", ".join(names)] if names else [])])
