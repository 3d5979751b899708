"""Files of fitted estimators that run no code when they are loaded."""

import json
import os
import struct
import uuid
import zlib
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import torch
from sklearn.base import BaseEstimator

from . import _HOME, __version__
from ._optional import extra
from ._state import check_version

STAMP = "sklearn_seapig.json"

# Parts of Pipelines, searches and cross-validations that skops leaves to the user. All they do when
# they are loaded is to take attributes.
TRUSTED = {
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn_seapig.metrics.scorer._SelectiveScorer",
    *(
        f"sklearn.model_selection._split.{name}"
        for name in (
            "GroupKFold",
            "GroupShuffleSplit",
            "KFold",
            "LeaveOneGroupOut",
            "LeaveOneOut",
            "PredefinedSplit",
            "RepeatedKFold",
            "RepeatedStratifiedKFold",
            "ShuffleSplit",
            "StratifiedGroupKFold",
            "StratifiedKFold",
            "StratifiedShuffleSplit",
            "TimeSeriesSplit",
        )
    ),
}

# How files begin that can run code when they are loaded: pickles, and what joblib compresses.
ZLIB = (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda")
PICKLES = (b"\x80", b"\x1f\x8b", *ZLIB, b"BZh", b"\xfd7zXZ", b"]\0\0")

# What skops, zipfile and json raise on a file that is not what was written.
DAMAGES = (
    AttributeError,
    BadZipFile,
    EOFError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

OPAQUE = (type, FunctionType, ModuleType)  # what is saved by its name


def save(estimator, path):
    """Write an estimator to a file that `load` reads without running code from it.

    Parameters
    ----------
    estimator : estimator
        A score, rule or selective model of this package, or an estimator of scikit-learn (a
        Pipeline, a search) with or without them; fitted or not.
    path : str or path
        The file, which is replaced if it exists, at once and when the new one is complete. Its
        folder must exist. Files are named ``.skops`` by custom.

    Raises
    ------
    TypeError
        If `estimator` is none, or holds something that could not be read back: a torch module or
        tensor, a memory map, a lambda. The message says where; the file is then as it was before.
    ValueError
        If `path` is no path of a file in a folder that exists.
    ImportError
        If skops is missing; it comes with ``pip install 'sklearn-seapig[persist]'``.

    See Also
    --------
    load : Reads the file.

    Notes
    -----
    The file holds what the estimator holds: calibration scores always, and of a score that compares
    with reference rows (`EuclideanScore`, `CosineScore`, `MahalanobisScore`) the training rows.

    A `TorchEmbedder` holds a network, which no file without code can. Keep its weights with
    ``torch.save(module.state_dict(), ...)``, save what comes after it, and put an embedder in front
    of that again after loading.

    It is a file of skops with the version of this package in it, so ``skops.io.load`` reads it too.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_seapig import EuclideanScore, load, save
    >>> X, _ = load_iris(return_X_y=True)
    >>> score = EuclideanScore(k=3).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(score, Path(folder) / "score.skops")
    ...     same = load(Path(folder) / "score.skops")
    >>> bool((same.score_samples(X) == score.score_samples(X)).all())
    True
    """
    path = Path(path).absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"path={str(path)!r} must be a file in a folder that exists.")
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"estimator must be an estimator, got {type(estimator).__name__}.")
    skops = _skops("save")
    _refuse_what_cannot_return(estimator, type(estimator).__name__, set())
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with open(temporary, "xb") as file:
            try:
                skops.dump(estimator, file)
            except (TypeError, ValueError, RuntimeError) as error:
                raise TypeError(
                    f"{type(estimator).__name__} holds what skops cannot save ({error}); take it "
                    "out, or use joblib.dump and load that file only where you trust it."
                ) from error
        with ZipFile(temporary, "a") as archive:
            archive.writestr(STAMP, json.dumps({"version": __version__}))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path, *, trusted=()):
    """Read an estimator from a file of `save`; no code in the file is run.

    Only types of a fixed list are made: the estimators of this package, those of scikit-learn that
    skops trusts, and plain values and arrays. A file that names any other is refused before
    anything in it is touched.

    Parameters
    ----------
    path : str or path
        The file.
    trusted : list of str or type, default=()
        Further types to make, for example your own score, as the message of a refusal names them.
        Name only what you know to be harmless: being made must run nothing that you do not want.

    Returns
    -------
    estimator : estimator
        As it was saved: equal scores and decisions to the last bit.

    Raises
    ------
    TypeError
        If the file names types that are not trusted, which are listed; or `trusted` is no list
        (there is no ``trusted=True``).
    ValueError
        If the file is corrupted, no file of `save` (a pickle, say), or of a newer version of this
        package. Nothing is then restored.
    FileNotFoundError
        If there is no such file.
    ImportError
        If skops or a library that the estimator needs is missing.

    See Also
    --------
    save : Writes the file, with an example.

    Notes
    -----
    Trees (`IsolationForest`, `RandomForestClassifier`) and k-d trees (`LocalOutlierFactor`,
    `KNeighborsClassifier`, the KNN of PyOD) are not trusted: their compiled code reads memory at
    the places that the file names, so a forged file can crash the process. For files of your own,
    name these types in `trusted`.
    """
    path = Path(path)
    names = _type_names(trusted)
    skops = _skops("load")
    _check_format(path)
    unknown = _undamaged(path, skops.get_untrusted_types, file=path)
    refused = [name for name in unknown if name not in names | TRUSTED and not _is_own(name)]
    if refused:
        raise TypeError(
            f"{path} holds types that are not trusted: {', '.join(refused)}. Nothing was loaded. "
            f"If you know them and who wrote the file, pass trusted={refused}."
        )
    return _undamaged(path, skops.load, path, trusted=unknown)


def _skops(for_what):
    with extra("persist", for_what):
        import skops.io
    return skops.io


def _type_names(trusted):
    if isinstance(trusted, (list, tuple, set, frozenset)):
        names = {f"{t.__module__}.{t.__name__}" if isinstance(t, type) else t for t in trusted}
        if all(isinstance(name, str) for name in names):
            return names
    raise TypeError(
        f"trusted must be a list of types or of their names, got {trusted!r}; name each type that "
        "you trust."
    )


def _is_own(name):
    """Return whether a type is an estimator that this package makes public.

    The file chooses among the public names only; whatever else is found in our modules, functions
    above all, is not trusted.
    """
    home, _, public = name.rpartition(".")
    if not home.startswith(f"{__package__}.") or public not in _HOME:
        return False
    found = getattr(import_module(f"{__package__}.{_HOME[public]}"), public)
    is_estimator = isinstance(found, type) and issubclass(found, BaseEstimator)
    return is_estimator and f"{found.__module__}.{found.__name__}" == name


def _check_format(path):
    """Raise ValueError where a file is none of `save`, or is of a newer version."""
    with open(path, "rb") as file:
        start = file.read(6)
        if start.startswith(PICKLES):
            raise ValueError(
                f"{path} looks like a pickle, not like a file of sklearn_seapig.save. joblib.load "
                "reads pickles and runs any code in them: use it only for files that you trust."
            )
        if not is_zipfile(file):
            raise ValueError(f"{path} is corrupted or no file of sklearn_seapig.save.")
    stamp = _undamaged(path, _read_stamp, path)
    if stamp is not None:
        check_version(stamp, path)


def _read_stamp(path):
    with ZipFile(path) as archive:
        members = archive.namelist()
        if "schema.json" not in members:
            raise ValueError("it has no schema.json; a file of torch.save is for torch.load")
        # A file of skops.io.dump has no stamp, its estimators of this package have one each.
        return json.loads(archive.read(STAMP))["version"] if STAMP in members else None


def _undamaged(path, read, *args, **kwargs):
    try:
        return read(*args, **kwargs)
    except DAMAGES as error:
        raise ValueError(
            f"{path} is corrupted or no file of sklearn_seapig.save: {error}"
        ) from error


def _refuse_what_cannot_return(value, where, seen):
    """Raise TypeError where a value holds what skops writes but does not read, or cannot write."""
    if id(value) in seen:
        return
    seen.add(id(value))
    reason = _why_it_cannot_return(value)
    if reason is not None:
        raise TypeError(f"{where} is {reason}")
    if isinstance(value, dict):
        parts = [(f"{where}[{key!r}]", part) for key, part in value.items()]
    elif isinstance(value, (list, tuple, set)):
        parts = [(f"{where}[{i}]", part) for i, part in enumerate(value)]
    elif hasattr(value, "__dict__") and not isinstance(value, OPAQUE):
        parts = [(f"{where}.{name}", part) for name, part in vars(value).items()]
    else:
        return
    for place, part in parts:
        _refuse_what_cannot_return(part, place, seen)


def _why_it_cannot_return(value):
    kind = type(value).__name__
    if isinstance(value, torch.nn.Module):
        return (
            f"a torch module ({kind}), which cannot be saved without code. Keep its weights with "
            "torch.save(module.state_dict(), ...), save the estimators that come after it, and put "
            "it in front of them again after loading."
        )
    if isinstance(value, (torch.Tensor, torch.Generator, torch.dtype)):
        return f"a {kind} of torch, which skops cannot save; use what numpy has for it."
    if isinstance(value, np.memmap):
        return "a memory map, which skops cannot save; load the estimator without mmap_mode first."
    if isinstance(value, FunctionType) and not value.__qualname__.isidentifier():
        return f"{value.__qualname__}, a function that no name leads to; use one with a name."
    return None
