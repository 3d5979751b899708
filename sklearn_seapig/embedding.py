"""From a torch module to features, as a scikit-learn transformer."""

import copy
import itertools
import os
from numbers import Integral

import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import validate_data
from torch.utils.data import DataLoader, Dataset

from ._batches import (
    as_rows,
    check_many_dimensions,
    check_row_order,
    source_from_dataset,
    source_from_loader,
    source_from_rows,
)
from ._embedding_cache import cache_entry
from ._extraction import extract, takes_integers
from ._progress import progress_bar
from ._rows import RowSink
from ._state import VersionStamp, blank_twin
from ._validation import Range, check_features


class TorchEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, VersionStamp, BaseEstimator):
    """Features that a trained torch module computes of each row, as a transformer.

    The module is used and never trained: ``transform`` works without ``fit``, which only learns
    the number of columns.

    Parameters
    ----------
    module : torch.nn.Module
        The network. It is shared, not copied: by clones, and with whoever else holds it.

    method : str, default="embed"
        Method of the module that maps a batch to a tensor of shape (B, D), for example "embed",
        "logits" or "forward". Ignored where `layer` is given.

    layer : str, default=None
        Dotted path of a submodule, as in ``module.named_modules()``, whose output of shape (B, D)
        is read while the module is called.

    batch_size : int, default=256
        Rows per batch. A DataLoader keeps its own.

    device : str or torch.device, default="cpu"
        Where the module runs; "auto" takes an accelerator where there is one.

    input_key : str, int or callable, default=None
        Where a batch of a Dataset or DataLoader holds the input: a key of a dict, a position in a
        tuple, or a function from the batch to the tensor. None takes the batch itself if it is a
        tensor, the first element of a tuple or list, and of a dict the first of "image", "x",
        "input", "inputs", "pixel_values", "input_ids", "features". Arrays do not use it.

    progress : bool or "auto", default="auto"
        Show a progress bar; "auto" shows it on a terminal only.

    output : str or path, default=None
        A .npy file that `transform` writes, for features that exceed the memory. The result is
        then a read-only memory map of it.

    cache : str or path, default=None
        A folder, made if missing, where `transform` and `fit_transform` keep the embeddings, one
        file for each module, entry and data, so that the same call need not run the module again.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns seen by `fit`, where it was given a 2-D array.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns seen by `fit`, where it was given a data frame with string names.

    See Also
    --------
    EuclideanScore : Confidence from the distance of such features to a reference set.
    sklearn.preprocessing.FunctionTransformer : A plain function as a transformer.

    Notes
    -----
    `X` is an array, a data frame, a tensor, a torch Dataset or a DataLoader. 2-D arrays are
    checked as scikit-learn does; arrays of more dimensions must be finite. What Datasets and
    loaders yield is not checked, nor is the result. A DataLoader that shuffles gets a warning, one
    whose ``drop_last=True`` would lose rows is refused.

    Inputs are cast to the dtype of the first floating parameter or buffer of the module (float32
    where there is none), integers included, so that pixel counts can go into a linear layer. Only
    where the first layer with parameters is an ``Embedding`` or ``EmbeddingBag`` do integers stay
    integers. "First" is the order of registration; a module that registers its table later casts
    its own input with ``.long()``.

    The module runs in eval mode under ``torch.inference_mode``; the train flag of every submodule
    is put back afterwards, exceptions included. Extractions of several threads wait for each
    other. A surrounding ``torch.autocast`` stays in force. Tensors that the module itself caches
    during the call are inference tensors, as torch calls them.

    The module is moved to `device` in place, as ``module.to`` does, and stays there: a network
    goes to an accelerator once and not in each call. Taking it off an accelerator gives a warning.

    The result is float32 or float64, gathered on the CPU batch by batch. How a row is batched
    changes its last bits (about 1e-7 relative in float32), because matrix products do; a layer
    that normalizes over the batch even in eval mode changes it for real.

    `transform` of a fitted embedder refuses another number of columns than `fit` saw: call `fit`
    again after changing `layer` or `method`. ``set_output`` needs `fit` too, for the names of the
    columns, as for the stateless transformers of scikit-learn. A stream that can be read only once
    should go to `transform` or `fit_transform`, since `fit` alone takes its first batch.

    With `output`, the file is replaced when it is complete. An array that an earlier call
    returned keeps its rows, but sent to another process it is opened by its path anew: give each
    of several concurrent embedders a path of its own.

    With `cache`, a file is found by a fingerprint of the module (its tensors, and the classes and
    attributes of its submodules), `method` or `layer`, the device, autocast, the versions of this
    package and of torch, and the batches of input tensors in their order. `X` is therefore read
    once to look a file up and once more where there is none: the cache spares the network, not the
    reading of the data. What the fingerprint cannot see is the code of the module's methods: empty
    the folder after changing that. A module with hooks or with attributes that have no
    fingerprint, an IterableDataset, a DataLoader with a sampler of its own or one that shuffles,
    and data that differ from pass to pass are embedded without the cache, with a warning. A damaged
    file is computed again, with a warning. Files hold numbers only, are never unpickled and never
    removed. A module that was found in the cache is not moved to `device`.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_seapig import TorchEmbedder
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> X = np.random.default_rng(0).normal(size=(10, 4))
    >>> TorchEmbedder(net, method="forward").transform(X).shape
    (10, 2)
    >>> embedder = TorchEmbedder(net, layer="1").fit(X)
    >>> embedder.get_feature_names_out()
    array(['torchembedder0', 'torchembedder1', 'torchembedder2'], dtype=object)
    """

    _parameter_constraints: dict = {
        "module": [torch.nn.Module],
        "method": [str],
        "layer": [str, None],
        "batch_size": [Range(Integral, 1, None, closed="left")],
        "device": [str, torch.device],
        "input_key": [str, Range(Integral, 0, None, closed="left"), callable, None],
        "progress": ["boolean", StrOptions({"auto"})],
        "output": [str, os.PathLike, None],
        "cache": [str, os.PathLike, None],
    }

    def __init__(
        self,
        module,
        method="embed",
        layer=None,
        *,
        batch_size=256,
        device="cpu",
        input_key=None,
        progress="auto",
        output=None,
        cache=None,
    ):
        self.module = module
        self.method = method
        self.layer = layer
        self.batch_size = batch_size
        self.device = device
        self.input_key = input_key
        self.progress = progress
        self.output = output
        self.cache = cache

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Run one batch to learn the number of columns.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...), tensor, Dataset or DataLoader
            Inputs of the module.

        y : None
            Ignored.

        Returns
        -------
        self : TorchEmbedder
        """
        twin = self._blank_twin()
        source = twin._source(X, reset=True)
        with RowSink(None) as sink:
            twin._extract(itertools.islice(source.batches(), 1), source, sink)
            twin._n_features_out = sink.result().shape[1]
        self.__dict__ = twin.__dict__
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, y=None):
        """Embed `X` and learn the number of columns in one pass, which a stream allows only once.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...), tensor, Dataset or DataLoader
            Inputs of the module.

        y : None
            Ignored.

        Returns
        -------
        embeddings : ndarray of shape (n_samples, n_features_out)
        """
        twin = self._blank_twin()
        embeddings = twin._embed_all(X, reset=True)
        twin._n_features_out = embeddings.shape[1]
        self.__dict__ = twin.__dict__
        return embeddings

    def transform(self, X):
        """Embed each row of `X`; works without `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...), tensor, Dataset or DataLoader
            Inputs of the module.

        Returns
        -------
        embeddings : ndarray of shape (n_samples, n_features_out)
        """
        self._validate_params()
        return self._embed_all(X, reset=False)

    def __sklearn_clone__(self):
        # The module is shared: a search over 100 candidates must not copy a network 100 times.
        params = {
            name: value if name == "module" else clone(value, safe=False)
            for name, value in self.get_params(deep=False).items()
        }
        cloned = type(self)(**params)
        for name in ("_metadata_request", "_sklearn_output_config"):
            if name in vars(self):
                setattr(cloned, name, copy.deepcopy(getattr(self, name)))
        if "_skl_callbacks" in vars(self):
            cloned._skl_callbacks = self._skl_callbacks
        return cloned

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _blank_twin(self):
        twin = blank_twin(self)
        # scikit-learn chose a name without the underscore at the end that marks fitted state.
        vars(twin).pop("_n_features_out", None)
        return twin

    def _embed_all(self, X, reset):
        if isinstance(X, DataLoader):
            check_row_order(X)
        source = self._source(X, reset)
        width = getattr(self, "_n_features_out", None)
        with RowSink(source.n_rows, self.output, width) as sink:
            entry = None if self.cache is None else cache_entry(self, X, source)
            batches = progress_bar(
                source.batches(),
                show=self.progress,
                description=type(self).__name__,
                total=source.n_batches,
            )
            if entry is None:
                self._extract(batches, source, sink)
                return sink.result()
            if not entry.read(sink):
                self._extract(entry.watch(batches), source, sink)
            embeddings = sink.result()
            entry.store(embeddings)
            return embeddings

    def _extract(self, batches, source, sink):
        extract(
            batches,
            sink.add,
            module=self.module,
            method=self.method,
            layer=self.layer,
            device=self.device,
            check_finite=source.check_finite,
        )

    def _source(self, X, reset):
        if isinstance(X, DataLoader):
            return source_from_loader(X, self.input_key)
        if isinstance(X, Dataset):
            return source_from_dataset(X, self.batch_size, self.input_key)
        return source_from_rows(self._validate_rows(X, reset), self.batch_size)

    def _validate_rows(self, X, reset):
        X = as_rows(X)
        if isinstance(X, torch.Tensor):
            return X
        if len(getattr(X, "shape", ())) > 2:
            return check_many_dimensions(X)
        owner = self
        if not reset and not hasattr(self, "n_features_in_"):
            # Nothing to compare with: check X for itself and leave the state as it is.
            owner, reset = copy.copy(self), True
        if takes_integers(self.module):
            return validate_data(owner, X, reset=reset, dtype="numeric", order="C")
        return check_features(owner, X, reset=reset)
