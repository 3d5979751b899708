"""The same metrics and the same rows in the same order from one process and from two."""

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("lightning_processes.py")


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore:.*num_workers")
def test_two_processes_give_what_one_gives(strategy, tmp_path):
    # SP-MT-14: one process sees no selected row, the other no rejected one. 19 and 5 rows: the
    # processes have parts of different length.
    two = subprocess.Popen(
        [sys.executable, SCRIPT, tmp_path, strategy],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    alone = tmp_path / "alone"
    alone.mkdir()
    runpy.run_path(str(SCRIPT))["evaluate"](alone, devices=1)
    try:
        printed, _ = two.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        os.killpg(two.pid, signal.SIGKILL)  # with the processes that it started
        raise
    assert two.returncode == 0, printed

    metrics = torch.load(tmp_path / "metrics.pt")
    assert len(metrics) == 7
    assert 0.3 < metrics["coverage"] < 0.7
    want = torch.load(alone / "metrics.pt")
    assert metrics == pytest.approx(want, rel=1e-6)

    joined = torch.load(tmp_path / "deep" / "predictions.pt")
    want = torch.load(alone / "deep" / "predictions.pt")
    for n, rows, plain in zip((19, 5), joined, want, strict=True):
        assert rows["index"].tolist() == plain["index"].tolist() == list(range(n))
        assert torch.equal(rows["selected"], plain["selected"])
        assert 0 < rows["selected"].sum() < n
        for name in ("predictions", "score"):
            torch.testing.assert_close(rows[name], plain[name], rtol=1e-5, atol=1e-6)
