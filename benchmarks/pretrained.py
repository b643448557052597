"""Compare captions and speed of a pretrained model here and in transformers.

    python -m benchmarks.pretrained CHECKPOINT PHOTO... [--beam 3] [--words 20] [--threads 1]

CHECKPOINT is a pretrained model as for `captioner caption --checkpoint`: a name from `captioner
checkpoints`, hf:OWNER/NAME, or a folder. Both programs get the same pixels, preprocessed here, and
the model's default prompt, and may write any token. Prints, for greedy decoding and beam search,
the seconds per photo of each program, wall clock and processor time (all photos in one batch, after
a warm-up), and the captions, both where they differ; and how far the pixels of transformers' own
preprocessing differ. Those of photos with an EXIF rotation or a colour profile differ on purpose:
transformers ignores both.

Needs the packages `transformers` and, for the hub, `huggingface_hub`.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.command import command
from captioner.checkpoint.header import Header
from captioner.checkpoint.shipped import find_checkpoint
from captioner.cli.options import positive
from captioner.config import SearchConfig
from captioner.errors import CaptionerError
from captioner.pytorch import TorchCaptioner
from captioner.search import search
from captioner.words.tokenizer import TASKS


def caption_here(
    captioner: TorchCaptioner, pixels: Tensor, config: SearchConfig
) -> list[list[int]]:
    """Return the token ids of the best caption of each photo."""
    _, constraints = captioner.header.plan(config)
    with torch.inference_mode():
        features = captioner.model.encoder(pixels)
    found = search(
        captioner.decoder,
        features,
        config=config,
        constraints=replace(constraints, never_written=()),
    )
    return [own.tokens[0] for own in found]


@torch.inference_mode()
def caption_there(
    model: Any, header: Header, pixels: Tensor, config: SearchConfig
) -> list[list[int]]:
    """Return the same from transformers' model and its `generate`."""
    kind, tokenizer = model.config.model_type, header.tokenizer
    prefix = list(header.plan(config)[1].prefix)
    inputs: dict[str, Tensor] = {}

    def rows(ids: Sequence[int]) -> Tensor:
        return torch.tensor([list(ids)] * len(pixels))

    if kind == "blip":
        inputs["input_ids"] = rows([*prefix, tokenizer.end_id])  # it drops the last one
    elif kind == "git":
        inputs["input_ids"] = rows(prefix)
    else:
        inputs["decoder_input_ids"] = rows(prefix)
    if kind == "florence2":
        regions = pixels.shape[2] // 32 * (pixels.shape[3] // 32) + 1
        task = [*tokenizer.marks.then, *tokenizer.encode(TASKS["<CAPTION>"]), tokenizer.end_id]
        inputs["input_ids"] = rows([model.config.image_token_id] * regions + task)
    how: dict[str, Any] = {"num_beams": 1}
    if config.method == "beam":
        how = {"num_beams": config.beam, "length_penalty": config.length_penalty}
    ids = model.generate(
        pixel_values=pixels, do_sample=False, max_new_tokens=config.max_words, **how, **inputs
    )
    found = [row[len(prefix) :] for row in ids.tolist()]
    end = tokenizer.end_id
    return [row[: row.index(end)] if end in row else row for row in found]


def compare(checkpoint: str, photos: Sequence[Path], *, beam: int, words: int) -> int:
    """Print captions and speed of both; return how many greedy captions differ."""
    import transformers  # noqa: PLC0415  # an extra

    folder = find_checkpoint(checkpoint)
    if not folder.is_dir():
        raise CaptionerError(f"{checkpoint}: is no captioner that others trained.")
    captioner = TorchCaptioner.load(folder, device="cpu")
    header, tokenizer = captioner.header, captioner.header.tokenizer
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    prepared = [torch.from_numpy(captioner.prepare(photo).pixels) for photo in photos]
    _compare_pixels(transformers, folder, photos, prepared)
    pixels = torch.stack(prepared)
    changed = 0
    plain = header.search_with(max_words=words, no_repeat=0)
    for name, config in (
        ("greedy", header.search_with(plain, method="greedy")),
        (f"beam {beam}", header.search_with(plain, method="beam", beam=beam)),
    ):
        (
            caption_here(captioner, pixels[:1], config),
            caption_there(model, header, pixels[:1], config),
        )
        start = _clocks()
        ours = caption_here(captioner, pixels, config)
        middle = _clocks()
        theirs = caption_there(model, header, pixels, config)
        here, there = (middle - start) / len(photos), (_clocks() - middle) / len(photos)
        print(
            f"{name}: {here[0]:.2f} s a photo here, {there[0]:.2f} in transformers; of processor "
            f"time {here[1]:.2f} and {there[1]:.2f}"
        )
        for photo, one, other in zip(photos, ours, theirs, strict=True):
            print(f"  {photo.name}: {tokenizer.decode(one)}")
            if one != other:
                print(f"  {' ' * len(photo.name)}  transformers: {tokenizer.decode(other)}")
                changed += name == "greedy"
    return changed


def _clocks() -> Tensor:
    """Return wall-clock and processor seconds."""
    return torch.tensor([time.perf_counter(), time.process_time()], dtype=torch.float64)


def _compare_pixels(
    transformers: Any, folder: Path, photos: Sequence[Path], prepared: Sequence[Tensor]
) -> None:
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
    except OSError:
        print("pixels: the repository has no file of preprocessing")
        return
    for photo, ours in zip(photos, prepared, strict=True):
        with Image.open(photo) as image:
            theirs = processor(image.convert("RGB"), return_tensors="pt")["pixel_values"][0]
        print(f"pixels of {photo.name}: at most {(theirs - ours).abs().max():.1e} apart")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if greedy captions differ or something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pretrained", description=__doc__.splitlines()[0]
    )
    parser.add_argument("checkpoint", help="pretrained model: a name, hf:OWNER/NAME, or a folder")
    parser.add_argument("photos", nargs="+", type=Path, help="photos to caption")
    parser.add_argument("--beam", type=positive, default=3, help="beam width (3)")
    parser.add_argument(
        "--words", type=positive, default=20, help="maximum tokens per caption (20)"
    )
    parser.add_argument("--threads", type=positive, default=1, help="CPU threads (1)")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    return int(compare(args.checkpoint, args.photos, beam=args.beam, words=args.words) > 0)


if __name__ == "__main__":
    sys.exit(main())
