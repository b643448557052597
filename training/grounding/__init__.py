"""Measure whether a model looks at what it says.

    python -m training.grounding --checkpoint C --boxes B --images I [--split test] [--limit N]

The model reads human captions, word by word, and where it looked before the last word of every
phrase that has boxes is compared with them, beside two baselines that look at no photo: attention
spread evenly, and attention around the centre. One JSON object goes to stdout, tables to stderr.

    looking     captions -> attention of every phrase
    pointing    attention and boxes -> attention correctness, pointing game; bootstrap
    deletion    what was looked at hidden -> how far the word's probability falls
    report      all of it, by kind of thing, layer and head
"""
