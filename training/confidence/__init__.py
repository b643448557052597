r"""Fit the confidence settings of a checkpoint, or measure those it has.

python -m training.confidence CHECKPOINT --annotations A --images I --split val \
        --photos P --output FITTED
python -m training.confidence FITTED --annotations A --images I --split test

collecting  photos and references -> the model's predictions and how good they are
logistic    logistic regression
fitting     predictions -> confidence settings for the checkpoint's header
measuring   settings on the same or other photos -> calibration, rank correlation, false alarms
"""
