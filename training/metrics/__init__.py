"""Scores of captions against human references, as coco-caption computes and names them.

    words       splits a sentence the way the metrics agree on (Penn Treebank rules)
    bleu        Bleu_1 to Bleu_4, fractions, of the whole corpus
    rouge       ROUGE_L, a fraction, mean over images
    cider       CIDEr, 0 to 10, mean over images (the CIDEr-D of its paper)

Nothing here needs torch or Java. METEOR exists only as a Java program: `training.official`.
"""

from collections.abc import Mapping, Sequence

from training.metrics.bleu import bleu
from training.metrics.cider import cider_d
from training.metrics.rouge import rouge_l
from training.metrics.words import split_words

TOKENIZER = "captioner-ptb"
"""Name of `split_words` in reports: scores depend on how sentences are split."""


def score(references: Mapping[int, Sequence[str]], captions: Mapping[int, str]) -> dict[str, float]:
    """Score one caption per image against the image's references.

    Args:
        references: sentences by image id.
        captions: a sentence by image id, for the same images.

    Returns:
        Bleu_1 to Bleu_4 and ROUGE_L as fractions, CIDEr from 0 to 10. CIDEr weighs n-grams over
        these references, so it can be compared only between captions of the same images.

    Raises:
        ValueError: no image, an image without a reference, or images that differ.
    """
    if references.keys() != captions.keys():
        raise ValueError("references and captions must be of the same images")
    return score_words(
        [[split_words(sentence) for sentence in references[image]] for image in captions],
        [split_words(caption) for caption in captions.values()],
    )


def score_words(
    references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Score captions that are split into words already; otherwise the same as `score`."""
    if not candidates or not all(references):
        raise ValueError("there must be at least one image, each with at least one reference")
    corpus, _ = bleu(references, candidates)
    scores = {f"Bleu_{n}": value for n, value in enumerate(corpus, start=1)}
    scores["ROUGE_L"], _ = rouge_l(references, candidates)
    scores["CIDEr"], _ = cider_d(references, candidates)
    return scores
