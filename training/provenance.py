"""What a report must say of where it comes from: the commit of the code, the bytes of the files."""

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


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
