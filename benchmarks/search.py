"""Speed of our beam search relative to a plain loop and to Hugging Face `generate`.

    python -m benchmarks.search [--batch 32] [--beam 3] [--words 16] [--rounds 5] [--threads N]

Three programs search for captions of the same features, with decoders of the same widths, depth and
vocabulary. Weights are random, and END is forbidden, so every beam has exactly `--words` tokens.
The plain loop is a textbook beam search: one photo at a time, without a key/value cache. Programs
alternate within a round. Prints captions per second (median over the rounds) and our speed-up.
Needs the package `transformers`.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.command import command
from benchmarks.peers import (
    ENCODER_WIDTH,
    END,
    FEEDFORWARD,
    HEADS,
    LAYERS,
    PAD,
    START,
    WIDTH,
    WORDS,
    build_peer,
    generation,
)
from captioner.cli.options import positive
from captioner.config import SearchConfig
from captioner.decoders import TransformerConfig
from captioner.model import Decoder, build_decoder
from captioner.pytorch import find_device
from captioner.search import search
from captioner.words.constraints import Constraints
from training.options import at_least

REGIONS = 196

Program = Callable[[], object]


def ours(features: Tensor, *, beam: int, words: int, kind: str = "fast") -> Program:
    """Search as the captioner does, or with the plain loop."""
    config = TransformerConfig(
        width=WIDTH, layers=LAYERS, heads=HEADS, feedforward_width=FEEDFORWARD
    )
    decoder = (
        build_decoder(config, words=WORDS, feature_dim=ENCODER_WIDTH).to(features.device).eval()
    )
    if kind == "plain":
        return lambda: [
            plain_beam_search(decoder, image[None], beam=beam, words=words) for image in features
        ]
    settings = SearchConfig(beam=beam, max_words=words)
    limits = Constraints(prefix=(START,), end_id=END, never_written=(PAD, START, END))
    return lambda: search(decoder, features, config=settings, constraints=limits)


@torch.inference_mode()
def plain_beam_search(decoder: Decoder, image: Tensor, *, beam: int, words: int) -> Tensor:
    """Run a textbook beam search on one photo; return the best tokens (T)."""
    captions = torch.tensor([[START]], device=image.device)
    value = torch.zeros(1, device=image.device)
    for _ in range(words):
        logits = decoder(image, captions[None]).logits[0, :, -1]
        logits[:, [PAD, START, END]] = -torch.inf
        total = (value[:, None] + logits.log_softmax(dim=-1)).flatten()
        value, places = total.topk(beam)
        parents, chosen = places // logits.shape[1], places % logits.shape[1]
        captions = torch.cat([captions[parents], chosen[:, None]], dim=1)
    return captions[0, 1:]


def hugging_face(features: Tensor, *, beam: int, words: int) -> Program:
    """Search with `generate` on an encoder-decoder of the same size."""
    model = build_peer(encoder_layers=1).to(features.device)
    from transformers.modeling_outputs import BaseModelOutput  # noqa: PLC0415

    settings = generation(beam=beam, words=words)
    # `generate` repeats the features for every beam inside the object it is given, so each call
    # gets a new one: a second call would otherwise search for three times as many photos.
    return lambda: model.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=features), generation_config=settings
    )


def measure(programs: dict[str, Program], *, batch: int, rounds: int) -> dict[str, float]:
    """Return captions per second of each: median over the rounds."""
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, program in programs.items():
            started = time.perf_counter()
            program()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:  # the first round is a warm-up
                rates[name].append(batch / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in rates.items()}


@command
def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--batch", type=positive, default=32, help="photos per batch (32)")
    parser.add_argument("--beam", type=positive, default=3, help="beam width (3)")
    parser.add_argument("--words", type=positive, default=16, help="tokens per caption (16)")
    parser.add_argument("--rounds", type=positive, default=5, help="measured rounds (5)")
    parser.add_argument(
        "--threads", type=at_least(0), default=0, help="CPU threads; 0 uses PyTorch's default"
    )
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, ..."
    )
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    features = torch.randn(args.batch, REGIONS, ENCODER_WIDTH, device=find_device(args.device))
    size = {"beam": args.beam, "words": args.words}
    programs = {
        "captioner": ours(features, **size),
        "plain loop": ours(features, **size, kind="plain"),
        "transformers": hugging_face(features, **size),
    }
    rates = measure(programs, batch=args.batch, rounds=args.rounds)
    print(
        f"batch {args.batch}, beam {args.beam}, {args.words} words, {args.device}, "
        f"{torch.get_num_threads()} threads"
    )
    for name, rate in rates.items():
        print(f"{name:14}{rate:10.1f} captions/s{rates['captioner'] / rate:8.2f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
