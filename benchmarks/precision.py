"""Speed of encoders by number format and memory layout, and the effect on captions.

    python -m benchmarks.precision [--checkpoints NAME ...] [--backbones NAME ...] [--batch 16]
                                   [--rounds 7] [--threads N] [--photos FOLDER] [--compile]

Variants alternate within a round. Prints photos per second (median over the rounds) and the ratio
to plain float32. With `--photos`, captions of up to 200 of them, with the checkpoint's decoding
settings, are compared with those of float32: how many are the same, and how much their
log-probabilities differ (median). Backbones have random weights, which does not change the speed.

`int8` is PyTorch's dynamic quantisation of the linear layers; it does not cover convolutions.
`packed` has weights in the layout of `TorchCaptioner.packed`; `compiled` is torch.compile, which
takes a minute, and many minutes for convolutions.
"""

import argparse
import copy
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.command import command
from captioner.cli.options import positive
from captioner.errors import DataError
from captioner.model import Encoder
from captioner.photo.framing import Prepared
from captioner.pytorch import TorchCaptioner
from captioner.search import search
from captioner.speed.compilation import compile_encoder
from captioner.speed.packing import pack
from training.options import at_least

Way = Callable[[Tensor], Tensor]


def ways(encoder: Encoder, size: tuple[int, int], *, compiled: bool) -> dict[str, Way]:
    """Name -> variant of the encoder."""
    last = copy.deepcopy(encoder).to(memory_format=torch.channels_last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is to be replaced some day
        whole = torch.ao.quantization.quantize_dynamic(
            copy.deepcopy(encoder), {nn.Linear}, dtype=torch.qint8
        )

    def half(model: nn.Module, pixels: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features: Tensor = model(pixels)
            return features.float()

    def turned(pixels: Tensor) -> Tensor:
        return pixels.to(memory_format=torch.channels_last)

    packed = pack(last)
    found: dict[str, Way] = {
        "float32": encoder,
        "float32, channels last": lambda pixels: last(turned(pixels)),
        "float32, packed": lambda pixels: packed(turned(pixels)),
        "bfloat16": lambda pixels: half(encoder, pixels),
        "bfloat16, channels last": lambda pixels: half(last, turned(pixels)),
        "int8": whole,
    }
    if compiled:
        code, half_code = copy.deepcopy(last), copy.deepcopy(last)
        compile_encoder(code, size=size, precision=torch.float32)
        compile_encoder(half_code, size=size, precision=torch.bfloat16)
        found["float32, compiled"] = lambda pixels: code(turned(pixels))
        found["bfloat16, compiled"] = lambda pixels: half(half_code, turned(pixels))
    return found


@torch.inference_mode()
def measure(choices: dict[str, Way], pixels: Tensor, rounds: int) -> dict[str, float]:
    """Return photos per second of each variant: median over the rounds."""
    rates: dict[str, list[float]] = {name: [] for name in choices}
    for turn in range(rounds + 1):
        for name, way in choices.items():
            started = time.perf_counter()
            way(pixels)
            if turn:  # the first round is a warm-up
                rates[name].append(len(pixels) / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in rates.items()}


@torch.inference_mode()
def captions(
    captioner: TorchCaptioner, photos: list[Prepared], way: Way
) -> list[tuple[str, float]]:
    """Return text and log-probability of each photo's caption."""
    config, constraints = captioner.header.plan()
    found = []
    for start in range(0, len(photos), 40):
        features = way(
            torch.stack([torch.from_numpy(photo.pixels) for photo in photos[start : start + 40]])
        )
        found += search(
            captioner.model.decoder,
            features,
            config=config,
            constraints=constraints,
        )
    decode = captioner.header.tokenizer.decode
    return [(decode(one.tokens[0]), one.log_probability[0]) for one in found]


def compare(ours: list[tuple[str, float]], theirs: list[tuple[str, float]]) -> str:
    """Describe how many captions are the same, and how far their log-probabilities differ."""
    same = [abs(p - q) for (text, p), (other, q) in zip(ours, theirs, strict=True) if text == other]
    apart = statistics.median(same) if same else float("nan")
    return f"{100 * len(same) / len(ours):6.1f} % same, {apart:.4f} apart"


@command
def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.precision", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--checkpoints",
        nargs="*",
        default=["vit-tiny-transformer"],
        help="checkpoints whose encoders are measured",
    )
    parser.add_argument(
        "--backbones", nargs="*", default=["tf_efficientnet_lite0"], help="timm models to measure"
    )
    parser.add_argument("--batch", type=positive, default=16, help="photos per batch (16)")
    parser.add_argument("--rounds", type=positive, default=7, help="measured rounds (7)")
    parser.add_argument(
        "--threads", type=at_least(0), default=0, help="CPU threads; 0 uses PyTorch's default"
    )
    parser.add_argument("--photos", type=Path, help="folder of JPEG files to compare captions on")
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    files = sorted(args.photos.glob("*.jpg"))[:200] if args.photos else []
    if args.photos and not files:
        raise DataError(f"{args.photos}: no .jpg files; check the path.")
    print(f"{torch.get_num_threads()} threads, batch {args.batch}, {len(files)} photos compared")
    for name in [*args.checkpoints, *args.backbones]:
        captioner = TorchCaptioner.load(name, device="cpu") if name in args.checkpoints else None
        encoder = captioner.model.encoder if captioner else Encoder(name)
        encoder = encoder.eval().to(memory_format=torch.contiguous_format)
        size = captioner.header.preprocess if captioner else None
        shape = (size.height, size.width) if size else (224, 224)
        choices = ways(encoder, shape, compiled=args.compile)
        rates = measure(choices, torch.randn(args.batch, 3, *shape), args.rounds)
        photos = [captioner.prepare(file) for file in files] if captioner else []
        exact = captions(captioner, photos, encoder) if captioner and photos else []
        for way, rate in rates.items():
            line = f"{name:24}{way:26}{rate:8.1f} photos/s{rate / rates['float32']:7.2f} x"
            if captioner and photos:
                line += compare(captions(captioner, photos, choices[way]), exact)
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
