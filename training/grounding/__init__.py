"""Measure whether a model attends to what it says.

    python -m training.grounding --checkpoint C --boxes B --images I [--split test] [--limit N]

The model reads human captions, word by word, and its attention before the last word of every phrase
that has boxes is compared with them, beside two baselines that see no photo: uniform attention, and
attention around the centre. One JSON object goes to stdout, tables to stderr.

    phrases     captions -> attention of every phrase
    pointing    attention and boxes -> attention correctness, pointing game; bootstrap
    gradients   Grad-CAM and relevance of every phrase, to compare with (`--gradients`)
    generated   captions of the model's own -> F1 of boxes cut from the maps (`--captions`)
    deletion    attended regions hidden -> how far the word's probability falls
    summary     all of it, by kind of thing, layer and head
    layout      the same as tables
"""
