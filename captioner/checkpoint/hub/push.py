"""Checkpoint and card -> a repository of the hub."""

import shutil
from pathlib import Path

from captioner.checkpoint.files import CARD, WEIGHTS, files_of
from captioner.checkpoint.header import Header, read_header
from captioner.checkpoint.hub.card import Facts, write_card
from captioner.checkpoint.hub.fetch import (
    PREFIX,
    first_line,
    import_hub,
    likely_causes,
    parse_address,
)
from captioner.durable import explained
from captioner.errors import CaptionerError, CheckpointError


def push(checkpoint: Path, repo: str, *, facts: Facts, private: bool = False) -> str:
    """Upload a checkpoint, its graphs and its card in one commit.

    The repository is created if missing.

    Args:
        checkpoint: file of the checkpoint; a README.md beside it becomes the card's text.
        repo: OWNER/NAME.
        facts: metadata for the card, instead of the README's and the header's.
        private: create a private repository.

    Returns:
        The address of its page.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        CheckpointError: no checkpoint of this program.
        CaptionerError: the hub refuses, cannot be reached, or the repository is already public.
    """
    card = _card(checkpoint, repo, facts)
    hub = import_hub()
    api = hub.HfApi(library_name="captioner")
    try:
        where = api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise CaptionerError(
                f"{repo}: already exists and is public; nothing was uploaded. "
                "Make it private on its page, or push to another name."
            )
        api.create_commit(
            repo,
            operations=[
                *(
                    hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=file)
                    for name, file in _published(checkpoint).items()
                ),
                hub.CommitOperationAdd(path_in_repo=CARD, path_or_fileobj=card.encode()),
            ],
            commit_message=f"Upload {read_header(checkpoint).name}",
        )
    except CaptionerError:
        raise
    except Exception as error:  # of whichever HTTP library, about addresses and proxies, too
        raise CaptionerError(f"{repo}: {_explain(error)}") from error
    return str(where)


def write_folder(checkpoint: Path, repo: str, folder: Path, *, facts: Facts) -> None:
    """Write what `push` would upload.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        CaptionerError: no checkpoint of this program, or the folder cannot be written.
    """
    card = _card(checkpoint, repo, facts)
    with explained(folder, option="--dry-run"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for name, file in _published(checkpoint).items():
                shutil.copyfile(file, folder / name)
        except shutil.SameFileError as error:
            raise CaptionerError(f"{folder}: holds the checkpoint; give another folder.") from error
        (folder / CARD).write_text(card, encoding="utf-8")


def _published(checkpoint: Path) -> dict[str, Path]:
    """Return the files of a checkpoint by name in the repository."""
    weights, *graphs = files_of(checkpoint)
    return {WEIGHTS: weights, **{file.name: file for file in graphs}}


def _card(checkpoint: Path, repo: str, facts: Facts) -> str:
    if parse_address(f"{PREFIX}{repo}").revision is not None:
        raise CaptionerError(f"{repo}: names a revision; leave out @ and what follows it.")
    if checkpoint.is_dir():
        raise CheckpointError(
            f"{checkpoint}: is a pretrained captioner, already published; to publish a model "
            "derived from it, convert it to one file with `captioner convert`."
        )
    header: Header = read_header(checkpoint)
    beside = checkpoint.with_name(CARD)
    try:
        text = beside.read_text(encoding="utf-8") if beside.is_file() else None
        return write_card(header, text, repo=repo, facts=facts)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{beside}: cannot be used as a card ({error}).") from error


def _explain(error: Exception) -> str:
    """Explain why the hub refused an upload, and how to fix it."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status == 401 or type(error).__name__ == "LocalTokenNotFoundError":
        return "not logged in to the hub; run `hf auth login`, or set HF_TOKEN."
    if status == 403:
        return "your token has no write access; check the owner, or use another token."
    return f"the upload failed ({first_line(error)}); check {likely_causes()}."
