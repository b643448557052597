"""Validation: captions of the validation photos, and their scores."""

from collections.abc import Sequence

from captioner.config import SearchConfig
from captioner.model import CaptionModel
from captioner.words.tokenizer import Tokenizer
from data.batching import BatchLoader
from data.coco import Record
from data.progress import progress_bar
from data.ranks import Ranks
from training.metrics import score
from training.scoring.measures import describe_captions
from training.scoring.predictions import caption_batches, join_likelihoods


def validate(
    model: CaptionModel,
    tokenizer: Tokenizer,
    loader: BatchLoader,
    records: Sequence[Record],
    *,
    search: SearchConfig,
    ranks: Ranks,
) -> tuple[dict[str, float], dict[int, str]]:
    """Caption the validation photos, and score the captions.

    Args:
        model: its training or evaluation mode is restored.
        tokenizer: the model's tokenizer.
        loader: this rank's share of the photos.
        records: all photos with their references.
        search: decoding settings.
        ranks: the processes that train together.

    Returns:
        Scores by name, with the loss (nats per token) and perplexity of the references; and all
        captions by image id, in the order of the records.
    """
    batches = progress_bar(loader, title="validation", quiet=not ranks.first)
    shares = ranks.gather(caption_batches(model, tokenizer, batches, search))
    found = {image: text for captions, _ in shares for image, text in captions.items()}
    captions = {record.image_id: found[record.image_id] for record in records}
    scores: dict[str, float] = {}
    if ranks.first:
        references = {record.image_id: record.captions for record in records}
        scores = {
            **score(references, captions),
            **describe_captions(captions),
            **join_likelihoods([likelihood for _, likelihood in shares]),
        }
    return ranks.agree(scores), captions
