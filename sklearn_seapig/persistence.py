"""Files of fitted estimators that run no code when they are loaded."""

import json
import os
import stat
import struct
import uuid
import zlib
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from zipfile import BadZipFile, ZipFile, is_zipfile

from sklearn.base import BaseEstimator

from . import _HOME, __version__
from ._optional import extra
from ._savable import refuse_what_cannot_return
from ._state import check_version

STAMP = "sklearn_seapig.json"

# Parts of Pipelines, searches and cross-validations that skops leaves to the user. All they do when
# they are loaded is to take attributes. Of our functions only metrics are here: they compute a
# number from numbers and call nothing that they are given.
TRUSTED = {
    "builtins.frozenset",
    "builtins.range",
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn_seapig.metrics.scorer._SelectiveScorer",
    "sklearn_seapig.metrics.failure.effective_reliability_score",
    "sklearn_seapig.metrics.failure.failure_auroc_score",
    "sklearn_seapig.metrics.failure.fpr_at_tpr",
    *(
        f"sklearn_seapig.metrics.risk_coverage.{name}"
        for name in (
            "augrc_score",
            "aurc_score",
            "coverage_at_risk",
            "excess_aurc_score",
            "normalized_aurc_score",
            "risk_at_coverage",
        )
    ),
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
    MemoryError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def save(estimator, path):
    """Write an estimator to a file that `load` reads without running code from it.

    Parameters
    ----------
    estimator : estimator
        A score, rule or selective model of this package, or an estimator of scikit-learn (a
        Pipeline, a search) with or without them; fitted or not.
    path : str or path
        The file, which is replaced if it exists, at once and when the new one is complete and
        on the disk; behind a symbolic link the file that it leads to. Its folder must exist.
        Files are named ``.skops`` by custom.

    Raises
    ------
    TypeError
        If `path` is neither text nor a path. If `estimator` is none, or holds something that
        could not be read back as it is: a torch module or tensor, a memory map, a lambda or
        partial, a dict whose keys are not texts or numbers. The message says where; the file is
        then as it was before.
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

    A file that is replaced keeps its permissions; a new one has those that the umask leaves.

    Saving takes about twice the memory that the estimator holds, as skops makes the file there.

    Trees and types of your own are saved too, and need to be named in `trusted` of `load`.

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
    path = Path(os.path.realpath(_as_path(path)))
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        raise ValueError(f"path={str(path)!r} must be a file in a folder that exists.")
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"estimator must be an estimator, got {type(estimator).__name__}.")
    skops = _skops("save")
    refuse_what_cannot_return(estimator, type(estimator).__name__, set())
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    mode = stat.S_IMODE(path.stat().st_mode) & 0o777 if path.exists() else None

    def create(name, flags):  # never with wider permissions, even while it is empty
        return os.open(name, flags, 0o666 if mode is None else mode)

    try:
        with open(temporary, "x+b", opener=create) as file:
            if mode is not None:  # the umask may have taken some of it
                os.chmod(temporary, mode)
            _write(skops, estimator, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(skops, estimator, file):
    kind = type(estimator).__name__
    try:
        skops.dump(estimator, file)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{kind} holds what skops cannot save ({error}); take it out, or use joblib.dump and "
            "load that file only where you trust it."
        ) from error
    unknown = skops.get_untrusted_types(file=file)
    lost = [name for name in unknown if not _is_trusted(name) and not _leads_somewhere(name)]
    if lost:
        raise TypeError(
            f"{kind} holds objects of {', '.join(lost)}, which no import finds, so they could not "
            "be loaded; take them out, or define their types at the top of a module."
        )
    with ZipFile(file, "a") as archive:
        archive.writestr(STAMP, json.dumps({"version": __version__}))


def _is_trusted(name, names=()):
    return name in TRUSTED or name in names or _is_own(name)


def _leads_somewhere(name):
    try:
        resolve_name(name)
    except (AttributeError, ImportError, ValueError):
        return False
    return True


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
        (there is no ``trusted=True``), or `path` neither text nor a path.
    ValueError
        If the file is corrupted, no file of `save` (a pickle, say), or of a newer version of this
        package, or a folder. Nothing is then restored.
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
    path = _as_path(path)
    if path.is_dir():
        raise ValueError(f"path={str(path)!r} is a folder; name the file in it.")
    names = _type_names(trusted)
    skops = _skops("load")
    _check_format(path)
    unknown = _undamaged(path, skops.get_untrusted_types, file=path)
    refused = [name for name in unknown if not _is_trusted(name, names)]
    if refused:
        raise TypeError(
            f"{path} holds types that are not trusted: {', '.join(map(_shown, refused))}. Nothing "
            "was loaded. If you know them and who wrote the file, pass "
            f"trusted=[{', '.join(map(ascii, refused))}]."
        )
    return _undamaged(path, skops.load, path, trusted=unknown)


def _as_path(path):
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str):
        raise TypeError(f"path must be a text or a path, got {type(path).__name__}.")
    return Path(name)


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
        asks = "asks for more memory than there is, or " if isinstance(error, MemoryError) else ""
        raise ValueError(
            f"{path} {asks}is corrupted or no file of sklearn_seapig.save: {_printable(error)}"
        ) from error


def _shown(name):
    """Return a name of a file as it is, or quoted where it is none that Python code would have."""
    return name if name.isascii() and name.replace(".", "").isidentifier() else ascii(name)


def _printable(error):
    """Return what an error says, in which a forged file may have put control characters."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(error))
