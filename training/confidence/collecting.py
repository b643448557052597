"""A model's predictions on captioned photos and other images, and how good they are."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from captioner.errors import ImageError
from captioner.photo.framing import Prepared
from captioner.pytorch import TorchCaptioner
from captioner.result.confidence import caption_statistics
from captioner.search import search
from captioner.words.tokenizer import Tokenizer
from data.coco import Record
from data.image_source import ImageSource
from data.progress import progress_bar
from training.metrics.cider import cider_d, document_frequencies
from training.metrics.ptb import split_words
from training.scoring.predictions import TeacherForced, predict_references

_BATCH = 16
_LONGEST = 40
"""Maximum length of a reference in tokens; longer ones are cut."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """Predictions on captioned photos, and their quality."""

    confidence: Numbers
    """(N,), the decoder's probability of its best next token, given each reference so far."""
    correct: NDArray[np.bool_]
    """(N,), whether that token is the reference's."""
    statistics: Numbers
    """(photos, 3), confidence statistics of each photo's caption."""
    cider: Numbers
    """(photos,), CIDEr-D of each caption; 1 is the average of human captions."""
    summaries: Numbers
    """(photos, D), mean region feature of each photo."""


@torch.inference_mode()
def collect(
    captioner: TorchCaptioner, records: Sequence[Record], source: ImageSource
) -> Predictions:
    """Caption photos with the checkpoint's settings, and evaluate their references.

    Raises:
        CaptionerError: a photo cannot be read.
    """
    model, tokenizer = captioner.model, captioner.header.tokenizer
    device = next(model.parameters()).device
    config, constraints = captioner.header.plan()
    behind, longest = tokenizer.behind(config.prompt), captioner.header.longest or _LONGEST
    reading = TeacherForced()
    statistics, texts, summaries = [], [], []
    for batch in progress_bar(list(_batches(records)), title="captioning"):
        contents = source.read_each(record.image for record in batch)
        photos = [
            captioner.prepare(content, name=record.image)
            for content, record in zip(contents, batch, strict=True)
        ]
        features = captioner.encode(photos)
        summaries.append(captioner.summarise(features))
        for found in search(model.decoder, features, config=config, constraints=constraints):
            statistics.append(caption_statistics(found.log_probabilities[0]))
            texts.append(split_words(tokenizer.decode(found.tokens[0])))
        for place, record in enumerate(batch):  # references of different photos differ in number
            words = _ids(behind, record, longest=longest).to(device)
            predict_references(model, behind, features[place : place + 1], words, reading)
    references = [[split_words(text) for text in record.captions] for record in records]
    return Predictions(
        confidence=np.concatenate(reading.confidence).astype(np.float64),
        correct=np.concatenate(reading.correct),
        statistics=np.array(statistics),
        cider=_scores(references, texts),
        summaries=np.concatenate(summaries),
    )


@torch.inference_mode()
def summarise(captioner: TorchCaptioner, images: Iterable[bytes]) -> Numbers:
    """Return the mean region feature of images, (N, D), skipping unreadable ones."""
    readable, found = _readable(captioner, images), []
    while batch := list(islice(readable, _BATCH)):
        found.append(captioner.summarise(captioner.encode(batch)))
    return np.concatenate(found) if found else np.empty((0, 0))


def _readable(captioner: TorchCaptioner, images: Iterable[bytes]) -> Iterator[Prepared]:
    for content in progress_bar(images, title="encoding", unit="images"):
        try:
            yield captioner.prepare(content)
        except ImageError:
            continue


def _batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    for start in range(0, len(records), _BATCH):
        yield records[start : start + _BATCH]


def _ids(tokenizer: Tokenizer, record: Record, *, longest: int) -> torch.Tensor:
    """Return the references as token ids, (1, K, T), with prefix, and END unless cut."""
    rows = [
        [*tokenizer.prefix, *tokenizer.encode(text), tokenizer.end_id][:longest]
        for text in record.captions
    ]
    length = max(map(len, rows))
    padded = [[*row, *[tokenizer.pad_id] * (length - len(row))] for row in rows]
    return torch.tensor([padded])


def _scores(references: Sequence[Sequence[list[str]]], texts: Sequence[list[str]]) -> Numbers:
    """CIDEr-D of each text, relative to a human caption scored against the image's others."""
    frequencies = document_frequencies(references)
    _, scores = cider_d(references, texts, frequencies=frequencies)
    several = [own for own in references if len(own) > 1]
    if not several:
        return np.array(scores)
    people, _ = cider_d(
        [own[1:] for own in several], [own[0] for own in several], frequencies=frequencies
    )
    return np.array(scores) / (people or 1.0)  # 0 if all photos have the same references
