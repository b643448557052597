"""Decoders small enough to work out by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from captioner.decoders.contract import Decoder, DecoderState
from captioner.decoders.output import DecoderOutput

PAD, START, END, UNKNOWN, A, B, C = range(7)
"""Word ids of the toys: four specials, then words."""

SPECIALS = (PAD, START, UNKNOWN)
"""What search never produces."""

Table = Mapping[tuple[int, ...], Mapping[int, float]]
"""Probability of each next word after the words so far, START not among them."""

GARDEN: Table = {
    (): {A: 0.6, B: 0.4},
    (A,): {END: 0.4, B: 0.3, C: 0.3},
    (B,): {END: 0.9, C: 0.1},
    (A, B): {END: 1.0},
    (A, C): {END: 1.0},
    (B, C): {END: 1.0},
}
"""A garden path: the likelier first word leads to the less likely captions.

A END 0.24, A B END 0.18, A C END 0.18, B END 0.36, B C END 0.04.
"""


class TableDecoder(Decoder):
    """A decoder that looks the next word up in a table, one table per image.

    Words that a table does not name get no probability; after words it does not know, END is sure.
    Image b's features hold the table's number: `images(n)` makes them.
    """

    def __init__(self, *tables: Table, words: int = 7) -> None:
        super().__init__()
        self.tables = tables
        self.size = words
        self.rows_read: list[int] = []
        """Images in play at each step, for tests of who leaves when."""

    def images(self, count: int | None = None) -> Tensor:
        """Return features (B, 1, 1) of the first images, all of them unless told."""
        return torch.arange(count or len(self.tables), dtype=torch.float32)[:, None, None]

    def init_state(self, features: Tensor) -> DecoderState:
        table = features[:, 0, 0].long()
        return DecoderState(memory=(table,), past=(torch.zeros(len(table), 1, 0).long(),))

    def step(self, words: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        (table,), (past,) = state.memory, state.past
        self.rows_read.append(len(table))
        past = torch.cat([past, words[..., None]], dim=2)
        return self._logits(table, past), DecoderState(memory=(table,), past=(past,))

    def step_with_attention(
        self, words: Tensor, state: DecoderState
    ) -> tuple[DecoderOutput, DecoderState]:
        logits, state = self.step(words, state)
        return DecoderOutput(
            logits=logits[:, :, None], attention=torch.ones(*words.shape, 1, 1, 1, 1)
        ), state

    def _logits(self, table: Tensor, past: Tensor) -> Tensor:
        rows = [
            [self._row(self.tables[number], past) for past in hypotheses]
            for number, hypotheses in zip(table.tolist(), past.tolist(), strict=True)
        ]
        return torch.tensor(rows).reshape(*past.shape[:2], self.size).log()

    def _row(self, table: Table, past: Sequence[int]) -> list[float]:
        row: Any = table.get(tuple(past[1:]), {END: 1.0})
        return [row.get(word, 0.0) for word in range(self.size)]
