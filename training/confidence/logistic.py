"""Logistic regression, by Newton's method."""

import numpy as np
from numpy.typing import NDArray

from captioner.checkpoint.confidence import LogisticConfig

_STEPS = 50
_LEAST_SPREAD = 1e-6


def fit_logistic(
    values: NDArray[np.float64],
    targets: NDArray[np.float64],
    *,
    ridge: float,
    times: NDArray[np.float64] | None = None,
) -> LogisticConfig:
    """Fit the probability of a target, or of a target that is a fraction itself.

    Args:
        values: (N, D), inputs.
        targets: (N,), from 0 to 1.
        ridge: L2 penalty per row, on the weights of the standardised inputs.
        times: (N,), weight of each row; 1 by default.

    Returns:
        Weights and bias for inputs that are not standardised.
    """
    middle, spread = values.mean(axis=0), values.std(axis=0) + _LEAST_SPREAD
    rows = np.column_stack([(values - middle) / spread, np.ones(len(values))])
    counts = np.ones(len(values)) if times is None else times
    pull = ridge * counts.sum() * np.append(np.ones(values.shape[1]), 1e-9)
    found = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        p = 0.5 * (1 + np.tanh(rows @ found / 2))
        slope = rows.T @ (counts * (p - targets)) + pull * found
        curve = (rows.T * np.maximum(counts * p * (1 - p), 1e-9)) @ rows + np.diag(pull)
        step = np.linalg.solve(curve, slope)
        found -= step
        if np.abs(step).max() < 1e-8:
            break
    weights = found[:-1] / spread
    bias = float(found[-1] - weights @ middle)
    return LogisticConfig(weights=tuple(weights.tolist()), bias=bias)
