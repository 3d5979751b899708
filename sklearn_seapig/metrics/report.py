"""Results of all, the selected and the rejected rows, class by class and side by side."""

from numbers import Integral, Real

import numpy as np
from sklearn.metrics import classification_report
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_consistent_length, column_or_1d

from .._validation import Range, check_parameter
from ..thresholds import check_confidence

_MEASURES = ("precision", "recall", "support")
_MEANS = ("accuracy", "macro avg", "weighted avg")


def selective_classification_report(
    y_true, y_pred, confidence, threshold, *, digits=3, output_dict=False
):
    """Report what a threshold does to each class: full, selected and rejected rows side by side.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True classes.
    y_pred : array-like of shape (n_samples,)
        Predicted classes of all rows, rejected ones included (``predictions`` of ``select``).
    confidence : array-like of shape (n_samples,)
        Confidence in each prediction; higher is more confident.
    threshold : float
        Rows whose confidence is at least this are selected.
    digits : int, default=3
        Decimals in the text.
    output_dict : bool, default=False
        Return a dict in place of a text.

    Returns
    -------
    report : str or dict
        The text, or a dict of the keys "full", "selected" and "rejected", each with the dict of
        `sklearn.metrics.classification_report`, and "coverage". What no row speaks of is nan, "-"
        in the text.

    Raises
    ------
    ValueError
        If a number is missing, the lengths differ, `threshold` or `digits` are no such numbers, or
        a class is called as a mean of the dict is ("accuracy", "macro avg", "weighted avg").

    Examples
    --------
    >>> from sklearn_seapig.metrics import selective_classification_report
    >>> y_true, y_pred = ["cat", "cat", "dog", "dog"], ["cat", "cat", "dog", "cat"]
    >>> print(selective_classification_report(y_true, y_pred, [0.9, 0.8, 0.7, 0.6], 0.7))
                        precision                 recall                  support
                   full   sel.   rej.      full   sel.   rej.      full   sel.   rej.
          cat     0.667  1.000  0.000     1.000  1.000      -         2      2      0
          dog     1.000  1.000      -     0.500  1.000  0.000         2      1      1
    macro avg     0.833  1.000  0.000     0.750  1.000  0.000         4      3      1
    <BLANKLINE>
     accuracy     0.750  1.000  0.000
     coverage     1.000  0.750  0.250
    """
    name = "selective_classification_report"
    check_parameter("threshold", threshold, Range(Real, None, None, closed="both"), caller=name)
    check_parameter("digits", digits, Range(Integral, 0, None, closed="left"), caller=name)
    y_true, y_pred = column_or_1d(y_true, warn=True), column_or_1d(y_pred, warn=True)
    confidence = check_confidence(confidence)
    check_consistent_length(y_true, y_pred, confidence)
    labels = unique_labels(y_true, y_pred)
    selected = confidence >= threshold
    parts = {"full": np.ones(len(y_true), dtype=bool), "selected": selected, "rejected": ~selected}
    report = {part: _report(y_true[rows], y_pred[rows], labels) for part, rows in parts.items()}
    names, coverage = [str(label) for label in labels], float(selected.mean())
    if not output_dict:
        return _text(list(report.values()), names, coverage, digits)
    report = {part: _by_name(numbers, names) for part, numbers in report.items()}
    return {**report, "coverage": coverage}


def _report(y_true, y_pred, labels):
    """Return the report of scikit-learn with the number of a class as its name."""
    at = [str(i) for i in range(len(labels))]  # a class may have the name of a mean
    if len(y_true):
        return classification_report(
            y_true, y_pred, labels=labels, target_names=at, output_dict=True, zero_division=np.nan
        )
    nothing = {"precision": np.nan, "recall": np.nan, "f1-score": np.nan, "support": 0.0}
    rows = {row: dict(nothing) for row in [*at, *_MEANS]}
    return {**rows, "accuracy": np.nan}


def _by_name(report, names):
    taken = sorted(set(names) & set(_MEANS))
    if taken:
        raise ValueError(
            f"A class is called {taken[0]!r}, as a mean in the dict is; rename the class, or take "
            "the text (output_dict=False)."
        )
    classes = {name: report[str(i)] for i, name in enumerate(names)}
    return {**classes, **{mean: report[mean] for mean in _MEANS}}


def _text(parts, names, coverage, digits):
    def number(value, measure=""):
        if np.isnan(value):
            return "-"
        return f"{value:.0f}" if measure == "support" else f"{value:.{digits}f}"

    def cells(row):
        return [number(part[row][m], m) for m in _MEASURES for part in parts]

    table = [("", ["full", "sel.", "rej."] * 3)]
    table += [(name, cells(str(i))) for i, name in enumerate(names)]
    table += [("macro avg", cells("macro avg"))]
    shares = [
        ("accuracy", [number(part["accuracy"]) for part in parts]),
        ("coverage", [number(share) for share in (1.0, coverage, 1 - coverage)]),
    ]
    title = max(len(name) for name, _ in table + shares)
    cell = 2 + max(len(one) for _, row in table + shares for one in row)

    def line(name, row):
        groups = [
            "".join(f"{one:>{cell}}" for one in row[i : i + 3]) for i in range(0, len(row), 3)
        ]
        return f"{name:>{title}}   " + "   ".join(groups)

    measures = "   ".join(f"{measure:^{3 * cell}}" for measure in _MEASURES)
    head = f"{'':>{title}}   {measures}".rstrip()
    return "\n".join([head, *(line(*row) for row in table), "", *(line(*row) for row in shares)])
