"""Tables and vectors in every form that users pass them in, and what they mean as plain float64."""

import decimal
import tempfile
import warnings

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse
import torch
from hypothesis import strategies as st


def plain(x):
    """Return what a form means: its values as a float64 array in C order."""
    if isinstance(x, torch.Tensor):
        return x.detach().to(torch.float64).resolve_neg().contiguous().numpy().copy()
    if isinstance(x, (list, tuple)) and len(x) and isinstance(x[0], torch.Tensor):
        return np.array([row.tolist() for row in x], dtype=np.float64)
    if isinstance(x, (pd.DataFrame, pd.Series)):
        return np.array(x.to_numpy(dtype=np.float64, na_value=np.nan), order="C")
    if isinstance(x, (pl.DataFrame, pl.Series)):
        return np.array(x.to_numpy(), dtype=np.float64, order="C")
    return np.array(x, dtype=np.float64, order="C")


def _readonly(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def _memmap(a):
    if a.size == 0:
        return a
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the map keeps it
    file.write(a.tobytes())
    file.flush()
    return np.memmap(file, dtype=a.dtype, mode="r", shape=a.shape)


def _unaligned(a):
    raw = np.frombuffer(b"\0" + a.tobytes(), dtype=np.uint8)[1:]
    return raw.view(a.dtype).reshape(a.shape)


def _strided(a):
    return np.repeat(a, 2, axis=-1)[..., ::2]


def _whole(a):
    return np.nan_to_num(a, nan=1, posinf=9, neginf=-9).clip(-100, 100).round()


def _with_grad(a):
    return torch.tensor(a, requires_grad=True) * 1


def _negated_view(a):
    return torch.complex(torch.zeros(a.shape, dtype=torch.float64), torch.tensor(a)).conj().imag


def _inference(a):
    with torch.inference_mode():
        return torch.tensor(a)


class _Exporting:
    """What numpy can read through a protocol of its own only."""

    def __init__(self, a):
        self._a = a

    def __array__(self, dtype=None, copy=None):
        return self._a.astype(self._a.dtype if dtype is None else dtype)


LAYOUTS = {
    "plain": lambda a: a,
    "fortran": np.asfortranarray,
    "negative strides": lambda a: a[::-1].copy()[::-1],
    "strided": _strided,
    "read-only": _readonly,
    "memory map": _memmap,
    "unaligned": _unaligned,
    "one row for all": lambda a: np.broadcast_to(a[:1], a.shape) if len(a) else a,
    "masked array": np.ma.masked_array,
    "exporting": _Exporting,
}
DTYPES = {
    "float32": lambda a: a.astype(np.float32),
    "float16": lambda a: a.astype(np.float16),
    "longdouble": lambda a: a.astype(np.longdouble),
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "swapped float32": lambda a: a.astype(np.dtype(np.float32).newbyteorder()),
    "int64": lambda a: _whole(a).astype(np.int64),
    "int8": lambda a: _whole(a).astype(np.int8),
    "uint64": lambda a: np.abs(_whole(a)).astype(np.uint64),
    "bool": lambda a: a > 0,
    "object": lambda a: a.astype(object),
    "text": lambda a: a.astype(str),
}
TENSORS = {
    "tensor": torch.tensor,
    "tensor float32": lambda a: torch.tensor(a).float(),
    "half": lambda a: torch.tensor(a).half(),
    "bfloat16": lambda a: torch.tensor(a).bfloat16(),
    "float8": lambda a: torch.tensor(a).clamp(-400, 400).to(torch.float8_e4m3fn),
    "tensor int32": lambda a: torch.tensor(_whole(a)).int(),
    "tensor uint8": lambda a: torch.tensor(np.abs(_whole(a))).to(torch.uint8),
    "tensor bool": lambda a: torch.tensor(a > 0),
    "requires grad": _with_grad,
    "parameter": lambda a: torch.nn.Parameter(torch.tensor(a)),
    "not contiguous": lambda a: torch.tensor(a.T.copy()).T,
    "expanded": lambda a: torch.tensor(a[:1]).expand(a.shape) if len(a) else torch.tensor(a),
    "negated view": _negated_view,
    "inference": _inference,
}
SEQUENCES = {
    "list": lambda a: a.tolist(),
    "tuple": lambda a: tuple(map(tuple, a)) if a.ndim > 1 else tuple(a),
    "list of arrays": list,
    "list of tensors": lambda a: list(torch.tensor(a)),
}
FRAMES = {
    "pandas": lambda a: pd.DataFrame(a).add_prefix("f"),
    "pandas, no names": pd.DataFrame,
    "pandas float32": lambda a: pd.DataFrame(a.astype(np.float32)).add_prefix("f"),
    "pandas nullable": lambda a: pd.DataFrame(a).add_prefix("f").convert_dtypes(),
    "pandas mixed": lambda a: pd.DataFrame(a).add_prefix("f").assign(last=1),
    "polars": lambda a: pl.DataFrame({f"f{i}": column for i, column in enumerate(a.T)}),
}
VECTORS = {
    "series": pd.Series,
    "nullable series": lambda a: pd.Series(a).convert_dtypes(),
    "polars series": pl.Series,
    "column": lambda a: a[:, None],
    "column tensor": lambda a: torch.tensor(a)[:, None],
    "decimals": lambda a: [decimal.Decimal(v) for v in a.tolist()],
}
TABLES = {**LAYOUTS, **DTYPES, **TENSORS, **SEQUENCES, **FRAMES}
COLUMNS = {**LAYOUTS, **DTYPES, **TENSORS, **SEQUENCES, **VECTORS}
# A vector has no rows that could share memory, nor a transpose.
for _name in ("one row for all", "expanded", "fortran", "not contiguous"):
    del COLUMNS[_name]

# What no estimator can take for a table of numbers, whatever the values.
NO_NUMBERS = {
    "None": lambda a: None,
    "text": lambda a: "rows",
    "bytes": lambda a: b"rows",
    "dict": lambda a: {"X": a},
    "set": lambda a: {1, 2},
    "object": lambda a: object(),
    "type": lambda a: float,
    "function": lambda a: len,
    "generator": lambda a: (row for row in a),
    "number": lambda a: 3.0,
    "complex": lambda a: a + 1j,
    "complex tensor": lambda a: torch.tensor(a + 1j),
    "dates": lambda a: np.full(a.shape, "2026-01-01", dtype="M8[D]"),
    "no date": lambda a: np.full(a.shape, "NaT", dtype="M8[s]"),
    "time spans": lambda a: np.full(a.shape, 60, dtype="m8[s]"),
    "words": lambda a: np.full(a.shape, "word"),
    "structured": lambda a: np.zeros(len(a), dtype=[("a", "f8"), ("b", "f8")]),
    "masked": lambda a: np.ma.masked_array(a, mask=np.ones(a.shape, bool)),
    "sparse": lambda a: scipy.sparse.csr_array(np.atleast_2d(a)),
    "sparse tensor": lambda a: torch.tensor(a).to_sparse(),
    "quantized tensor": lambda a: torch.quantize_per_tensor(
        torch.tensor(a).float(), 0.1, 0, torch.qint8
    ),
    "nested tensor": lambda a: torch.nested.nested_tensor([torch.tensor(a)] * 2),
    "meta": lambda a: torch.empty(a.shape, device="meta"),
    "ragged": lambda a: [[1.0, 2.0], [3.0]],
    "too large integers": lambda a: np.full(a.shape, 10**400, dtype=object).tolist(),
    "dict of columns": lambda a: [{"f": 1.0}] * len(a),
    "frame of words": lambda a: pd.DataFrame({"f": ["word"] * len(a)}),
    "frame of dates": lambda a: pd.DataFrame({"f": [pd.Timestamp(0)] * len(a)}),
}

STYLES = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "ties": lambda rng, shape: rng.integers(0, 3, size=shape).astype(float),
    "constant": lambda rng, shape: np.ones(shape),
    "off centre": lambda rng, shape: 1e6 + rng.normal(size=shape),
    "tiny": lambda rng, shape: 1e-30 * rng.normal(size=shape),
    "huge": lambda rng, shape: 1e30 * rng.normal(size=shape),
    "extreme": lambda rng, shape: rng.choice([0, 5e-324, 1e-300, 1, -1e308, 1e308], shape),
    "unit": lambda rng, shape: rng.random(size=shape),
}


@st.composite
def values(draw, *shape, poison=True):
    """An array of float64, by a style, and rarely with a value that is not finite."""
    shape = tuple(draw(st.integers(*side)) if isinstance(side, tuple) else side for side in shape)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    array = STYLES[draw(st.sampled_from(sorted(STYLES)))](rng, shape)
    if poison and array.size and draw(st.integers(0, 5)) == 5:
        array.flat[rng.integers(array.size)] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return array


def outcome(call, *arguments, **named):
    """Return what a call returns, or the ValueError or TypeError that it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call(*arguments, **named)
        except (ValueError, TypeError) as error:
            return error


def in_form(form, array):
    """Return an array in a form."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflow in a cast
        return form(array)
