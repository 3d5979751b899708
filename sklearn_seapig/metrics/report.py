"""Results of all, the selected and the rejected rows, class by class and side by side."""

from numbers import Integral, Real

import numpy as np
from sklearn.metrics import classification_report
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_consistent_length, column_or_1d

from .._validation import Range, check_parameter
from ..thresholds import check_confidence

_MEASURES = ("precision", "recall", "support")


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
        If a number is missing, the lengths differ, or `threshold` or `digits` are no such numbers.

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
    report["coverage"] = float(selected.mean())
    return report if output_dict else _text(report, [str(label) for label in labels], digits)


def _report(y_true, y_pred, labels):
    if len(y_true):
        return classification_report(
            y_true, y_pred, labels=labels, output_dict=True, zero_division=np.nan
        )
    nothing = {"precision": np.nan, "recall": np.nan, "f1-score": np.nan, "support": 0.0}
    rows = [*(str(label) for label in labels), "macro avg", "weighted avg"]
    return {**{row: dict(nothing) for row in rows}, "accuracy": np.nan}


def _text(report, labels, digits):
    parts = [report[part] for part in ("full", "selected", "rejected")]
    width, cell = max(9, *map(len, labels)), digits + 4

    def line(title, cells):
        groups = [
            "".join(f"{c:>{cell}}" for c in cells[i : i + 3]) for i in range(0, len(cells), 3)
        ]
        return f"{title:>{width}}   " + "   ".join(groups)

    def number(value, measure=""):
        if np.isnan(value):
            return "-"
        return f"{value:.0f}" if measure == "support" else f"{value:.{digits}f}"

    def row(title):
        return line(title, [number(p[title][m], m) for m in _MEASURES for p in parts])

    shares = [1.0, report["coverage"], 1 - report["coverage"]]
    return "\n".join(
        [
            f"{'':>{width}}   " + "   ".join(f"{m:^{3 * cell}}" for m in _MEASURES).rstrip(),
            line("", ["full", "sel.", "rej."] * 3),
            *map(row, labels),
            row("macro avg"),
            "",
            line("accuracy", [number(part["accuracy"]) for part in parts]),
            line("coverage", [number(share) for share in shares]),
        ]
    )
