"""Settings that must stand before scipy and torch are imported, and the shared data."""

import os
import subprocess
import sys
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


PEAK = """
def peak():
    # Not ru_maxrss: that of a child starts at the peak of the process which runs the tests.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**10
{prepare}
before = peak()
{work}
print(peak() - before)
"""


@pytest.fixture(scope="session")
def peak_of():
    """A function that runs code in a process of its own: by how many MiB `work` raises the peak."""
    if sys.platform != "linux":
        pytest.skip("the peak is read from /proc")

    def peak(prepare, work, *args):
        code = PEAK.format(prepare=prepare, work=work)
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *args],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert run.returncode == 0, run.stderr
        return float(run.stdout)

    return peak
