"""Finds the photo that crashed its worker.

A crash in an image decoder, or the out-of-memory killer, leaves no exception: the process is gone.
So each worker reports what it is about to process. If it dies, the next worker processes that
piece in smaller parts, and a photo that crashes two workers on its own fails. A worker killed
from outside costs its photos nothing but time.
"""

from dataclasses import dataclass, replace

from captioner.errors import CaptionerError

_PARTS = 16
"""Parts that a suspect piece is split into; 512 photos take three splits down to one."""
_DEATHS = 2
"""Workers that a single photo may crash before it fails; one may have been killed from outside."""
_STARTS = 3
"""Starts allowed per worker, on average, before any worker reaches a photo."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A range of a chunk's photos that are captioned together."""

    first: int
    """Index of the first photo in the chunk."""
    count: int
    """Number of photos."""
    deaths: int = 0
    """Workers crashed, if it is a single photo."""

    @property
    def hopeless(self) -> bool:
        """Whether to give up on it."""
        return self.deaths >= _DEATHS

    def split(self) -> "list[Piece]":
        """Return the smaller pieces to try next."""
        if self.count == 1:
            return [replace(self, deaths=self.deaths + 1)]
        size = -(-self.count // _PARTS)
        end = self.first + self.count
        return [
            Piece(first=first, count=min(size, end - first))
            for first in range(self.first, end, size)
        ]


class CrashTracker:
    """Tracks what each worker is processing; it outlives the workers.

    Args:
        workers: number of workers.
    """

    def __init__(self, workers: int) -> None:
        self._most_starts = _STARTS * workers
        self._starts = 0
        self._pieces: dict[int, list[Piece]] = {}
        self._in_hand: dict[int, Piece] = {}

    def start(self) -> None:
        """Count the start of a worker, before it loads the model.

        Raises:
            CaptionerError: workers keep starting, and none reaches a photo.
        """
        self._starts += 1
        if self._starts > self._most_starts:
            raise CaptionerError(
                f"workers crashed {self._most_starts} times in a row while loading the model; if "
                "memory does not suffice for one model per core, use fewer cores: "
                "`taskset -c 0-3 captioner folder ...` starts four"
            )

    def open(self, chunk: int, count: int) -> list[Piece]:
        """Return the pieces of a chunk to caption.

        A piece that is already being processed has crashed a worker, and is split.
        """
        pieces = self._pieces.setdefault(chunk, [Piece(first=0, count=count)])
        suspect = self._in_hand.pop(chunk, None)
        if suspect in pieces:
            place = pieces.index(suspect)
            pieces[place : place + 1] = suspect.split()
        return pieces

    def take(self, chunk: int, piece: Piece) -> None:
        """Record the piece that a worker is about to process."""
        self._in_hand[chunk] = piece
        self._starts = 0

    def close(self, chunk: int) -> None:
        """Forget a finished chunk."""
        self._pieces.pop(chunk, None)
        self._in_hand.pop(chunk, None)
