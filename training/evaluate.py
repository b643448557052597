"""Caption a split with a checkpoint, write the results in COCO's format, print the scores.

    python -m training.evaluate --checkpoint C --annotations A --images I [--split test] [--beam N]

Several checkpoints, each after a `--checkpoint` of its own, caption together.
One JSON object goes to stdout: the scores, and all that is needed to get them again; a table for
reading to stderr. docs/scores.md says what each measure means.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.checkpoint.files import checkpoint_digest
from captioner.checkpoint.shipped import find_checkpoint
from captioner.config import to_table
from captioner.errors import CaptionerError, ConfigError
from captioner.pytorch import TorchCaptioner
from data.batching import build_loader
from data.coco import load_records
from data.dataset import CaptionDataset, derive_seed
from data.image_source import ImageSource
from training.metrics import TOKENIZER
from training.metrics.ptb import split_words
from training.metrics.variety import count_variety
from training.options import add_options, add_report_options, at_least, given_search
from training.scoring.clipscore import ClipScorer
from training.scoring.layout import tabulate
from training.scoring.measures import (
    RESAMPLES,
    Words,
    measure_captions,
    measure_samples,
    read_training_captions,
    split_sentences,
)
from training.scoring.observing import observe
from training.scoring.provenance import git_commit
from training.scoring.result_files import save_report, write_results
from training.watching import watched

__all__ = ["Extent", "describe_captions", "evaluate"]

LONGEST = 40
"""Tokens of a reference that are read; the rest is cut off."""


def describe_captions(captions: Mapping[int, str]) -> dict[str, float]:
    """Count what tells a captioner from one that says the same of every photo.

    Words are those of the metrics: a character each where there are no spaces between words.
    """
    words = [split_words(caption) for caption in captions.values()]
    return {**count_variety(words), "mean_words": sum(map(len, words)) / len(words)}


@dataclass(frozen=True, kw_only=True)
class Extent:
    """What is measured besides the scores."""

    resamples: int = RESAMPLES
    """Draws of images for the intervals; 0 leaves them out."""
    candidates: bool = False
    """Diversity and oracle of what the search found beside the captions, too."""
    samples: int = 0
    """Captions drawn of each photo for diversity and oracle: none, or 2 and more."""
    temperature: float | None = None
    """Of those draws; None takes what the search says."""
    top_p: float | None = None
    """Likewise."""
    training: tuple[Path, ...] = ()
    """Caption files whose training splits the model has read, for novelty."""
    clip: Path | None = None
    """Folder of a CLIP model, for CLIPScore."""
    seed: int = 0
    """Of all draws."""

    def __post_init__(self) -> None:
        if self.samples == 1 or min(self.samples, self.resamples) < 0:
            raise ConfigError(
                f"samples is {self.samples}, resamples {self.resamples}; they must be 0 or more, "
                "and one caption cannot differ from itself: draw 2 or more of each photo."
            )


def evaluate(
    checkpoint: str | Path | Sequence[str | Path],
    *,
    annotations: Path,
    images: Sequence[str],
    split: str | None = None,
    search_changes: Mapping[str, Any] | None = None,
    batch_size: int = 32,
    workers: int = 0,
    device: str = "auto",
    extent: Extent = Extent(),  # frozen
) -> tuple[dict[int, str], dict[str, Any]]:
    """Caption a split and measure it.

    Args:
        checkpoint: name of a shipped checkpoint, or a path; or several, that caption together.
        annotations: captions in any format that `data.coco` reads.
        images: folders or tar archives.
        split: which photos; None takes all.
        search_changes: settings of the search in which this one differs from what the checkpoint
            recommends.
        batch_size: photos captioned together.
        workers: processes that read photos.
        device: where the model runs.
        extent: what is measured besides the scores.

    Returns:
        Captions by image id in the order of the annotations, and a report: the scores with all that
        is needed to get them again.

    Raises:
        CaptionerError: checkpoint, captions or photos are not as they should be.
    """
    names = [checkpoint] if isinstance(checkpoint, str | Path) else checkpoint
    paths = [find_checkpoint(name) for name in names]
    digest = ", ".join(map(checkpoint_digest, paths))
    identity = {"sha256": digest, "commit": git_commit()}  # before hours may pass
    captioner = TorchCaptioner.ensemble(
        [TorchCaptioner.load(path, device=device) for path in paths]
    )
    header = captioner.header
    config = header.search_with(**(search_changes or {}))
    if extent.candidates and (config.method != "beam" or config.beam == 1):
        raise ConfigError("only beam search has several candidates; give --beam 2 or more.")
    drawing = header.search_with(config, method="sample", **_given(extent, "temperature", "top_p"))
    training = read_training_captions(extent.training)
    scorer = ClipScorer(extent.clip, device=device) if extent.clip else None
    records = load_records(annotations, split=split)
    source = ImageSource(images)
    behind = header.tokenizer.behind(config.prompt)
    longest = LONGEST if header.longest is None else header.longest - len(behind.prefix)
    dataset = CaptionDataset(
        records,
        source,
        preprocess=header.preprocess,
        tokenizer=behind,
        max_words=min(longest, LONGEST),
    )
    loader = build_loader(
        dataset,
        batch_size=batch_size,
        shuffle=False,
        pad_id=header.tokenizer.pad_id,
        workers=workers,
    )
    seen = observe(
        captioner.model,
        header.tokenizer,
        watched(loader, title="captioning"),
        config,
        drawing=drawing if extent.samples else None,
        seeds=[derive_seed(extent.seed, place) for place in range(extent.samples)],
    )
    found = seen.captions
    captions = {record.image_id: found[record.image_id] for record in records}
    references = split_sentences({record.image_id: record.captions for record in records})
    resampled: dict[str, Any] = {"resamples": extent.resamples, "seed": extent.seed}
    report = measure_captions(
        references,
        [split_words(caption) for caption in captions.values()],
        training=training,
        **resampled,
    )
    report["scores"] |= describe_captions(captions)
    if extent.candidates:
        several = [seen.candidates[image] for image in captions]
        report["candidates"] = _measure_candidates(references, several, **resampled)
    if extent.samples:
        drawn = split_sentences({image: seen.samples[image] for image in captions})
        settings = {name: getattr(drawing, name) for name in ("temperature", "top_k", "top_p")}
        report["samples"] = settings | measure_samples(references, drawn, **resampled)
    token = None if header.confidence is None else header.confidence.token
    report["calibration"] = seen.reading.report(token)
    if scorer is not None:
        report["clip"] = scorer.score(records, source, captions, **resampled)
    return captions, {
        **report,
        "images": len(captions),
        "split": split,
        "annotations": annotations.name,
        "search": to_table(config),
        "tokenizer": TOKENIZER,
        "checkpoint": header.name,
        **identity,
        **resampled,
    }


def _measure_candidates(
    references: Sequence[Sequence[Words]], found: Sequence[Sequence[str]], **resampled: Any
) -> dict[str, Any]:
    """Measure candidates as samples; where there are fewer of a photo, its best counts again."""
    most = max(map(len, found))
    whole = {image: [*own, *[own[0]] * (most - len(own))] for image, own in enumerate(found)}
    fewer = sum(len(own) < most for own in found)
    return {"fewer": fewer} | measure_samples(references, split_sentences(whole), **resampled)


def _given(extent: Extent, *names: str) -> dict[str, Any]:
    values = {name: getattr(extent, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description="Caption a split with a checkpoint and score the captions.",
    )
    parser.add_argument(
        "--checkpoint",
        required=True,
        action="append",
        help="name of a shipped checkpoint, or path; given again, they caption together",
    )
    add_options(parser)
    parser.add_argument("--split", help="val, test, ...; by default all photos")
    parser.add_argument("--results", type=Path, help="write captions here, in COCO's format")
    parser.add_argument("--method", help="beam, greedy or sample")
    parser.add_argument("--batch-size", type=at_least(1), default=32, help="photos at once")
    parser.add_argument("--workers", type=at_least(0), default=0, help="processes that read photos")
    add_report_options(parser)
    parser.add_argument(
        "--candidates",
        action="store_true",
        help="measure what beam search found beside each caption, too",
    )
    parser.add_argument(
        "--samples",
        type=at_least(0),
        default=0,
        metavar="N",
        help="captions drawn of each photo, for diversity and for the best of them",
    )
    parser.add_argument("--temperature", type=float, help="of draws; below 1 is safer")
    parser.add_argument("--top-p", type=float, help="of draws: probability of the words kept")
    parser.add_argument("--clip", type=Path, metavar="FOLDER", help="a CLIP model, for CLIPScore")
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
            extent=Extent(
                resamples=args.bootstrap,
                candidates=args.candidates,
                samples=args.samples,
                temperature=args.temperature,
                top_p=args.top_p,
                training=tuple(args.training_captions),
                clip=args.clip,
                seed=args.seed,
            ),
        )
        print(tabulate(report), file=sys.stderr)
        print(json.dumps(report))
        if args.results:
            write_results(args.results, captions)
        if args.json:
            save_report(args.json, report)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
