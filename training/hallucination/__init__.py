r"""Measure how often captions name things that are not in the photo.

    python -m training.hallucination --checkpoint C --annotations A --images I \
        --instances F or --entities F [--split val] [--search beam --search greedy]

CHAIR (Rohrbach et al. 2018, arXiv:1809.02156) where COCO's objects are annotated; an
open-vocabulary
version over all nouns where the phrases of the captions are annotated. Several checkpoints and
searches can be compared with each other and with people: each reference against the others of its
photo.

    truth       photo and caption -> the objects named, and which of them are in the photo
    rates       hallucination rates of many captions, with confidence intervals
    signals     how well probability and attention detect hallucinated objects
    report      all of it, for several models
    tables      the report as tables
"""
