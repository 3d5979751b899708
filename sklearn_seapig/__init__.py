"""Selective prediction for scikit-learn and torch: models that know when not to answer.

Names resolve on first use (PEP 562), so that importing the package loads neither torch nor any
optional library.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "BaseLogitScore": "scores._logits",
    "BaseScore": "base",
    "ConformalThreshold": "thresholds",
    "CosineScore": "scores.neighbors",
    "CostThreshold": "thresholds",
    "EnergyScore": "scores.energy",
    "EntropyScore": "scores.logits",
    "EuclideanScore": "scores.neighbors",
    "GaussianScore": "scores.gaussian",
    "GroupThreshold": "thresholds",
    "MahalanobisScore": "scores.neighbors",
    "MarginScore": "scores.logits",
    "MaxLogitScore": "scores.energy",
    "PCAScore": "scores.subspace",
    "PyODScore": "adapters.pyod",
    "QuantileThreshold": "thresholds",
    "RandomScore": "scores.random",
    "RiskCoverageMetric": "adapters.torchmetrics",
    "RiskThreshold": "thresholds",
    "SelectiveClassifier": "selective",
    "SelectiveInferenceTask": "adapters.lightning",
    "SelectiveMetric": "adapters.torchmetrics",
    "SelectivePredictionWriter": "adapters.lightning",
    "SelectiveRegressor": "regression",
    "SoftmaxScore": "scores.logits",
    "TemperatureScaler": "calibration",
    "TorchEmbedder": "embedding",
    "benjamini_hochberg": "thresholds",
    "certifiable_risk": "thresholds",
    "conformal_pvalues": "thresholds",
    "load": "persistence",
    "required_calibration_size": "thresholds",
    "save": "persistence",
}

# PyODScore is left out: a star import must not fail where PyOD is not installed.
__all__ = [
    "BaseLogitScore",
    "BaseScore",
    "ConformalThreshold",
    "CosineScore",
    "CostThreshold",
    "EnergyScore",
    "EntropyScore",
    "EuclideanScore",
    "GaussianScore",
    "GroupThreshold",
    "MahalanobisScore",
    "MarginScore",
    "MaxLogitScore",
    "PCAScore",
    "QuantileThreshold",
    "RandomScore",
    "RiskThreshold",
    "SelectiveClassifier",
    "SelectiveRegressor",
    "SoftmaxScore",
    "TemperatureScaler",
    "TorchEmbedder",
    "benjamini_hochberg",
    "certifiable_risk",
    "conformal_pvalues",
    "load",
    "required_calibration_size",
    "save",
]


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
