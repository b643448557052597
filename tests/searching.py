"""Searches as tests ask for them: of tensors, and of arrays by the same decoders."""

import torch

from captioner.config import SearchConfig
from captioner.search import Candidates, search, search_steps
from captioner.words.constraints import Constraints
from tests.toys import END, SPECIALS, START

NAMESPACE = "torch"
"""What searches are made of; the fixture `namespace` runs a test with each."""


def constraints(*, prompt: tuple[int, ...] = (), **others) -> Constraints:
    return Constraints(prefix=(START, *prompt), end_id=END, never_written=SPECIALS, **others)


PLAIN = constraints()


def find(decoder, features=None, *, constraints=PLAIN, noise=None, **settings):
    config = SearchConfig(**settings)
    return search(*_given(decoder, features), config=config, constraints=constraints, noise=noise)


def watch(decoder, features=None, *, constraints=PLAIN, **settings) -> list[Candidates]:
    """What search shows after every word; the last one is what it found."""
    config = SearchConfig(**settings)
    return list(search_steps(*_given(decoder, features), config=config, constraints=constraints))


def in_namespace(x: torch.Tensor):
    if NAMESPACE == "torch":
        return x
    x = x.detach()
    return (x.float() if x.is_floating_point() else x).numpy()


def _given(decoder, features):
    features = decoder.images() if features is None else features
    return InNumPy(decoder) if NAMESPACE == "numpy" else decoder, in_namespace(features)


class InNumPy:
    """A decoder of tensors that takes and gives arrays."""

    def __init__(self, decoder):
        self.decoder = decoder
        parameters = getattr(decoder, "parameters", list)()
        self.kind = next((x.dtype for x in parameters), torch.float32)

    @torch.no_grad()
    def init_state(self, features):
        return InNumPyState(self.decoder.init_state(torch.from_numpy(features).to(self.kind)))

    @torch.no_grad()
    def step(self, words, state):
        logits, grown = self.decoder.step(torch.from_numpy(words), state.inner)
        return logits.float().numpy(), InNumPyState(grown)


class InNumPyState:
    def __init__(self, inner):
        self.inner = inner

    def reorder(self, parents):
        return InNumPyState(self.inner.reorder(torch.from_numpy(parents)))

    def select(self, images):
        return InNumPyState(self.inner.select(torch.from_numpy(images)))
