"""Caption a split with a checkpoint, write the results in COCO's format, print the scores.

    python -m training.evaluate --checkpoint C --annotations A --images I [--split test] [--beam N]

One JSON object goes to stdout: the scores, and all that is needed to get them again.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from captioner import Captioner
from captioner.config import SearchConfig, to_table
from captioner.errors import CaptionerError, DataError
from captioner.model import CaptionModel
from captioner.search import search
from captioner.tokenizer import Tokenizer
from data.archives import ImageSource
from data.batching import Batch, build_loader
from data.coco import load_records
from data.dataset import CaptionDataset
from training.metrics import TOKENIZER, score


@torch.inference_mode()
def caption_batches(
    model: CaptionModel, tokenizer: Tokenizer, batches: Iterable[Batch], config: SearchConfig
) -> dict[int, str]:
    """Caption every image of these batches, pixels or features; captions by image id.

    The model is left in evaluation mode.
    """
    model.eval()
    device = next(model.parameters()).device
    captions = {}
    for batch in batches:
        seen = batch.inputs.to(device)
        found = search(
            model.decoder,
            seen if seen.ndim == 3 else model.encoder(seen),  # features, or pixels
            config=config,
            start_id=tokenizer.start_id,
            end_id=tokenizer.end_id,
            forbidden=tokenizer.never_written,
        )
        for image_id, candidates in zip(batch.image_ids, found, strict=True):
            captions[image_id] = tokenizer.decode(candidates.words[0])
    return captions


def describe(captions: Mapping[int, str]) -> dict[str, float]:
    """Count what tells a captioner from one that says the same of every photo."""
    words = [caption.lower().split() for caption in captions.values()]
    return {
        "distinct_captions": len(set(captions.values())),
        "vocabulary": len({word for caption in words for word in caption}),
        "mean_words": sum(map(len, words)) / len(words),
    }


def evaluate(
    checkpoint: str | Path,
    *,
    annotations: Path,
    images: Sequence[str],
    split: str | None = None,
    search_changes: Mapping[str, Any] | None = None,
    batch_size: int = 32,
    workers: int = 0,
    device: str = "auto",
) -> tuple[dict[int, str], dict[str, Any]]:
    """Caption a split and score it.

    Args:
        checkpoint: name of a shipped checkpoint, or a path.
        annotations: captions in any format that `data.coco` reads.
        images: folders or tar archives.
        split: which photos; None takes all.
        search_changes: settings of the search in which this one differs from what the checkpoint
            recommends.
        batch_size: photos captioned together.
        workers: processes that read photos.
        device: where the model runs.

    Returns:
        Captions by image id in the order of the annotations, and a report: the scores with all that
        is needed to get them again.

    Raises:
        CaptionerError: checkpoint, captions or photos are not as they should be.
    """
    captioner = Captioner.load(checkpoint, device=device)
    header = captioner.header
    config = header.search_with(**(search_changes or {}))
    records = load_records(annotations, split=split)
    dataset = CaptionDataset(
        records, ImageSource(images), preprocess=header.preprocess, tokenizer=header.tokenizer
    )
    loader = build_loader(
        dataset,
        batch_size=batch_size,
        shuffle=False,
        pad_id=header.tokenizer.pad_id,
        workers=workers,
    )
    batches = tqdm(loader, desc="captioning", unit="batch", disable=None)
    found = caption_batches(captioner.model, header.tokenizer, batches, config)
    captions = {record.image_id: found[record.image_id] for record in records}
    references = {record.image_id: record.captions for record in records}
    report = {
        "scores": {**score(references, captions), **describe(captions)},
        "images": len(captions),
        "split": split,
        "annotations": annotations.name,
        "search": to_table(config),
        "tokenizer": TOKENIZER,
        "checkpoint": header.name,
    }
    return captions, report


def write_results(path: Path, captions: Mapping[int, str]) -> None:
    """Write captions in COCO's results format, which `training.score` reads.

    Raises:
        DataError: the file cannot be written.
    """
    rows = [{"image_id": image, "caption": caption} for image, caption in captions.items()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"Results {path} cannot be written: {error.strerror}.") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description="Caption a split with a checkpoint and score the captions.",
    )
    parser.add_argument("--checkpoint", required=True, help="name of a shipped checkpoint, or path")
    add_options(parser)
    parser.add_argument("--split", help="val, test, ...; by default all photos")
    parser.add_argument("--results", type=Path, help="write captions here, in COCO's format")
    parser.add_argument("--method", help="beam, greedy or sample")
    parser.add_argument("--batch-size", type=_from(1), default=32, help="photos at once")
    parser.add_argument("--workers", type=_from(0), default=0, help="processes that read photos")
    args = parser.parse_args(argv)
    try:
        captions, report = evaluate(
            args.checkpoint,
            annotations=args.annotations,
            images=args.images,
            split=args.split,
            search_changes=given_search(args),
            batch_size=args.batch_size,
            workers=args.workers,
            device=args.device,
        )
        print(json.dumps(report))
        if args.results:
            write_results(args.results, captions)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command that captions a split asks for."""
    parser.add_argument("--annotations", required=True, type=Path, help="captions, any format")
    parser.add_argument("--images", required=True, nargs="+", help="folders or tar archives")
    parser.add_argument("--beam", type=int, help="captions kept in play by beam search")
    parser.add_argument("--max-words", type=int, help="longest caption, in tokens")
    parser.add_argument("--length-penalty", type=float, help="above 0 favours longer captions")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, ...")


def given_search(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the search that were given; the checkpoint recommends the rest."""
    names = ("method", "beam", "max_words", "length_penalty")
    given = {name: getattr(args, name, None) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def _from(least: int) -> Callable[[str], int]:
    """Make a reader of whole numbers from this one on."""

    def count(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is too small; it must be {least} or more")
        return int(text)

    return count


if __name__ == "__main__":
    sys.exit(main())
