"""The label that stands for an abstention."""

from numbers import Real

import numpy as np


def resolve_reject_label(label, classes):
    """Return the label that stands for an abstention: never one of the classes.

    "auto" is -1 for numeric classes, one below the smallest where -1 is a class, and "rejected"
    for string classes.
    """
    if label is None:
        return None
    textual = all(isinstance(c, str) for c in classes.tolist())
    if isinstance(label, str) and label == "auto":
        if textual:
            label = "rejected"
        else:
            label = -1 if not np.isin(-1, classes) else classes.min().item() - 1
    if not isinstance(label, (str, Real)) or isinstance(label, bool) or label != label:
        raise ValueError(
            f"reject_label={label!r} must be a real number, a string, 'auto' or None, got "
            f"{type(label).__name__}."
        )
    if isinstance(label, str) != textual:
        kind = "strings" if textual else "numbers"
        raise ValueError(
            f"reject_label={label!r} cannot stand among classes that are {kind}; choose one of "
            "their kind, or 'auto'."
        )
    if np.isin(label, classes):
        raise ValueError(
            f"reject_label={label!r} is one of the classes {classes.tolist()[:10]}; choose another."
        )
    label = label.item() if isinstance(label, np.generic) else label
    _check_representable(label, classes)
    return label


def _check_representable(label, classes):
    """Raise ValueError where no dtype holds both the label and each class unchanged."""
    accepted = np.arange(len(classes) + 1) < len(classes)
    labels = with_rejections(np.append(classes, classes[:1]), accepted, label)
    # As plain values: numpy rounds a large integer before it compares it with a float.
    if labels.tolist() != [*classes.tolist(), label]:
        raise ValueError(
            f"reject_label={label!r} and the classes {classes.tolist()[:10]} ({classes.dtype}) "
            "have no dtype in common that keeps both as they are; choose another."
        )


def with_rejections(predictions, selected, label):
    """Return predictions, the label where not selected, in a dtype that holds both."""
    predictions = np.asarray(predictions)
    own = np.min_scalar_type(label) if isinstance(label, int) else np.asarray(label).dtype
    dtype = np.result_type(predictions.dtype, own)
    if predictions.dtype.kind == "u" and dtype.kind == "f" and own.kind == "i":
        dtype = np.dtype(np.int64)  # uint64 and a negative label meet in float64, which rounds
    labels = predictions.astype(dtype)
    labels[~selected] = label
    return labels
