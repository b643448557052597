"""What is odd about a file and not in it: folders, links, pipes, sockets and names."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.odd_images.odd import FLAG, Odd
from tests.photos import encode


def odd_files(folder: Path) -> Iterator[tuple[Path, Odd]]:
    """Make them in a folder, each with what is expected of it."""
    good = encode(FLAG, "PNG")
    (folder / "folder.jpg").mkdir()
    yield folder / "folder.jpg", Odd("folder.jpg", b"", reason="this is a folder, not a photo; .+")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    loop = r"cannot be opened \(Too many levels of symbolic links\); check the path\."
    yield folder / "loop.jpg", Odd("loop.jpg", b"", reason=loop)
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    missing = r"no such file; check the path\."
    yield folder / "dangling.jpg", Odd("dangling.jpg", b"", reason=missing)
    os.mkfifo(folder / "pipe.jpg")
    pipe = r"this is a pipe, not a photo; give a file\."
    yield folder / "pipe.jpg", Odd("pipe.jpg", b"", reason=pipe)
    (folder / "pipe link.jpg").symlink_to("pipe.jpg")
    yield folder / "pipe link.jpg", Odd("pipe link.jpg", b"", reason=pipe)
    with socket.socket(socket.AF_UNIX) as unix:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket may have a hundred bytes only
        try:
            unix.bind("socket.jpg")
        finally:
            os.chdir(here)
    closed = r"cannot be opened \(.+\); check the path\."
    yield folder / "socket.jpg", Odd("socket.jpg", b"", reason=closed)
    names = [b"\xff\xfe latin \xe9.png", b"x" * 251 + b".png", b"new\nline.png", b" ", b"-rf.png",
             "\u202egnp.tac".encode(), "🐕 犬 é.PNG".encode(), b"'\"$(rm)`*?[.png", b"no ending",
             b".hidden.png", b"two..dots..png", b"ends with a dot."]  # fmt: skip
    for name in names:
        path = folder / os.fsdecode(name)
        with suppress(OSError):  # some file systems know no such names
            path.write_bytes(good)
            yield path, Odd(path.name, good, shown=FLAG)
    if os.geteuid() != 0:  # nothing is forbidden to root
        path = folder / "secret.png"
        path.write_bytes(good)
        path.chmod(0)
        yield path, Odd("secret.png", good, reason=r"no permission to read it; .+")
