"""What the decoding loop asks of a strategy."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int

from captioner.search.hypotheses import Hypotheses


@runtime_checkable
class Strategy(Protocol):
    """Decides which hypotheses continue."""

    live: Hypotheses
    """Hypotheses of each image that the decoder reads next."""

    @property
    def kept(self) -> Hypotheses:
        """The result so far."""
        ...

    def advance(self, log_p: Float[Any, "B K V"], t: int) -> Int[Any, "B J"] | None:
        """Extend the live hypotheses by token t.

        Args:
            log_p: log-probability of each next token.
            t: position of the token.

        Returns:
            The parent of each new hypothesis; None if all stay in place.
        """
        ...

    def stop(self, log_p: Float[Any, "B K V"], t: int) -> None:
        """Settle hypotheses of t tokens, the most allowed.

        A hypothesis is finished if END is the likeliest next token, and cut off otherwise.
        """
        ...

    def can_improve(self, t: int) -> Bool[Any, " B"]:
        """Return which images can still get a better result after token t."""
        ...

    def select(self, images: Int[Any, " N"]) -> None:
        """Select images; drop the others."""
        ...
