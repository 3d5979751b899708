"""What a file of skops cannot give back as it was, found before it is written."""

from collections import defaultdict
from functools import partial
from types import FunctionType, ModuleType

import numpy as np
import torch

OPAQUE = (type, FunctionType, ModuleType)  # what is saved by its name
PLAIN = (str, int, float, complex, np.generic, type(None))


def refuse_what_cannot_return(value, where, seen):
    """Raise TypeError where a value holds what skops would lose, change or not read."""
    if id(value) in seen:
        return
    seen.add(id(value))
    reason = _why_it_cannot_return(value)
    if reason is not None:
        raise TypeError(f"{where} is {reason}")
    if isinstance(value, dict):
        parts = [(f"{where}[{key!r}]", part) for key, part in value.items()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = [(f"{where}[{i}]", part) for i, part in enumerate(value)]
    elif isinstance(value, np.ndarray) and value.dtype == object:
        parts = [(f"{where}.flat[{i}]", part) for i, part in enumerate(np.asarray(value).flat)]
    elif hasattr(value, "__dict__") and not isinstance(value, OPAQUE):
        parts = [(f"{where}.{name}", part) for name, part in vars(value).items()]
    else:
        return
    for place, part in parts:
        refuse_what_cannot_return(part, place, seen)


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
    if isinstance(value, partial):
        return (
            "a functools.partial, which load does not make; write a function with a name, or give "
            "the arguments where they have a parameter (kw_args of FunctionTransformer)."
        )
    if isinstance(value, dict):
        return _why_keys_cannot_return(value)
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim != 1:
        if not value.ndim:
            return "an object array of no dimensions, which skops cannot read; use its item."
        strange = next((v for v in np.asarray(value).flat if not isinstance(v, PLAIN)), None)
        if strange is not None:
            return (
                f"an object array of {value.ndim} dimensions that holds a "
                f"{type(strange).__name__}, which would return in another shape; use a list."
            )
    return None


def _why_keys_cannot_return(value):
    """Return why the keys of a dict, which are texts in JSON, would not be the same again."""
    of_numpy = (np.integer, np.floating, np.str_)
    for key in value:
        exact = type(key) in (str, int, float) or isinstance(key, of_numpy)
        if isinstance(value, defaultdict):
            exact = isinstance(key, str)
        if not exact:
            return (
                f"a {type(value).__name__} with the key {key!r}, which would not return as a "
                f"{type(key).__name__}; use keys that are texts or integers."
            )
    if len({str(key) for key in value}) < len(value):
        return (
            f"a dict with keys {[*value]} of which two have the same text, so one would be lost; "
            "use keys of one type."
        )
    return None
