"""Scoring of captions, and reports of the scores.

predictions     captions of a model, and its probabilities of the references
measures        everything measured on captions as text, with training.metrics
official        coco-caption's Java programs: METEOR, SPICE
clipscore       captions against photos, with a CLIP model
result_files    caption files and report files
layout          a report as a table
provenance      git commit and machine, for reports and logs
"""
