"""Growth of time and memory of both decoders with regions and words.

    python -m benchmarks.growth [--device cpu] [--batch 4] [--rounds 3] [--plot FILE.svg]

Measures a training step (forward and backward, on random features) and a beam search of width 3 at
full length, with 49 to 2,304 regions at 16 words, and 8 to 128 words at 196 regions. `lstm` has
additive attention (Xu et al. 2015), `lstm, fused` scaled dot-product attention, `transformer`
PyTorch's fused kernel. Seconds are processor time on a CPU, where other programs may run, and the
best of the rounds. Megabytes are what a step saves for the backward pass, and the most that a
search holds at once, both with weights. The last column is the exponent of growth between the last
two sizes: 1 is linear, 2 quadratic. The plot needs matplotlib.
"""

import argparse
import math
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.command import check_plot, command
from captioner.cli.options import positive
from captioner.config import SearchConfig
from captioner.decoders import DecoderConfig, RecurrentConfig, TransformerConfig
from captioner.model import Decoder, build_decoder
from captioner.pytorch import find_device
from captioner.search import search
from captioner.words.constraints import Constraints

REGIONS = (49, 196, 576, 1024, 2304)
WORDS = (8, 16, 32, 64, 128)
FIXED_REGIONS, FIXED_WORDS = 196, 16
FEATURE_DIM, VOCABULARY = 768, 8000
KINDS: dict[str, DecoderConfig] = {
    "lstm": RecurrentConfig(),
    "lstm, fused": RecurrentConfig(attention="scaled_dot"),
    "transformer": TransformerConfig(
        width=512, heads=8, feedforward_width=2048, max_positions=2 * WORDS[-1]
    ),
}
Row = list[float]


def step_of(decoder: Decoder, features: Tensor, words: int) -> Callable[[], object]:
    """Run a training step without the optimizer."""
    captions = torch.randint(4, VOCABULARY, (len(features), 1, words), device=features.device)

    def step() -> None:
        decoder.train()(features, captions).logits.float().logsumexp(-1).mean().backward()

    return step


def search_of(decoder: Decoder, features: Tensor, words: int) -> Callable[[], object]:
    """Run a beam search whose captions cannot end early."""
    limits = Constraints(prefix=(1,), end_id=2, never_written=(0, 1, 2))
    config = SearchConfig(beam=3, max_words=words)
    return lambda: search(decoder.eval(), features, config=config, constraints=limits)


def seconds_of(program: Callable[[], object], device: torch.device, *, rounds: int) -> float:
    """Return the seconds of the fastest round."""
    best = math.inf
    for _ in range(rounds + 1):  # the first call is a warm-up
        clock = time.perf_counter if device.type == "cuda" else time.process_time
        started = clock()
        program()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, clock() - started)
    return best


def kept_by(program: Callable[[], object]) -> float:
    """Return the megabytes of tensors saved for the backward pass, each counted once."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        program()
    return sum(kept.values()) / 1e6


class _Held(TorchDispatchMode):
    """Counts the bytes of all tensors that operations read or make, while these exist."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, made)):
            if isinstance(tensor, Tensor) and tensor.untyped_storage() not in self._known:
                storage = tensor.untyped_storage()
                self._known.add(storage)
                self._count(storage.nbytes())
                weakref.finalize(storage, self._count, -storage.nbytes())
        self.peak = max(self.peak, self.now)
        return made

    def _count(self, size: int) -> None:
        self.now += size


def held_by(program: Callable[[], object]) -> float:
    """Return the megabytes of tensors that exist at once, at the most."""
    with _Held() as held:
        program()
    return held.peak / 1e6


def exponent(sizes: Sequence[int], values: Row) -> float:
    """Return the exponent of growth between the last two values: 1 is linear."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def measure(axis: str, *, device: torch.device, batch: int, rounds: int) -> dict[str, Row]:
    """Vary regions or words; return a row for each decoder and quantity."""
    rows: dict[str, Row] = {}
    for kind, config in KINDS.items():
        torch.manual_seed(0)
        decoder = build_decoder(config, words=VOCABULARY, feature_dim=FEATURE_DIM).to(device)
        for size in REGIONS if axis == "regions" else WORDS:
            regions, words = (size, FIXED_WORDS) if axis == "regions" else (FIXED_REGIONS, size)
            features = torch.randn(batch, regions, FEATURE_DIM, device=device)
            step, caption = (make(decoder, features, words) for make in (step_of, search_of))
            for what, value in (
                ("step, s", seconds_of(step, device, rounds=rounds)),
                ("step, MB", kept_by(step)),
                ("search, s", seconds_of(caption, device, rounds=rounds)),
                ("search, MB", held_by(caption)),
            ):
                rows.setdefault(f"{kind}: {what}", []).append(value)
    return rows


def draw(found: dict[str, dict[str, Row]], path: Path) -> None:
    """Plot all rows with logarithmic axes, on which powers are straight lines."""
    import matplotlib.pyplot as plt  # noqa: PLC0415  # only for the plot

    quantities = ("step, s", "step, MB", "search, s", "search, MB")
    figure, axes = plt.subplots(2, 4, figsize=(14, 6), layout="constrained")
    for line, (axis, rows) in zip(axes, found.items(), strict=True):
        for place, quantity in zip(line, quantities, strict=True):
            for kind in KINDS:
                sizes = REGIONS if axis == "regions" else WORDS
                place.loglog(sizes, rows[f"{kind}: {quantity}"], marker="o", label=kind)
            place.set(xlabel=axis, ylabel=quantity)
    axes[0][0].legend()
    figure.savefig(path)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its tables and draw its plot."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--device", default="cpu", help="cpu (the default), cuda, ...")
    parser.add_argument("--batch", type=positive, default=4, help="photos per batch (4)")
    parser.add_argument("--rounds", type=positive, default=3, help="measured rounds (3)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the results to this file")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    device = find_device(args.device)
    check_plot(args.plot)
    found = {}
    for axis, sizes in (("regions", REGIONS), ("words", WORDS)):
        found[axis] = measure(axis, device=device, batch=args.batch, rounds=args.rounds)
        print(f"| {axis} | {' | '.join(map(str, sizes))} | growth |")
        print(f"| --- |{' --- |' * (len(sizes) + 1)}")
        for name, row in found[axis].items():
            values = " | ".join(f"{value:.3g}" for value in row)
            print(f"| {name} | {values} | {exponent(sizes, row):.2f} |", flush=True)
        print()
    if args.plot:
        draw(found, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
