"""Captions, photos, tokenizer and initial model of a run."""

from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from captioner.checkpoint.header import METADATA_KEY, Header, read_header
from captioner.checkpoint.hub.backbones import find_weights
from captioner.checkpoint.shipped import find_checkpoint
from captioner.checkpoint.weights import load_checkpoint
from captioner.errors import CheckpointError, ConfigError
from captioner.model import CaptionModel, build_model
from captioner.words.tokenizer import Tokenizer
from data.coco import Record, load_records
from data.image_source import ImageSource
from data.packed import Packed
from training.settings import DataConfig, RunConfig, SourceConfig


def load_sources(sources: Sequence[SourceConfig]) -> tuple[Packed[Record], ImageSource]:
    """Read the captions of several sources, and check that all their photos exist.

    Raises:
        DataError: captions or photos are missing or do not fit together.
    """
    records = Packed(
        record
        for source in sources
        for record in load_records(Path(source.annotations), split=source.split)[: source.limit]
    )
    photos = ImageSource([path for source in sources for path in source.images])
    photos.require(record.image for record in records)
    return records, photos


def choose_tokenizer(config: RunConfig, records: Sequence[Record]) -> Tokenizer:
    """Load the tokenizer of the `start_from` checkpoint, or train one on the captions.

    Raises:
        CheckpointError: the checkpoint does not exist or cannot be read.
        ConfigError: its tokenizer has one token for both padding and the end of a caption.
    """
    if config.start_from:
        tokenizer = read_header(find_checkpoint(config.start_from)).tokenizer
        if tokenizer.pad_id == tokenizer.end_id:
            raise ConfigError(
                f"start_from: {config.start_from} uses one token for both padding and the end of a "
                "caption, so the model could not learn to end captions; choose another checkpoint."
            )
        return tokenizer
    return build_tokenizer(config.data, records)


def prompted_tokenizer(config: RunConfig, tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer with the prompt of the decoding settings as its prefix.

    Raises:
        ConfigError: the vocabulary lacks a word of the prompt, or prompt and captions together
            exceed the decoder's positions.
    """
    prompted, longest = tokenizer.behind(config.search.prompt), config.model.decoder.longest
    prompt = len(prompted.prefix) - 1
    for where, words in (("data", config.data.max_words), ("search", config.search.max_words)):
        if longest is not None and words + prompt > longest:
            raise ConfigError(
                f"{where}.max_words is {words} after a prompt of {prompt} tokens, but the decoder "
                f"has positions for {longest}; lower it, or raise model.decoder.max_positions to "
                f"{words + prompt + 1}."
            )
    return prompted


def build_tokenizer(config: DataConfig, records: Sequence[Record]) -> Tokenizer:
    """Train a tokenizer on the training captions."""
    captions = [caption for record in records for caption in record.captions]
    if config.words == "bpe":
        return Tokenizer.train_bpe(captions, vocabulary=config.vocabulary)
    return Tokenizer.train_words(captions, min_count=config.min_count)


def start_model(config: RunConfig, *, words: int) -> CaptionModel:
    """Build the model with the initial weights of the settings.

    Args:
        config: settings of the run.
        words: vocabulary size.

    Raises:
        CheckpointError: the file of weights does not exist or cannot be read.
        ConfigError: the weights belong to another architecture or preprocessing.
    """
    given = config.encoder_weights
    weights: Path | bool = {"none": False}.get(given, Path(given))
    if given == "hub" and not config.start_from:
        weights = find_weights(config.model.encoder.backbone)
    ours = isinstance(weights, Path) and not config.start_from and _is_checkpoint(weights)
    model = build_model(
        config.model,
        preprocess=config.preprocess,
        words=words,
        encoder_weights=False if ours or config.start_from else weights,
    )
    if config.start_from:
        path = find_checkpoint(config.start_from)
        source, header = load_checkpoint(path)
        _require_same("start_from", path, header, config, names=("encoder", "decoder"))
        model.load_state_dict(source.state_dict())
    elif ours:
        path = Path(given)
        source, header = load_checkpoint(path)
        _require_same("encoder_weights", path, header, config, names=("encoder",))
        model.encoder.load_state_dict(source.encoder.state_dict())
    return model


def compile_model(model: CaptionModel, *, backend: str) -> None:
    """Compile encoder and decoder in place with torch.compile; compilation runs on the first batch.

    Parameter names stay the same. Decoding calls `step`, which is not compiled.

    Raises:
        ConfigError: the backend does not exist.
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        near = get_close_matches(backend, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}."
        raise ConfigError(f"compile is {backend!r}; {hint}")
    for part in (model.encoder, model.decoder):
        part.compile(backend=backend)


def _is_checkpoint(path: Path) -> bool:
    """Whether this safetensors file is a captioner checkpoint rather than backbone weights."""
    if not path.is_file():
        raise CheckpointError(
            f"encoder_weights is {str(path)!r}, but there is no such file; give 'hub' for timm's "
            "pretrained weights, 'none' for random weights, or the path of a safetensors file."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            return METADATA_KEY in (file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"encoder_weights: {path} is not a complete safetensors file ({error}); download it "
            "again."
        ) from error


def _require_same(
    setting: str, path: Path, header: Header, config: RunConfig, *, names: Sequence[str]
) -> None:
    """Check that a checkpoint's architecture and preprocessing are those of the run."""
    pairs = {"preprocess": (header.preprocess, config.preprocess)}
    for name in names:
        pairs[f"model.{name}"] = getattr(header.model, name), getattr(config.model, name)
    for name, (theirs, ours) in pairs.items():
        if _without_dropout(theirs) != _without_dropout(ours):
            raise ConfigError(
                f"{setting}: {path} was trained with {name} {theirs}, but this run has {ours}; "
                f"make {name} the same."
            )


def _without_dropout(config: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(config).items() if name != "dropout"}
