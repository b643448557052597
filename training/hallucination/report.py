"""Hallucination rates, scores and signals of a model's captions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from captioner.config import to_table
from captioner.pytorch import TorchCaptioner
from captioner.result.caption import Caption
from data.coco import Record
from data.image_source import ImageSource
from data.progress import progress_bar
from training.hallucination.rates import Judged, measure_rates
from training.hallucination.signals import measure_signals, signals_of
from training.hallucination.truth import Naming, Truth
from training.metrics import score_images
from training.metrics.ptb import split_words

PEOPLE = "people"
"""Name of the references in the report; each is judged against the others of its photo."""
_BATCH = 16


def caption_photos(
    captioner: TorchCaptioner,
    records: Sequence[Record],
    source: ImageSource,
    *,
    search: Mapping[str, Any],
) -> list[Caption]:
    """Caption the photos of these records.

    Raises:
        CaptionerError: a photo cannot be read, or the search settings are invalid.
    """
    return list(
        progress_bar(
            _captions(captioner, records, source, search),
            title="captioning",
            total=len(records),
            unit="photos",
        )
    )


def _captions(
    captioner: TorchCaptioner,
    records: Sequence[Record],
    source: ImageSource,
    search: Mapping[str, Any],
) -> Iterator[Caption]:
    for start in range(0, len(records), _BATCH):
        batch = records[start : start + _BATCH]
        contents = source.read_each(record.image for record in batch)
        photos = [
            captioner.prepare(content, name=record.image)
            for content, record in zip(contents, batch, strict=True)
        ]
        yield from captioner.caption_batch(photos, **search)


def measure_people(
    records: Sequence[Record], truth: Truth, *, resamples: int, seed: int
) -> dict[str, Any]:
    """Judge the references of every photo, each against the others."""
    judged = [
        [truth.judge(photo, text, without=number) for number, text in enumerate(record.captions)]
        for photo, record in enumerate(records)
    ]
    rates = measure_rates(judged, resamples=resamples, seed=seed)
    return {"name": PEOPLE, "captions": sum(map(len, judged)), **rates}


def measure_texts(
    name: str,
    texts: Sequence[str],
    records: Sequence[Record],
    truth: Truth,
    *,
    resamples: int,
    seed: int,
    first: Judged | None = None,
) -> tuple[dict[str, Any], list[list[list[Naming]]]]:
    """Judge one caption per photo; return the report, and the objects that each caption names.

    Args:
        name: name of the model in the report.
        texts: the captions.
        records: photos and their references.
        truth: knows what the photos show.
        resamples: bootstrap resamples of the intervals; 0 omits them.
        seed: seed of the resampling.
        first: objects named by another model's captions, to compare with.
    """
    judged = [[truth.judge(photo, text)] for photo, text in enumerate(texts)]
    references = [[split_words(text) for text in record.captions] for record in records]
    scores = score_images(references, [split_words(text) for text in texts])
    rates = measure_rates(judged, resamples=resamples, seed=seed, first=first)
    cider: dict[str, Any] = {"value": scores.scores()["CIDEr"]}
    if resamples:
        cider["interval"] = scores.intervals(resamples=resamples, seed=seed)["CIDEr"]
    report = {
        "name": name,
        "captions": len(texts),
        "CIDEr": cider,
        **rates,
        "photos": [
            {
                "image": record.image,
                "caption": text,
                "names": [one.name for one in own],
                "invented": [one.name for one in own if one.invented],
            }
            for record, text, (own,) in zip(records, texts, judged, strict=True)
        ],
    }
    return report, judged


def measure_captions(
    captions: Sequence[Caption],
    records: Sequence[Record],
    truth: Truth,
    *,
    resamples: int,
    seed: int,
    first: Judged | None = None,
) -> tuple[dict[str, Any], list[list[list[Naming]]]]:
    """Like `measure_texts`, with the search settings and the signals of the named objects."""
    texts = [caption.text for caption in captions]
    report, judged = measure_texts(
        captions[0].checkpoint,
        texts,
        records,
        truth,
        resamples=resamples,
        seed=seed,
        first=first,
    )
    names = [
        (photo, one, captions[photo].words[one.place])
        for photo, (own,) in enumerate(judged)
        for one in own
    ]
    found = measure_signals(
        [signals_of(word) for _, _, word in names],
        [one.invented for _, one, _ in names],
        [photo for photo, _, _ in names],
        resamples=resamples,
        seed=seed,
    )
    return {**report, "search": to_table(captions[0].search), "signals": found}, judged
