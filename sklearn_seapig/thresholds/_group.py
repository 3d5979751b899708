"""One bound for each group of rows, so that a promise holds in each of them."""

import warnings
from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from .._validation import Range, as_array
from .._warn import warn
from ._base import ThresholdRule, accepted_by, check_confidence, guarantee_of


class GroupThreshold(ThresholdRule):
    """One bound per class or group of rows, so that the promise holds within each (Mondrian).

    Parameters
    ----------
    base : threshold rule
        The rule that is fitted on each group, e.g. ``ConformalThreshold(0.9)``. One without an
        `accept` accepts a confidence of at least its ``threshold_``.
    min_size : int, default=30
        A group with fewer calibration rows gets no bound of its own.
    unseen : {"pooled", "reject", "error"}, default="pooled"
        What happens to rows of a group without a bound of its own, too small or never seen: the
        bound of all calibration rows together, rejection, or a ValueError.

    Attributes
    ----------
    groups_ : ndarray of shape (n_groups,)
        The groups with a bound of their own, sorted.
    thresholds_ : ndarray of shape (n_groups,)
        The bounds of the groups.
    group_sizes_ : ndarray of shape (n_groups,)
        Their numbers of calibration rows.
    group_feasible_ : ndarray of shape (n_groups,)
        Whether `base` was feasible on them.
    group_guarantees_ : list of str
        What `base` promises on them.
    threshold_ : float
        The bound of all calibration rows together.
    feasible_ : bool
        Whether `base` was feasible on every one of these groups, and on all rows where groups
        share that bound. False where no group has a bound of its own and none is shared.
    guarantee_ : str
        What the bounds promise, with their numbers.
    n_calibration_ : int
        Number of calibration rows.

    See Also
    --------
    ConformalThreshold : Bounds the share of accepted rows.
    RiskThreshold : Bounds the errors among them.

    Notes
    -----
    A promise of `base` with certainty 1 - delta holds with this certainty for each group alone;
    that all of them hold at once is less certain. For that, divide delta by the number of groups.
    Rows under the bound of all rows have its promise on average over the groups only.

    `SelectiveClassifier` takes the predicted class as the group unless it is given one.

    References
    ----------
    Vovk, V., Gammerman, A. and Shafer, G. "Algorithmic Learning in a Random World", 2005.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seapig import ConformalThreshold, GroupThreshold
    >>> confidence = np.concatenate([np.arange(100), 1000 + np.arange(100)])
    >>> groups = np.repeat(["cat", "dog"], 100)
    >>> rule = GroupThreshold(ConformalThreshold(q=0.9)).fit(confidence, groups=groups)
    >>> rule.thresholds_
    array([   9., 1009.])
    >>> rule.accept([500, 500], groups=["cat", "dog"])
    array([ True, False])
    """

    _parameter_constraints = {
        "base": [HasMethods(["fit"])],
        "min_size": [Range(Integral, 1, None, closed="left")],
        "unseen": [StrOptions({"pooled", "reject", "error"})],
    }

    def __init__(self, base, *, min_size=30, unseen="pooled"):
        self.base = base
        self.min_size = min_size
        self.unseen = unseen

    def _learn(self, confidence, error, groups, weight):
        groups = _check_groups(groups, confidence)
        if error is not None:
            error = check_confidence(error, name="error")
            check_consistent_length(confidence, error)

        def fitted(at):
            params = {} if weight is None else {"sample_weight": weight[at]}
            return clone(self.base).fit(
                confidence[at], None if error is None else error[at], **params
            )

        labels, members = _split(groups)
        sizes = np.array([len(at) for at in members])
        own = sizes >= self.min_size
        rules = [fitted(members[i]) for i in np.flatnonzero(own)]
        pooled = self._fit_pooled(fitted)
        feasible = np.array([getattr(rule, "feasible_", True) for rule in rules], dtype=bool)
        shared = self.unseen == "pooled" and not own.all()
        self._warn(labels[~own], labels[own][~feasible])
        return {
            "groups_": labels[own],
            "_rules": rules,
            "_pooled": pooled,
            "thresholds_": np.array([rule.threshold_ for rule in rules], dtype=np.float64),
            "group_sizes_": sizes[own],
            "group_feasible_": feasible,
            "group_guarantees_": [guarantee_of(rule) for rule in rules],
            "threshold_": float(pooled.threshold_),
            "feasible_": bool(
                feasible.all()
                and (own.any() or shared)
                and (not shared or getattr(pooled, "feasible_", True))
            ),
            "guarantee_": self._guarantee(own, guarantee_of(pooled)),
        }

    def _fit_pooled(self, fitted):
        with warnings.catch_warnings():
            if self.unseen != "pooled":
                warnings.simplefilter("ignore")  # no row is judged by it
            return fitted(slice(None))

    def accept(self, confidence, groups=None):
        """Return where a confidence reaches the bound of its group.

        Parameters
        ----------
        confidence : array-like of shape (n_samples,)
            Confidences of query rows.
        groups : array-like of shape (n_samples,)
            Groups of the rows.

        Returns
        -------
        accepted : bool ndarray of shape (n_samples,)
            What the rule of the group says of the row.

        Raises
        ------
        ValueError
            If `groups` is missing or not of the kind given to `fit`, or holds a group without a
            bound where ``unseen="error"``.
        """
        check_is_fitted(self)
        confidence = check_confidence(confidence)
        groups = _check_groups(groups, confidence)
        if (groups.dtype.kind == "U") != (self.groups_.dtype.kind == "U"):
            raise ValueError(
                f"groups are {groups.dtype}, but fit saw {self.groups_.dtype}; give the same kind."
            )
        labels, members = _split(groups)
        known = np.isin(labels, self.groups_)
        if self.unseen == "error" and not known.all():
            raise ValueError(
                f"groups holds {_names(labels[~known])} without a bound of its own "
                "(too few calibration rows or none); calibrate on more rows or set "
                "unseen='pooled' or 'reject'."
            )
        accepted = np.zeros(len(confidence), dtype=bool)
        for at, is_known, i in zip(
            members, known, np.searchsorted(self.groups_, labels), strict=True
        ):
            if is_known or self.unseen == "pooled":
                rule = self._rules[i] if is_known else self._pooled
                accepted[at] = accepted_by(rule, confidence[at], None)
        return accepted

    def _warn(self, small, infeasible):
        if len(small):
            fate = {"pooled": "get the bound of all rows", "reject": "are rejected"}
            warn(
                f"groups {_names(small)} have fewer than min_size={self.min_size} calibration rows "
                f"and {fate.get(self.unseen, 'will be refused')}."
            )
        if len(infeasible):
            warn(
                f"groups {_names(infeasible)} have too few calibration rows, or too many errors, "
                f"for {self.base!r}; see group_guarantees_."
            )

    def _guarantee(self, own, pooled):
        text = f"{own.sum()} of {len(own)} groups have a promise of their own (group_guarantees_)"
        if self.unseen == "pooled":
            return f"{text}; all others share the bound of all rows: {pooled}"
        fate = "rejected" if self.unseen == "reject" else "refused"
        return f"{text}; rows of all others are {fate}"


def _check_groups(groups, confidence):
    """Return groups as a vector that can be sorted, without missing values."""
    if groups is None:
        raise ValueError(
            "GroupThreshold needs groups, the class or group of each row; got groups=None."
        )
    groups = as_array(groups, "groups")
    if isinstance(groups, (list, tuple)):
        groups = np.array(groups, dtype=object)  # or numbers would become strings among strings
    groups = column_or_1d(groups)
    check_consistent_length(confidence, groups)
    if groups.dtype == object:
        kinds = {isinstance(group, str) for group in groups}
        if len(kinds) > 1:
            raise ValueError("groups mixes strings and other values; give one kind.")
        groups = np.array(groups.tolist())
    if groups.dtype.kind not in "biufU":
        raise ValueError(f"groups must be strings or numbers, got dtype {groups.dtype}.")
    if groups.dtype.kind == "f" and np.isnan(groups).any():
        raise ValueError("groups contains NaN; give every row a group.")
    return groups


def _split(groups):
    """Return the distinct groups, and for each the positions of its rows."""
    labels, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return labels, np.split(np.argsort(codes, kind="stable"), np.cumsum(sizes)[:-1])


def _names(groups):
    shown = ", ".join(repr(group) for group in groups[:5].tolist())
    return shown + (f" and {len(groups) - 5} more" if len(groups) > 5 else "")
