"""One progress bar for everything that takes a while."""

import sys

from tqdm.auto import tqdm


def progress_bar(iterable, *, show, description, total=None):
    """Wrap an iterable in a bar; ``show="auto"`` stays quiet where nobody is watching."""
    if show == "auto":
        show = sys.stderr is not None and sys.stderr.isatty()
    return tqdm(iterable, desc=description, total=total, disable=not show, leave=False)
