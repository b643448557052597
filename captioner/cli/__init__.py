"""The `captioner` command: parse, call, print.

Results go to standard output, everything else to standard error. Exit status: 0 all is well, 1 a
photo could not be captioned (the others were), 2 the command makes no sense, 130 interrupted.
PyTorch is imported only once there is a photo to caption, so everything else answers at once.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from captioner import __version__
from captioner.cli import caption, checkpoints, convert, export, folder, push, serve
from captioner.cli.options import in_options, print_error
from captioner.durable import FULL
from captioner.errors import CaptionerError

_LAST_STREAM = 2
"""Number of standard error; those of input and output are below."""


def program() -> NoReturn:
    """Run the command line as a program of its own, and end it."""
    _open_closed_streams()
    if not sys.warnoptions:  # of damaged metadata Pillow speaks to programmers, amid JSON events
        warnings.filterwarnings("ignore", module=r"PIL\.")
    status = main()
    if status > 1:  # ended before its time: threads still caption what nobody waits for any more
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


def _open_closed_streams() -> None:
    """Let what is written to a closed standard stream, as after `>&-`, go nowhere.

    Otherwise the next file that is opened gets its number, and what libraries print goes there.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= _LAST_STREAM:
        pass
    os.close(number)
    nowhere = Path(os.devnull)
    sys.stdout = sys.stdout or nowhere.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or nowhere.open("w", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    args = make_parser().parse_args(argv)
    if isinstance(sys.stdout, TextIOWrapper):  # a file's name may be no text, and still be printed
        unicode = sys.stdout.encoding.lower() == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if unicode else "backslashreplace")
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except CaptionerError as error:
        print_error(in_options(error))
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # nobody reads on, as in `captioner ... | head`
        _discard_output()
        return 141  # what the shell reports of a program ended by SIGPIPE
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            raise
        print_error(f"standard output cannot be written: {error.strerror}; make room.")
        _discard_output()
        return 2
    return status


def _discard_output() -> None:
    """Give up standard output: Python flushes once more at exit, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command and all its subcommands."""
    parser = argparse.ArgumentParser(
        prog="captioner",
        description="Caption photos, and show which regions each word came from.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"captioner {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (caption, folder, checkpoints, convert, export, push, serve):
        command.add_parser(commands)
    return parser
