"""0/1 errors and other losses of the rows of a batch, from predictions and targets."""

import torch

from ..metrics._sample import check_loss


def row_losses(loss, preds, target, name):
    """Return what a loss gives for each row as a checked float64 array."""
    losses = torch.as_tensor(loss(preds, target))
    if losses.shape not in ((len(preds),), (len(preds), 1)):
        raise ValueError(
            f"the loss {name!r} returned shape {tuple(losses.shape)} for {len(preds)} rows; it "
            "must return one value for each, as reduction='none' does."
        )
    return check_loss(losses.reshape(-1))


def zero_one_loss(preds, target):
    """Return 1 where the predicted class is not the target, else 0; tensors of n rows each."""
    labels = _as_labels(target, "target")
    if not preds.is_floating_point():
        return (_as_labels(preds, "preds") != labels).double()
    preds = preds[:, 0] if preds.ndim == 2 and preds.shape[1] == 1 else preds
    if preds.ndim > 2 or preds.isnan().any():
        raise ValueError(
            f"preds has shape {tuple(preds.shape)} and NaN in {int(preds.isnan().sum())} places; "
            "pass class indices (n,), or probabilities or logits (n, c), without NaN."
        )
    if preds.ndim == 2:
        predicted, n_classes = preds.argmax(dim=1), preds.shape[1]
    else:
        # As argmax of both probabilities and as torchmetrics: exactly 0.5 is class 0.
        predicted, n_classes = (preds > 0.5).long(), 2
        if ((preds < 0) | (preds > 1)).any():
            raise ValueError(
                f"preds holds floats from {preds.min():.3g} to {preds.max():.3g} in one column, "
                "which are no probabilities of class 1; pass class indices as integers, logits as "
                "torch.sigmoid(logits), or, for regression, a loss such as "
                "RiskCoverageMetric(lambda preds, target: (preds - target).abs())."
            )
    if ((labels < 0) | (labels >= n_classes)).any():
        raise ValueError(
            f"target holds labels from {labels.min()} to {labels.max()}, and preds has "
            f"{n_classes} classes; labels are class indices from 0 to {n_classes - 1}."
        )
    return (predicted != labels).double()


def _as_labels(labels, name):
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    whole = not labels.is_floating_point() or bool((labels == labels.round()).all())
    if labels.ndim != 1 or not whole:
        raise ValueError(
            f"{name} has shape {tuple(labels.shape)} and dtype {labels.dtype}; the 0/1 error needs "
            "class indices of shape (n,). For regression pass a loss, such as "
            "RiskCoverageMetric(lambda preds, target: (preds - target).abs())."
        )
    return labels.long()
