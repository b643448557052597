"""Which photo ended the process that read it.

A decoder that crashes, or a photo that takes all memory, leaves no error behind: the process is
gone. So a worker says what it takes in hand before it begins. What was in hand when a worker ended
is suspect: the next takes it in parts, and a photo that ended two workers alone is given up. If a
worker is killed from outside, that costs its photos nothing but time.
"""

from dataclasses import dataclass, replace

from captioner.errors import CaptionerError

_PARTS = 16
"""Parts that a suspect piece is divided into; 512 photos take three divisions down to one."""
_DEATHS = 2
"""Workers that a photo ends alone before it is given up: one may have been killed from outside."""
_STARTS = 3
"""Times that each worker, on average, may begin to load the model before any takes up a photo."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Photos of a chunk that are captioned together."""

    first: int
    """Place of the first in its chunk."""
    count: int
    """How many."""
    deaths: int = 0
    """Workers that it ended, if it is a single photo."""

    @property
    def hopeless(self) -> bool:
        """Whether it is not to be tried again."""
        return self.deaths >= _DEATHS

    def after_a_death(self) -> "list[Piece]":
        """What is tried next."""
        if self.count == 1:
            return [replace(self, deaths=self.deaths + 1)]
        size = -(-self.count // _PARTS)
        end = self.first + self.count
        return [
            Piece(first=first, count=min(size, end - first))
            for first in range(self.first, end, size)
        ]


class CrashTracker:
    """Knows what every worker has in hand. It outlives the workers.

    Args:
        workers: how many there are.
    """

    def __init__(self, workers: int) -> None:
        self._most_starts = _STARTS * workers
        self._starts = 0
        self._pieces: dict[int, list[Piece]] = {}
        self._in_hand: dict[int, Piece] = {}

    def start(self) -> None:
        """Count a worker that is about to load the model.

        Raises:
            CaptionerError: they begin over and over, and none comes as far as a photo.
        """
        self._starts += 1
        if self._starts > self._most_starts:
            raise CaptionerError(
                f"{self._most_starts} times in a row, a worker ended while it loaded the model; if "
                "there is not enough memory for a model on every core, let there be fewer: "
                "`taskset -c 0-3 captioner folder ...` begins four"
            )

    def open(self, chunk: int, count: int) -> list[Piece]:
        """Return the pieces in which a chunk of so many photos is to be captioned.

        What of it is in hand already has ended a worker.
        """
        pieces = self._pieces.setdefault(chunk, [Piece(first=0, count=count)])
        suspect = self._in_hand.pop(chunk, None)
        if suspect in pieces:
            place = pieces.index(suspect)
            pieces[place : place + 1] = suspect.after_a_death()
        return pieces

    def take(self, chunk: int, piece: Piece) -> None:
        """Note what is in hand from now on, in place of what was before."""
        self._in_hand[chunk] = piece
        self._starts = 0

    def close(self, chunk: int) -> None:
        """Forget a chunk that is done."""
        self._pieces.pop(chunk, None)
        self._in_hand.pop(chunk, None)
