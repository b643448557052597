r"""Fit how far a model can be believed, and keep it in the checkpoint; or measure what it holds.

python -m training.confidence CHECKPOINT --annotations A --images I --split val \
        --photos P --output FITTED
python -m training.confidence FITTED --annotations A --images I --split test

collecting  photos and references -> what the model says, and how well
logistic    numbers -> the probability that explains them best
fitting     what was collected -> settings for the header
measuring   settings, on the same or other photos -> calibration, ranks, false alarms
"""
