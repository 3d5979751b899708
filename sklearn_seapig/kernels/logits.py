"""Textbook quantities of logits, stable at saturation and for classes masked with -inf.

Every function takes logits with the classes on the last axis and reduces that axis. No row may be
-inf throughout, and none may hold +inf or NaN.
"""

import math

import torch

LARGEST_MARGIN = 1e300


def as_units(logits, task, members):
    """Return logits as (n, members, labels, classes), each unit a distribution over >= 2 classes.

    Parameters
    ----------
    logits : tensor
        (n, c) for "multiclass", (n, 1) or (n, 2) for "binary", (n, labels) for "multilabel"; with
        `members` another axis at the end, where "binary" may leave out the axis of one logit.
    task : {"multiclass", "binary", "multilabel"}
    members : bool

    Returns
    -------
    units : tensor of shape (n, members, labels, classes)
        A single logit z stands for the two logits (0, z).
    """
    if not members:
        logits = logits.unsqueeze(-1)
    elif logits.ndim == 2:
        logits = logits.unsqueeze(1)
    logits = logits.movedim(2, 1)
    if task == "multilabel" or logits.shape[2] == 1:
        return torch.stack([torch.zeros_like(logits), logits], dim=-1)
    return logits.unsqueeze(2)


def relative_weights(logits):
    """Return exp(z - max z) with 0 in place of the largest, and its exponents max z - z."""
    top, at = logits.max(dim=-1, keepdim=True)
    drop = top - logits
    return torch.exp(-drop).scatter(-1, at, 0.0), drop


def error_probability(logits):
    """Return 1 - max p, summed from the other classes: it keeps its digits where max p is 1."""
    rest = relative_weights(logits)[0].sum(dim=-1)
    return rest / (1 + rest)


def entropy(logits):
    """Return -sum p ln p in nats, as a sum of terms of one sign."""
    weight, drop = relative_weights(logits)
    rest = weight.sum(dim=-1)
    spread = torch.where(weight > 0, weight * drop, 0.0).sum(dim=-1)
    return torch.log1p(rest) + spread / (1 + rest)


def log_sum_exp(logits):
    """Return ln sum exp z, minus the free energy at temperature 1."""
    return torch.logsumexp(logits, dim=-1)


def logit_margin(logits):
    """Return the largest logit minus the second, at most 1e300 (where all others are masked)."""
    top = logits.topk(2, dim=-1).values
    return (top[..., 0] - top[..., 1]).clamp(max=LARGEST_MARGIN)


def probability_margin(logits):
    """Return the largest probability minus the second."""
    top = logits.topk(2, dim=-1).values
    rest = relative_weights(logits)[0].sum(dim=-1)
    return -torch.expm1(top[..., 1] - top[..., 0]) / (1 + rest)


def largest_logit(logits):
    """Return the largest logit, at least -1e300 (where all labels are masked)."""
    return logits.amax(dim=-1).clamp(min=-LARGEST_MARGIN)


def log_mean_probability(logits, dim):
    """Return ln of the probabilities averaged over the members on axis `dim`, which is reduced."""
    log_probability = torch.log_softmax(logits, dim=-1)
    return torch.logsumexp(log_probability, dim=dim) - math.log(logits.shape[dim])


def mutual_information(logits, dim):
    """Return the mean divergence of the members from their average, in nats; never negative."""
    log_probability = torch.log_softmax(logits, dim=-1)
    gain = log_probability - log_mean_probability(logits, dim).unsqueeze(dim)
    probability = log_probability.exp()
    divergence = torch.where(probability > 0, probability * gain, 0.0).sum(dim=-1)
    return divergence.mean(dim=dim).clamp_min(0)


def nll_slope(logits, target, beta):
    """Return the derivative by beta of the summed NLL of softmax(beta z); it grows with beta.

    Parameters
    ----------
    logits : tensor of shape (..., classes)
    target : int64 tensor of shape (...)
        Column of the true class.
    beta : float
        Inverse temperature.
    """
    weight, drop = relative_weights(logits * beta)
    drop = drop / beta
    total = 1 + weight.sum(dim=-1)
    expected = torch.where(weight > 0, weight * drop, 0.0).sum(dim=-1) / total
    true = drop.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return (true - expected).sum()
