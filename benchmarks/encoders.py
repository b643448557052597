"""Speed of encoders relative to the shipped one.

    python -m benchmarks.encoders [BACKBONE ...] [--batch 16] [--rounds 5] [--size 224]

Prints a line per backbone: parameters, grid, photos per second (median over the rounds), and the
ratio to the first one. Backbones alternate within a round, so a slow phase of the machine affects
all of them. Weights are random, which does not change the speed.
"""

import argparse
import statistics
import sys
import time

import torch

from benchmarks.command import command
from captioner.cli.options import positive
from captioner.model import Encoder
from captioner.pytorch import find_device

SHIPPED = "vit_tiny_patch16_224"
OTHERS = ("mobilenetv2_100", "tf_efficientnet_lite0", "resnet18", "resnet50")


@torch.inference_mode()
def photos_per_second(encoder: Encoder, pixels: torch.Tensor) -> float:
    """Time one forward pass, in seconds."""
    started = time.perf_counter()
    encoder(pixels)
    if pixels.is_cuda:
        torch.cuda.synchronize()
    return len(pixels) / (time.perf_counter() - started)


@command
def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.encoders", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "backbones",
        nargs="*",
        default=[SHIPPED, *OTHERS],
        help="timm models; the first is the reference",
    )
    parser.add_argument("--batch", type=positive, default=16, help="photos per batch (16)")
    parser.add_argument("--rounds", type=positive, default=5, help="measured rounds (5)")
    parser.add_argument(
        "--size", type=positive, default=224, help="side of the input in pixels (224)"
    )
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, ..."
    )
    args = parser.parse_args()
    device = find_device(args.device)
    size = (args.size, args.size)
    encoders = {name: Encoder(name, size=size).to(device) for name in args.backbones}
    pixels = torch.randn(args.batch, 3, *size, device=device)
    rates: dict[str, list[float]] = {name: [] for name in encoders}
    for round_number in range(args.rounds + 1):
        for name, encoder in encoders.items():
            rate = photos_per_second(encoder, pixels)
            if round_number > 0:  # the first round is a warm-up
                rates[name].append(rate)
    base = statistics.median(rates[args.backbones[0]])
    print(f"{torch.get_num_threads()} threads, {args.device}, batch {args.batch}, {size[0]} pixels")
    print(f"{'backbone':<28}{'M weights':>10}{'grid':>8}{'photos/s':>10}{'ratio':>7}")
    for name, encoder in encoders.items():
        weights = sum(p.numel() for p in encoder.parameters()) / 1e6
        rate = statistics.median(rates[name])
        grid = "x".join(map(str, encoder.grid))
        print(f"{name:<28}{weights:>10.1f}{grid:>8}{rate:>10.1f}{rate / base:>7.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
