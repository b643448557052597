"""Release a run's checkpoint: measure it, and write it with its report.

    python -m training.release runs/NAME/best.safetensors --annotations A --images I --split test

Captions the split with the given decoding settings, which become the checkpoint's defaults, as does
the attention method of `--attention` (`training.grounding` measures which is best). Writes
`checkpoints/NAME/model.safetensors` in half precision, with ONNX graphs and the captions beside it,
and prints the report, which includes METEOR if Java and pycocoevalcap are installed.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from captioner.checkpoint.files import WEIGHTS
from captioner.checkpoint.shipped import find_checkpoint
from captioner.checkpoint.weights import load_checkpoint, save_checkpoint
from captioner.config import OF_CAPTIONS, AttentionConfig, AttentionMethod
from captioner.durable import check_writable
from captioner.errors import CaptionerError, ConfigError, MissingExtraError
from captioner.onnx.export import export_onnx
from data.coco import load_records
from training.evaluate import evaluate
from training.options import add_options, given_search
from training.scoring.official import TOKENIZER, score_official
from training.scoring.result_files import write_results


def release(
    checkpoint: Path,
    *,
    annotations: Path,
    images: Sequence[str],
    split: str,
    search_changes: dict[str, Any],
    folder: Path,
    attention: AttentionMethod | None = None,
    name: str | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure a checkpoint on a split, and write it with the report to `folder`/`name`.

    Name and attention method default to the checkpoint's own.

    Returns:
        The report of `training.evaluate`, with the official scores under `official` if available,
        and the seed of the training run.

    Raises:
        CaptionerError: checkpoint, captions or photos cannot be read or do not fit together, or the
            network cannot be exported.
    """
    check_writable(folder / (name or ""), folder=True, option="--folder")
    path = find_checkpoint(str(checkpoint))
    model, header = load_checkpoint(path)
    if attention == "evidence" and not model.decoder.has_evidence:
        raise ConfigError(f"{checkpoint} does not support --attention evidence; leave it out.")
    with TemporaryDirectory() as trial:  # what cannot be exported fails before the measuring
        export_onnx(path, Path(trial))
    captions, report = evaluate(
        checkpoint,
        annotations=annotations,
        images=images,
        split=split,
        search_changes=search_changes,
        device=device,
    )
    references = {r.image_id: r.captions for r in load_records(annotations, split=split)}
    try:
        official = score_official(references, captions)
        report["official"] = {"tokenizer": TOKENIZER, "scores": official}
    except MissingExtraError as error:
        print(f"METEOR is left out: {error}", file=sys.stderr)
    report["seed"] = header.trained_on.get("settings", {}).get("seed")
    header = replace(
        header,
        name=name or header.name,
        search=header.search_with(**search_changes),
        attention=AttentionConfig(method=attention) if attention else header.attention,
        scores={**header.scores, split: report},
    )
    target = folder / header.name
    save_checkpoint(target / WEIGHTS, model, header, half=True)
    export_onnx(target / WEIGHTS, target)
    write_results(target / f"{split}_captions.json", captions)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m training.release",
        description="Measure a run's checkpoint, and write it to the folder of shipped ones.",
    )
    parser.add_argument("checkpoint", type=Path, help="best.safetensors of a run")
    add_options(parser)
    parser.add_argument("--split", default="test", help="split to measure on (test)")
    parser.add_argument("--attention", choices=OF_CAPTIONS, help="default method of overlays")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("checkpoints"),
        help="folder of shipped checkpoints (checkpoints)",
    )
    parser.add_argument("--name", help="name of the released checkpoint (default: the run's)")
    args = parser.parse_args(argv)
    try:
        report = release(
            args.checkpoint,
            annotations=args.annotations,
            images=args.images,
            split=args.split,
            search_changes=given_search(args),
            folder=args.folder,
            attention=args.attention,
            name=args.name,
            device=args.device,
        )
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
