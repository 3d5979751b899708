"""Selective prediction for scikit-learn and torch: models that know when not to answer.

Names resolve on first use (PEP 562), so that importing the package loads neither torch nor any
optional library.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "BaseScore": "base",
    "CosineScore": "scores.neighbors",
    "EuclideanScore": "scores.neighbors",
    "MahalanobisScore": "scores.neighbors",
    "QuantileThreshold": "thresholds",
    "RandomScore": "scores.random",
    "SelectiveClassifier": "selective",
    "TorchEmbedder": "embedding",
}

__all__ = [
    "BaseScore",
    "CosineScore",
    "EuclideanScore",
    "MahalanobisScore",
    "QuantileThreshold",
    "RandomScore",
    "SelectiveClassifier",
    "TorchEmbedder",
]


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
