"""Recurrent decoder with soft attention at every word."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from captioner.decoders.attention import Scoring, build_attention
from captioner.decoders.contract import Decoder, DecoderState
from captioner.decoders.output import DecoderOutput
from captioner.decoders.words import WordTable


class _Memory(NamedTuple):
    """Region features and their attention keys."""

    regions: Float[Tensor, "B P C"]
    keys: Float[Tensor, "B P A"]


class _Past(NamedTuple):
    """The recurrent state; a GRU has no cell."""

    hidden: Float[Tensor, "B K C"]
    cell: Float[Tensor, "B K C"] | None


class RecurrentDecoder(Decoder):
    """Soft-attention decoder around an LSTM or a GRU.

    Source: Xu et al. 2015, sections 3.1.2 and 4.2 (arXiv:1502.03044): initial state from the mean
    feature, a gate on the attended feature, and a deep output layer over word, state and context.
    """

    has_evidence = True

    def __init__(
        self,
        *,
        words: int,
        feature_dim: int,
        cell: Literal["lstm", "gru"],
        width: int,
        embedding_dim: int,
        attention: Scoring,
        attention_width: int,
        dropout: float,
        tie: bool,
    ) -> None:
        super().__init__()
        self.from_feature = nn.Sequential(nn.Linear(feature_dim, width), nn.LayerNorm(width))
        self.words = WordTable(words=words, width=embedding_dim, tie=tie)
        self.attention = build_attention(
            attention, feature_dim=width, query_dim=width, width=attention_width
        )
        self.gate = nn.Linear(width, 1)
        input_dim = embedding_dim + width
        self.cell: nn.LSTMCell | nn.GRUCell = (
            nn.LSTMCell(input_dim, width) if cell == "lstm" else nn.GRUCell(input_dim, width)
        )
        self.first_hidden = nn.Linear(width, width)
        self.first_cell = nn.Linear(width, width) if cell == "lstm" else None
        self.from_hidden = nn.Linear(width, embedding_dim)
        self.from_context = nn.Linear(width, embedding_dim, bias=False)
        self.word_scale = embedding_dim**0.5  # the table's vectors have length 1
        self.dropout = nn.Dropout(dropout)

    def init_state(self, features: Float[Tensor, "B P D"]) -> DecoderState:
        """Initialise the state from the mean feature, with one hypothesis per image."""
        regions = self.from_feature(features)
        memory = _Memory(regions=regions, keys=self.attention.keys(regions))
        mean = regions.mean(dim=1, keepdim=True)  # (B, 1, C)
        hidden = torch.tanh(self.first_hidden(mean))
        cell = None if self.first_cell is None else torch.tanh(self.first_cell(mean))
        return DecoderState(memory=memory, past=_Past(hidden=hidden, cell=cell))

    def step_with_attention(
        self, words: Int[Tensor, "B K"], state: DecoderState
    ) -> tuple[DecoderOutput, DecoderState]:
        """Read the latest words; return logits and attention (T = 1), and the next state."""
        embedded = self._embed(words)
        past, context, weights, gate = self._advance(
            embedded, _Past(*state.past), _Memory(*state.memory)
        )
        logits = self._logits(embedded, past.hidden, context)
        output = DecoderOutput(
            logits=logits[:, :, None],
            attention=weights[:, :, None, None, None],
            gate=gate[..., None],
        )
        return output, DecoderState(memory=state.memory, past=past)

    def forward(
        self,
        features: Float[Tensor, "B P D"],
        words: Int[Tensor, "B K T"],
        *,
        with_attention: bool = False,
    ) -> DecoderOutput:
        """Read K whole captions of each image, START first."""
        state = self.init_state(features).reorder(torch.zeros_like(words[..., 0]))
        memory, past = _Memory(*state.memory), _Past(*state.past)
        embedded = self._embed(words)
        hiddens, contexts, attention, gates = [], [], [], []
        for t in range(words.shape[2]):
            past, context, weights, gate = self._advance(embedded[:, :, t], past, memory)
            hiddens.append(past.hidden)
            contexts.append(context)
            attention.append(weights)
            gates.append(gate)
        logits = self._logits(embedded, torch.stack(hiddens, dim=2), torch.stack(contexts, dim=2))
        return DecoderOutput(
            logits=logits,
            attention=torch.stack(attention, dim=2)[:, :, None, None] if with_attention else None,
            gate=torch.stack(gates, dim=2),
        )

    def evidence(
        self,
        features: Float[Tensor, "B P D"],
        words: Int[Tensor, "B T"],
        attention: Float[Tensor, "B M T P"],
    ) -> Float[Tensor, "B T P"]:
        """Return contributions through the context vector, ignoring those through the cell."""
        sought = self.words.output_weights[words] @ self.from_context.weight  # (B, T, C)
        return attention[:, 0] * (sought @ self.from_feature(features).mT)

    def _advance(
        self, embedded: Float[Tensor, "B K E"], past: _Past, memory: _Memory
    ) -> tuple[_Past, Float[Tensor, "B K C"], Float[Tensor, "B K P"], Float[Tensor, "B K"]]:
        """Attend, then update the state with the word and the attended feature."""
        context, weights = self.attention(past.hidden, memory.keys, memory.regions)
        gate = torch.sigmoid(self.gate(past.hidden))  # beta of section 4.2.1
        context = gate * context
        read = torch.cat([embedded, context], dim=-1).flatten(0, 1)
        hidden = past.hidden.flatten(0, 1)
        cell = None
        if isinstance(self.cell, nn.LSTMCell):
            assert past.cell is not None
            hidden, cell = self.cell(read, (hidden, past.cell.flatten(0, 1)))
            cell = cell.view_as(past.hidden)
        else:
            hidden = self.cell(read, hidden)
        return (
            _Past(hidden=hidden.view_as(past.hidden), cell=cell),
            context,
            weights,
            gate.squeeze(-1),
        )

    def _embed(self, words: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows E"]:
        return self.dropout(self.words(words) * self.word_scale)

    def _logits(
        self,
        embedded: Float[Tensor, "*rows E"],
        hidden: Float[Tensor, "*rows C"],
        context: Float[Tensor, "*rows C"],
    ) -> Float[Tensor, "*rows V"]:
        """Deep output layer (equation 7): score the sum of word, state and context."""
        state = embedded + self.from_hidden(self.dropout(hidden)) + self.from_context(context)
        return self.words.logits(self.dropout(state))
