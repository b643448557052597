"""The parts of a training run.

start              captions, photos, tokenizer and initial model
stage              one stage, ready to train or to rehearse
loaders            data loaders for training and validation
learner            the model in one stage: objective, optimizer, schedule, EMA of the weights
optim              AdamW, parameter groups, learning-rate schedule, frozen layers
mixed_precision    autocast and loss scaling
distributed        several GPUs: data parallelism (DDP) and sharded weights (FSDP)
validation         captions of the validation photos, and their scores
run_folder         the run's files: log, curves, checkpoints
resume             state that a killed run resumes from
meter              running means of the training steps
pictures           validation photos with captions and attention maps
logbook            curves for TensorBoard and Weights & Biases
"""
