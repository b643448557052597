"""What the commands share: a user's mistake is one line, and exit status 1."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import ParamSpec

from captioner.durable import check_writable
from captioner.errors import CaptionerError

Given = ParamSpec("Given")


def command(main: Callable[Given, int]) -> Callable[Given, int]:
    """Print what stopped a command, and return 1."""

    @wraps(main)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except subprocess.CalledProcessError as error:
            said = f"\n{error.stderr.strip()}" if error.stderr else ""
            words = shlex.join(map(str, error.cmd))
            reason = f"exit status {error.returncode} of {words}{said}"
        except ModuleNotFoundError as error:
            reason = f"{error.name} is not installed: pip install -e '.[dev]'"
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}; check the path."
        except CaptionerError as error:
            reason = str(error)
        print(f"error: {reason}", file=sys.stderr)
        return 1

    return run


def check_plot(file: Path | None) -> None:
    """Check that a plot can be drawn and written, before minutes pass.

    Raises:
        CaptionerError: it cannot be written.
        ModuleNotFoundError: matplotlib is not installed.
    """
    if file is not None:
        import_module("matplotlib")
        check_writable(file, option="--plot")
