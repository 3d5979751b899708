"""Settings that must stand before scipy and torch are imported, and the shared data."""

import os
from pathlib import Path

os.environ.setdefault("SCIPY_ARRAY_API", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers that each start as many threads as there are cores wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

# The same examples in every run; --hypothesis-profile=long looks further, and elsewhere each time.
hypothesis.settings.register_profile(
    "quick", max_examples=15, derandomize=True, deadline=None, database=None
)
hypothesis.settings.register_profile("long", max_examples=500, deadline=None)
hypothesis.settings.load_profile("quick")


@pytest.fixture(scope="session")
def shared_data():
    """The folder of public evaluation data beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared evaluation data lie beside the repository, and are not here")
    return folder
