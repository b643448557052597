"""The parts of a training run.

start              captions, photos, tokenizer and initial model
stage              one stage, ready to train or to rehearse
loaders            data loaders for training and validation
learner            the model in one stage: objective, optimizer, schedule, EMA of the weights
optim              AdamW, parameter groups, learning-rate schedule, frozen layers
mixed_precision    autocast and loss scaling
distributed        several GPUs: data parallelism (DDP) and sharded weights (FSDP)
resume             state that a killed run resumes from
pictures           validation photos with captions and attention maps
logbook            curves for TensorBoard and Weights & Biases
"""
