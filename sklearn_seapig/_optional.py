"""Libraries that only an adapter needs."""

import contextlib


@contextlib.contextmanager
def extra(name, for_what):
    """Turn the ImportError of an optional library into one that names the extra to install."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"{for_what} needs {error.name or name}, which is not installed; run "
            f"pip install 'sklearn-seapig[{name}]'."
        ) from error
