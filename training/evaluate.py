"""Caption a split with a checkpoint, and score the captions.

    python -m training.evaluate --checkpoint C --annotations A --images I [--split test] [--beam N]

Several checkpoints, each with its own `--checkpoint`, form an ensemble. One JSON object goes to
standard output: the scores, and everything needed to reproduce them. A table goes to standard
error. docs/scores.md explains every measure.
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
from captioner.durable import check_writable
from captioner.errors import CaptionerError, ConfigError
from captioner.pytorch import TorchCaptioner
from data.batching import build_loader
from data.coco import load_records
from data.dataset import CaptionDataset, derive_seed
from data.image_source import ImageSource
from data.progress import progress_bar
from training.metrics import TOKENIZER
from training.metrics.ptb import split_words
from training.options import add_options, add_report_options, at_least, given_search
from training.scoring.clipscore import ClipScorer
from training.scoring.layout import tabulate
from training.scoring.measures import (
    RESAMPLES,
    Words,
    describe_captions,
    measure_captions,
    measure_samples,
    read_training_captions,
    split_sentences,
)
from training.scoring.predictions import predict
from training.scoring.provenance import git_commit
from training.scoring.result_files import save_report, write_results

__all__ = ["EvaluationOptions", "evaluate"]

LONGEST = 40
"""Maximum length of a reference in tokens; longer ones are cut."""


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What to measure in addition to the scores."""

    resamples: int = RESAMPLES
    """Bootstrap resamples of the intervals; 0 omits them."""
    candidates: bool = False
    """Also measure diversity and oracle score of the beam's candidates."""
    samples: int = 0
    """Random captions per photo, for diversity and oracle score: 0, or at least 2."""
    temperature: float | None = None
    """Sampling temperature; None uses the checkpoint's."""
    top_p: float | None = None
    """Nucleus sampling threshold; None uses the checkpoint's."""
    training: tuple[Path, ...] = ()
    """Caption files whose training splits the model was trained on, for novelty."""
    clip: Path | None = None
    """Folder of a CLIP model, for CLIPScore."""
    seed: int = 0
    """Seed of all random choices."""

    def __post_init__(self) -> None:
        if self.samples < 0 or self.samples == 1:
            raise ConfigError(
                f"samples is {self.samples}; give 0, or 2 or more: diversity compares captions of "
                "the same photo."
            )
        if self.resamples < 0:
            raise ConfigError(f"bootstrap is {self.resamples}; it must be 0 or more.")


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
    options: EvaluationOptions = EvaluationOptions(),  # frozen
) -> tuple[dict[int, str], dict[str, Any]]:
    """Caption a split and score the captions.

    Args:
        checkpoint: name of a shipped checkpoint, or a path; several form an ensemble.
        annotations: captions in any format that `data.coco` reads.
        images: folders or tar archives.
        split: photos to caption; None captions all.
        search_changes: decoding settings that override the checkpoint's.
        batch_size: photos per batch.
        workers: worker processes that read photos.
        device: `auto`, `cpu`, `cuda`, ...
        options: what to measure in addition to the scores.

    Returns:
        Captions by image id, in the order of the annotations, and a report: the scores and
        everything needed to reproduce them.

    Raises:
        CaptionerError: checkpoint, captions or photos cannot be read or do not fit together.
    """
    names = [checkpoint] if isinstance(checkpoint, str | Path) else checkpoint
    paths = [find_checkpoint(name) for name in names]
    digest = ", ".join(map(checkpoint_digest, paths))
    identity = {"sha256": digest, "commit": git_commit()}  # before hours pass
    captioner = TorchCaptioner.ensemble(
        [TorchCaptioner.load(path, device=device) for path in paths]
    )
    header = captioner.header
    config = header.search_with(**(search_changes or {}))
    if options.candidates and (config.method != "beam" or config.beam == 1):
        raise ConfigError("--candidates needs beam search; give --beam 2 or more.")
    drawing = header.search_with(config, method="sample", **_given(options, "temperature", "top_p"))
    training = read_training_captions(options.training)
    scorer = ClipScorer(options.clip, device=device) if options.clip else None
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
    predicted = predict(
        captioner.model,
        header.tokenizer,
        progress_bar(loader, title="captioning"),
        config,
        drawing=drawing if options.samples else None,
        seeds=[derive_seed(options.seed, number) for number in range(options.samples)],
    )
    found = predicted.captions
    captions = {record.image_id: found[record.image_id] for record in records}
    references = split_sentences({record.image_id: record.captions for record in records})
    resampled: dict[str, Any] = {"resamples": options.resamples, "seed": options.seed}
    report = measure_captions(
        references,
        [split_words(caption) for caption in captions.values()],
        training=training,
        **resampled,
    )
    report["scores"] |= describe_captions(captions)
    if options.candidates:
        several = [predicted.candidates[image] for image in captions]
        report["candidates"] = _measure_candidates(references, several, **resampled)
    if options.samples:
        drawn = split_sentences({image: predicted.samples[image] for image in captions})
        settings = {name: getattr(drawing, name) for name in ("temperature", "top_k", "top_p")}
        report["samples"] = settings | measure_samples(references, drawn, **resampled)
    token = None if header.confidence is None else header.confidence.token
    report["calibration"] = predicted.teacher_forced.report(token)
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
    """Measure candidates as samples; a photo with fewer candidates repeats its best."""
    most = max(map(len, found))
    whole = {image: [*own, *[own[0]] * (most - len(own))] for image, own in enumerate(found)}
    fewer = sum(len(own) < most for own in found)
    return {"fewer": fewer} | measure_samples(references, split_sentences(whole), **resampled)


def _given(options: EvaluationOptions, *names: str) -> dict[str, Any]:
    values = {name: getattr(options, name) for name in names}
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
        help="name of a shipped checkpoint, or path; repeat for an ensemble",
    )
    add_options(parser)
    parser.add_argument("--split", help="val, test, ...; all photos by default")
    parser.add_argument(
        "--results", type=Path, help="also write the captions here, in COCO's results format"
    )
    parser.add_argument("--method", help="decoding method: beam, greedy or sample")
    parser.add_argument("--batch-size", type=at_least(1), default=32, help="photos per batch (32)")
    parser.add_argument(
        "--workers", type=at_least(0), default=0, help="worker processes that read photos (0)"
    )
    add_report_options(parser)
    parser.add_argument(
        "--candidates",
        action="store_true",
        help="also measure the other candidates of beam search",
    )
    parser.add_argument(
        "--samples",
        type=at_least(0),
        default=0,
        metavar="N",
        help="random captions per photo, to measure diversity and the best of them",
    )
    parser.add_argument(
        "--temperature", type=float, help="sampling temperature; lower is less diverse"
    )
    parser.add_argument(
        "--top-p",
        type=float,
        help="nucleus sampling: sample from the likeliest words up to this total probability",
    )
    parser.add_argument(
        "--clip", type=Path, metavar="FOLDER", help="folder of a CLIP model, for CLIPScore"
    )
    args = parser.parse_args(argv)
    try:
        for option in ("results", "json"):
            if path := getattr(args, option):
                check_writable(path, option=f"--{option}")
        captions, report = evaluate(
            args.checkpoint,
            annotations=args.annotations,
            images=args.images,
            split=args.split,
            search_changes=given_search(args),
            batch_size=args.batch_size,
            workers=args.workers,
            device=args.device,
            options=EvaluationOptions(
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
