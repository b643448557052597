"""How a training run runs.

start              captions and photos, words, a model to start from
stage              a stage, set up: for training and for a rehearsal
loaders            batches for a stage to learn from and to validate on
learner            a model in one stage: objective, optimizer, schedule, average of the weights
optim              AdamW, its groups and schedule; what is trained at all
mixed_precision    the arithmetic of a step
distributed        several GPUs: shared gradients, weights in pieces
resume             all that a killed run needs to continue
pictures           validation photos with captions and attention
logbook            curves for TensorBoard and Weights & Biases
"""
