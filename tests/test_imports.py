"""Who may import whom, what importing costs, and what the package may not contain."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_seapig

PACKAGE = Path(sklearn_seapig.__file__).parent
FILES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix(): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

FLOORS = {
    "kernels": 1,
    "thresholds": 2,
    "neighbors": 2,
    "base": 3,
    "scores": 4,
    "embedding": 4,
    "calibration": 4,
    "selective": 5,
    "regression": 5,
    "metrics": 5,
    "adapters": 6,
    "persistence": 6,
}
# An adapter that is built on another one, whose library it needs anyway.
BUILT_ON = {("adapters/lightning", "adapters/torchmetrics")}
GROUND = {"__init__", "_optional", "_progress", "_state", "_torch", "_validation", "_warn"}


def floor(module):
    """A private module outside of the ground floor stands as high as what it imports."""
    top = module.split("/")[0]
    if top in FLOORS:
        return FLOORS[top]
    if top in GROUND:
        return 0
    assert top.startswith("_"), f"{module} has no floor in this test"
    return max((floor(other) for other in imported_modules(module)), default=0)


def imported_modules(name):
    """The package's own modules that a file imports, as paths."""
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = [*name.split("/")[: -node.level], *(node.module or "").split(".")]
        base = "/".join(part for part in base if part)
        for alias in node.names:
            path = f"{base}/{alias.name}" if base else alias.name
            yield path if path in FILES else base or "__init__"


@pytest.mark.parametrize("name", [n for n in FILES if not n.endswith("__init__")])
def test_no_import_goes_up_or_sideways_between_scores(name):
    for other in imported_modules(name):
        assert floor(other) <= floor(name), f"{name} imports {other}, which stands above it"
        family, _, module = other.partition("/")
        if name.startswith("scores/") and family == "scores":
            assert module.startswith("_"), f"{name} imports its neighbor {other}"
        if name.startswith("adapters/") and family == "adapters" and (name, other) not in BUILT_ON:
            assert module.startswith("_"), f"{name} imports its neighbor {other}"


@pytest.mark.parametrize("name", FILES)
def test_no_absolute_imports_of_the_package_itself(name):
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module.split(".")[0] != "sklearn_seapig"


@pytest.mark.parametrize("name", [n for n in FILES if n.startswith("kernels/")])
def test_kernels_know_torch_only(name):
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        for imported in names:
            assert imported.split(".")[0] in {"torch", *sys.stdlib_module_names}


@pytest.mark.parametrize("name", FILES)
def test_no_assert_print_or_global(name):
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        assert not isinstance(node, (ast.Assert, ast.Global))
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        assert not (called and node.func.id == "print")


def test_import_is_lazy_and_changes_nothing():
    # FB-18
    code = """
import os, sys, warnings
filters, modules = list(warnings.filters), set(sys.modules)
threads = dict(os.environ)
import sklearn_seapig
loaded = {name.partition(".")[0] for name in set(sys.modules) - modules}
heavy = {"torch", "sklearn", "numpy", "scipy", "pandas", "lightning", "pytorch_lightning",
         "torchmetrics", "pyod", "skorch", "matplotlib", "faiss", "skops", "tqdm", "joblib"}
assert not loaded & heavy, loaded & heavy
assert warnings.filters == filters
assert dict(os.environ) == threads
dir(sklearn_seapig)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_leave_settings_and_extras_alone():
    code = """
import sys, warnings
import numpy, sklearn, torch
threads, errors = torch.get_num_threads(), numpy.geterr()
precision, dtype = torch.get_float32_matmul_precision(), torch.get_default_dtype()
from sklearn.base import BaseEstimator
filters = list(warnings.filters)
from sklearn_seapig import (
    CosineScore, EuclideanScore, MahalanobisScore, QuantileThreshold, RandomScore,
    SelectiveClassifier, TorchEmbedder,
)
assert warnings.filters == filters
assert torch.get_num_threads() == threads and numpy.geterr() == errors
assert torch.get_float32_matmul_precision() == precision
assert torch.get_default_dtype() == dtype
loaded = {name.partition(".")[0] for name in sys.modules}
extras = {"lightning", "pytorch_lightning", "torchmetrics", "pyod", "skorch", "matplotlib",
          "faiss", "skops", "umap"}
assert not loaded & extras, loaded & extras
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_sorted_and_resolve():
    assert sklearn_seapig.__all__ == sorted(sklearn_seapig.__all__)
    assert set(sklearn_seapig.__all__) <= set(dir(sklearn_seapig))
    for name in sklearn_seapig.__all__:
        try:
            value = getattr(sklearn_seapig, name)
        except ImportError:  # an optional library is missing, which its own tests are about
            continue
        assert value.__module__.startswith("sklearn_seapig.")
        assert value.__doc__


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="'nonsense'"):
        _ = sklearn_seapig.nonsense
    assert not hasattr(sklearn_seapig, "__wrapped__")
