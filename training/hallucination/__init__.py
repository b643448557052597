r"""Measure whether a model speaks of things that are not there.

    python -m training.hallucination --checkpoint C --annotations A --images I \
        --instances F or --entities F [--split val] [--search beam --search greedy]

CHAIR (Rohrbach et al. 2018, arXiv:1809.02156) where COCO's objects are known; an open form of it,
over all nouns, where phrases of the captions are annotated. Several checkpoints and searches stand
side by side, and people beside them: each human caption against the others of its photo.

    truth       photo and caption -> what the caption names, and what of it is known to be there
    rates       invented names in many captions, with intervals
    signals     whether probability and attention tell which name is invented
    report      all of it, for several models
    tables      laid out for reading
"""
