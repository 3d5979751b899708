"""scikit-learn's own checks, those that it does not run by itself included."""

from importlib.util import find_spec

import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_inplace_ensure_writeable,
    check_param_validation,
    parametrize_with_checks,
)

from sklearn_seapig import (
    CosineScore,
    EnergyScore,
    EntropyScore,
    EuclideanScore,
    GaussianScore,
    MahalanobisScore,
    MarginScore,
    MaxLogitScore,
    PCAScore,
    QuantileThreshold,
    RandomScore,
    SelectiveClassifier,
    SelectiveRegressor,
    SoftmaxScore,
    TemperatureScaler,
)

SCORES = [
    EuclideanScore(),
    CosineScore(),
    MahalanobisScore(),
    GaussianScore(),
    PCAScore(),
    SoftmaxScore(),
    EntropyScore(),
    EnergyScore(),
    MarginScore(),
    MaxLogitScore(),
    RandomScore(),
]
if find_spec("pyod"):
    from sklearn_seapig import PyODScore

    SCORES.append(PyODScore())
NEVER_ABSTAINS = SelectiveClassifier(LogisticRegression(), EuclideanScore(), reject_label=None)
ABSTAINS = SelectiveClassifier(LogisticRegression(), EuclideanScore())
REGRESSORS = [
    SelectiveRegressor(LinearRegression(), EuclideanScore(), reject_value=None),
    SelectiveRegressor(LinearRegression(), EuclideanScore()),
    # Its deviations differ in their last digits with the batch; so do decisions at the bound.
    SelectiveRegressor(GaussianProcessRegressor(optimizer=None), reject_value=None),
]

# Where it abstains, predict returns a label that is no class: that is its purpose.
EXPECTED_TO_FAIL = {
    "check_classifiers_train": "compares predictions with the classes and their accuracy",
    "check_classifiers_classes": "compares predictions with classes_",
}

# Their y has more classes than X has columns, for which no temperature can be fitted.
EXPECTED_OF_TEMPERATURE = dict.fromkeys(
    (
        "check_estimators_overwrite_params",
        "check_estimators_fit_returns_self",
        "check_readonly_memmap_input",
    ),
    "passes three classes and two columns",
)


def _expected_to_fail(estimator):
    if isinstance(estimator, TemperatureScaler):
        return EXPECTED_OF_TEMPERATURE
    abstains = getattr(estimator, "reject_label", None) is not None
    return EXPECTED_TO_FAIL if abstains else {}


@parametrize_with_checks(
    [*SCORES, TemperatureScaler(), NEVER_ABSTAINS, ABSTAINS, *REGRESSORS],
    expected_failed_checks=_expected_to_fail,
    xfail_strict=True,
)
def test_scikit_learn(estimator, check):  # FB-32
    check(estimator)


@pytest.mark.parametrize("estimator", [*SCORES, NEVER_ABSTAINS, ABSTAINS, *REGRESSORS], ids=repr)
@pytest.mark.parametrize(
    "check",
    [
        check_dataframe_column_names_consistency,
        check_param_validation,
        check_inplace_ensure_writeable,
    ],
    ids=lambda check: check.__name__,
)
def test_checks_that_are_not_yielded(estimator, check):
    check(type(estimator).__name__, estimator)


def test_parameters_of_the_rule_are_validated():
    # The other checks pass 2-D input, which no rule takes.
    rule = QuantileThreshold(q="a")
    with pytest.raises(ValueError, match="The 'q' parameter of QuantileThreshold must be"):
        rule.fit([1.0])
