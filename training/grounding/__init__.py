"""Measure how well a model's attention maps agree with what its words name.

    python -m training.grounding --checkpoint C --boxes B --images I [--split test] [--limit N]

The model reads human captions (teacher forcing), and its attention for the last word of every
phrase with boxes is compared with the boxes, beside two baselines that ignore the photo: uniform
attention, and a Gaussian at the centre. One JSON object goes to standard output, tables to standard
error.

    phrases     captions -> attention map of every phrase
    pointing    attention correctness, pointing game, bootstrap intervals
    gradients   Grad-CAM and relevance maps of every phrase, for comparison (`--gradients`)
    generated   F1 of boxes cut from the maps of generated captions (`--captions`)
    deletion    drop of a word's probability when its attended regions are hidden
    summary     all of it, by kind of object, layer and head
    layout      the report as tables
"""
