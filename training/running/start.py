"""What a run starts from: captions and photos, words, a model, compiled if asked for."""

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
    """Read the captions of several sources, and make sure that all their photos are there.

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


def choose_words(config: RunConfig, records: Sequence[Record]) -> Tokenizer:
    """Take the words of the checkpoint the run goes on from, or else learn new ones.

    Raises:
        CheckpointError: there is no such file, or it cannot be read.
        ConfigError: its words have one token for padding and for the end.
    """
    if config.start_from:
        tokenizer = read_header(find_checkpoint(config.start_from)).tokenizer
        if tokenizer.pad_id == tokenizer.end_id:
            raise ConfigError(
                f"start_from: {config.start_from} marks the end of captions and padding by one "
                "token, so it would not learn to end; start from another."
            )
        return tokenizer
    return build_tokenizer(config.data, records)


def behind_prompt(config: RunConfig, tokenizer: Tokenizer) -> Tokenizer:
    """Return the words for captions that are learned behind the prompt of the search.

    Raises:
        ConfigError: a word of the prompt is not known, or no room is left behind it.
    """
    behind, longest = tokenizer.behind(config.search.prompt), config.model.decoder.longest
    prompt = len(behind.prefix) - 1
    for where, words in (("data", config.data.max_words), ("search", config.search.max_words)):
        if longest is not None and words + prompt > longest:
            raise ConfigError(
                f"{where}.max_words is {words}, and {prompt} tokens are given before, but the "
                f"decoder has positions for {longest}; lower it, or raise "
                f"model.decoder.max_positions to {words + prompt + 1}."
            )
    return behind


def build_tokenizer(config: DataConfig, records: Sequence[Record]) -> Tokenizer:
    """Learn the vocabulary from the training captions."""
    captions = [caption for record in records for caption in record.captions]
    if config.words == "bpe":
        return Tokenizer.train_bpe(captions, vocabulary=config.vocabulary)
    return Tokenizer.train_words(captions, min_count=config.min_count)


def start_model(config: RunConfig, *, words: int) -> CaptionModel:
    """Make the model, with the weights the settings ask for.

    Raises:
        CheckpointError: there is no such file, or it cannot be read.
        ConfigError: it is of another model, or saw photos prepared in another way.
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
    """Have torch.compile turn what is called while learning into code, at the first batch.

    Weights keep their names, and a search goes on word by word as before.

    Raises:
        ConfigError: there is no such backend.
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        near = get_close_matches(backend, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}."
        raise ConfigError(f"compile is {backend!r}; {hint}")
    for part in (model.encoder, model.decoder):
        part.compile(backend=backend)


def _is_checkpoint(path: Path) -> bool:
    """Whether this safetensors file is a checkpoint of ours, not a backbone's weights."""
    if not path.is_file():
        raise CheckpointError(
            f"encoder_weights is {str(path)!r}, but there is no such file; give 'hub' for timm's "
            "pretrained weights, 'none' for random ones, or the path of a safetensors file."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            return METADATA_KEY in (file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"encoder_weights: {path} is not a whole safetensors file ({error}); fetch it again."
        ) from error


def _require_same(
    setting: str, path: Path, header: Header, config: RunConfig, *, names: Sequence[str]
) -> None:
    """Make sure that the weights of a checkpoint fit the model and what it is fed."""
    pairs = {"preprocess": (header.preprocess, config.preprocess)}
    for name in names:
        pairs[f"model.{name}"] = getattr(header.model, name), getattr(config.model, name)
    for name, (theirs, asked) in pairs.items():
        if _without_dropout(theirs) != _without_dropout(asked):
            raise ConfigError(
                f"{setting}: {path} was trained with {name} {theirs}, but this run asks for "
                f"{asked}; make {name} the same."
            )


def _without_dropout(config: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(config).items() if name != "dropout"}
