"""How captions are scored and reported.

observing       captions of a model, and its probabilities of what people wrote
measures        everything measured of captions as text, by training.metrics
official        coco-caption's own Java programs: METEOR, SPICE
clipscore       captions against photos, by a CLIP model
result_files    files of captions and of reports
layout          a report laid out for reading
provenance      commit and machine that a report names
"""
