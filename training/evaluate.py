"""Caption a split with a checkpoint, write the results in COCO's format, print the scores.

python -m training.evaluate --checkpoint C --annotations A --images I [--split test] [--beam N]
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from captioner.checkpoint import load_checkpoint
from captioner.config import SearchConfig, to_table
from captioner.errors import CaptionerError
from captioner.model import CaptionModel
from captioner.search import search
from captioner.shipped import find_checkpoint
from captioner.tokenizer import Tokenizer
from data.archives import ImageSource
from data.batching import Batch, build_loader
from data.coco import load_records
from data.dataset import CaptionDataset
from training.metrics import score


@torch.inference_mode()
def caption_batches(
    model: CaptionModel, tokenizer: Tokenizer, batches: Iterable[Batch], config: SearchConfig
) -> dict[int, str]:
    """Caption every image of these batches, pixels or features; captions by image id."""
    model.eval()
    device = next(model.parameters()).device
    captions = {}
    for batch in batches:
        inputs = batch.inputs.to(device)
        features = inputs if inputs.ndim == 3 else model.encoder(inputs)
        found = search(
            model.decoder,
            features,
            config=config,
            start_id=tokenizer.start_id,
            end_id=tokenizer.end_id,
            forbidden=(tokenizer.pad_id, tokenizer.start_id, tokenizer.unk_id),
        )
        for image_id, hypotheses in zip(batch.image_ids, found, strict=True):
            captions[image_id] = tokenizer.decode(hypotheses.words[0])
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
    checkpoint: Path,
    *,
    annotations: Path,
    images: Sequence[str],
    split: str | None,
    search_overrides: Mapping[str, Any],
    batch_size: int = 32,
    workers: int = 0,
    device: str = "cpu",
) -> tuple[dict[int, str], dict[str, Any]]:
    """Caption a split and score it.

    Returns:
        Captions by image id, and scores with all that is needed to repeat them.
    """
    model, header = load_checkpoint(checkpoint, device=device)
    config = replace(header.search, **search_overrides)
    records = load_records(annotations, split=split)
    source = ImageSource(images)
    source.require(record.image for record in records)
    dataset = CaptionDataset(
        records, source, preprocess=header.preprocess, tokenizer=header.tokenizer
    )
    loader = build_loader(dataset, batch_size=batch_size, shuffle=False, workers=workers)
    batches = tqdm(loader, desc="captioning", unit="batch", file=sys.stderr, disable=None)
    captions = caption_batches(model, header.tokenizer, batches, config)
    references = {record.image_id: record.captions for record in records}
    result = {
        "scores": {**score(references, captions), **describe(captions)},
        "images": len(captions),
        "split": split,
        "annotations": annotations.name,
        "search": to_table(config),
        "tokenizer": "captioner-ptb",
        "checkpoint": header.name,
    }
    return captions, result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="name of a shipped checkpoint, or path")
    parser.add_argument("--annotations", required=True, type=Path, help="captions, any format")
    parser.add_argument("--images", required=True, nargs="+", help="folders or tar shards")
    parser.add_argument("--split", help="val, test, ...; by default all photos")
    parser.add_argument("--results", type=Path, help="write captions here, in COCO's format")
    parser.add_argument("--beam", type=int)
    parser.add_argument("--max-words", type=int)
    parser.add_argument("--length-penalty", type=float)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    given = {name: getattr(args, name) for name in ("beam", "max_words", "length_penalty")}
    overrides = {name: value for name, value in given.items() if value is not None}
    try:
        captions, result = evaluate(
            find_checkpoint(args.checkpoint),
            annotations=args.annotations,
            images=args.images,
            split=args.split,
            search_overrides=overrides,
            batch_size=args.batch_size,
            workers=args.workers,
            device=args.device,
        )
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.results:
        rows = [{"image_id": i, "caption": caption} for i, caption in captions.items()]
        args.results.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
