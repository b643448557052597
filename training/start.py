"""What a run starts from: captions and photos, words, a model."""

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from captioner.checkpoint import load_checkpoint
from captioner.errors import CheckpointError, ConfigError
from captioner.header import METADATA_KEY
from captioner.model import CaptionModel, build_model
from captioner.tokenizer import Tokenizer
from data.archives import ImageSource
from data.coco import Record, load_records
from training.settings import DataConfig, RunConfig, SourceConfig


def load_sources(sources: Sequence[SourceConfig]) -> tuple[list[Record], ImageSource]:
    """Read the captions of several sources, and make sure that all their photos are there.

    Raises:
        DataError: captions or photos are missing or do not fit together.
    """
    records: list[Record] = []
    for source in sources:
        records += load_records(Path(source.annotations), split=source.split)[: source.limit]
    photos = ImageSource([path for source in sources for path in source.images])
    photos.require(record.image for record in records)
    return records, photos


def build_tokenizer(config: DataConfig, records: Sequence[Record]) -> Tokenizer:
    """Learn the vocabulary from the training captions."""
    captions = [caption for record in records for caption in record.captions]
    if config.words == "bpe":
        return Tokenizer.train_bpe(captions, vocabulary=config.vocabulary)
    return Tokenizer.train_words(captions, min_count=config.min_count)


def start_model(config: RunConfig, *, words: int) -> CaptionModel:
    """Make the model, with the encoder weights the settings ask for.

    Raises:
        CheckpointError: there is no such file, or it cannot be read.
        ConfigError: it is of another encoder, or saw photos prepared in another way.
    """
    given = config.encoder_weights
    weights = {"hub": True, "none": False}.get(given, Path(given))
    ours = isinstance(weights, Path) and _is_checkpoint(weights)
    model = build_model(
        config.model,
        preprocess=config.preprocess,
        words=words,
        encoder_weights=False if ours else weights,
    )
    if ours:
        _copy_encoder(Path(given), model, config)
    return model


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


def _copy_encoder(path: Path, model: CaptionModel, config: RunConfig) -> None:
    """Take the encoder of a checkpoint, if it is the same and is fed the same."""
    source, header = load_checkpoint(path)
    pairs = {
        "model.encoder": (header.model.encoder, config.model.encoder),
        "preprocess": (header.preprocess, config.preprocess),
    }
    for name, (theirs, asked) in pairs.items():
        if theirs != asked:
            raise ConfigError(
                f"encoder_weights: {path} was trained with {name} {theirs}, but this run asks for "
                f"{asked}; make {name} the same."
            )
    model.encoder.load_state_dict(source.encoder.state_dict())
