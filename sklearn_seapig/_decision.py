"""What a selective model asks of a threshold rule, be it one of this package or not."""

from sklearn.base import clone
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from ._composition import decides_anew, last_step
from .thresholds import QuantileThreshold, guarantee_of


def fit_rule(rule, scores, errors, groups, params):
    """Return a fitted clone of a rule; one that knows groups is given them."""
    if groups is not None and has_fit_parameter(rule, "groups"):
        params = {**params, "groups": groups}
    return clone(rule).fit(scores, errors, **params)


def promise_of(rule, confidence):
    """Return the promise of a fitted rule, or of the bound that a confidence holds itself."""
    if rule is not None:
        return guarantee_of(rule)
    last = last_step(confidence)
    if not decides_anew(confidence):
        return "none on these rows: the confidence is frozen and keeps the bound that it had"
    needed = ("set_threshold", "quantile", "calibration_scores_")
    if all(hasattr(last, name) for name in needed):
        return QuantileThreshold(last.quantile).fit(last.calibration_scores_).guarantee_
    return f"none: {type(last).__name__} keeps an offset_ of its own, not one of calibration rows"


def caveats(model, n_moved):
    """Return what weakens the promise of a selective model that was just calibrated, as clauses."""
    clauses = []
    if model.cv is not None:
        clauses.append("calibrated out of fold, so approximate for the refitted model")
    if n_moved:
        clauses.append(
            f"for rows of classes seen in training only ({n_moved} calibration rows of rare "
            "classes were moved there)"
        )
    own = model.confidence is not None and decides_anew(model.confidence)
    if own and getattr(last_step(model.confidence), "temperature", None) == "fit":
        clauses.append("the temperature was fitted on these rows, so approximate")
    return clauses


def requests_of(rule):
    """Return the metadata requests of a rule, without what it is given in any case.

    So `groups` for the splitter of ``cv`` need no word of the rule, though its fit has the name.
    """
    requests = get_routing_for_object(rule)
    if isinstance(requests, MetadataRequest):
        for name in ("confidence", "error", "groups"):
            if requests.fit.requests.get(name) is None:
                requests.fit.add_request(param=name, alias=False)
    return requests
