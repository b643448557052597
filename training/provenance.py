"""What a report must say of where it comes from: the commit of the code, the bytes of the files."""

import hashlib
import subprocess
from pathlib import Path

_CODE = Path(__file__).parent


def git_commit(folder: Path = _CODE) -> str | None:
    """Return the commit that a folder stands at, with `-changed` where files differ from it.

    None where the folder is in no git checkout, or git is not installed.
    """
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-changed" if changed else commit


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, which tells it from all others whatever it is called."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
