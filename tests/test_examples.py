"""The examples run as a newcomer would run them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(name, folder):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def number(line):
    return float(line.split()[-1])


def test_quickstart_rejects_what_it_cannot_know(tmp_path):
    lines = run("quickstart.py", tmp_path).splitlines()
    value = {line.rsplit(None, 1)[0].strip(): line.split()[-1] for line in lines}
    everything = float(value["known digits     accuracy on all rows"])
    accepted = float(value["accuracy on accepted rows"])
    assert accepted > everything > 0.9
    assert float(value["coverage"]) > 0.85
    assert float(value["unknown digits   rejected"]) > 0.5
    picture = (tmp_path / "quickstart.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


def test_grid_search_tells_candidates_apart_and_survives_a_file(tmp_path):
    lines = run("grid_search.py", tmp_path).splitlines()
    scores = [number(line) for line in lines[1:13]]
    best = next(line for line in lines if line.startswith("best"))
    row = lines[1 + scores.index(max(scores))].split()
    assert f"'selective__confidence__k': {row[0]}," in best
    assert f"'selective__confidence__quantile': {row[1]}}}" in best
    assert len(set(scores)) > 6
    assert lines[-1] == "equal after joblib: True"


def test_a_promise_costs_coverage_and_breaks_where_the_data_shift(tmp_path):
    lines = run("guaranteed_risk.py", tmp_path).splitlines()
    assert "<= 0.05 with certainty 0.95 (800 calibration rows" in lines[0]
    table = [line for line in lines if line.startswith(("test images", "moved"))]
    cells = [[float(cell.rstrip("%")) for cell in line.split()[-5:]] for line in table]
    allowed, found, coverage, oracle, without = zip(*cells, strict=True)
    assert allowed == (5, 3, 2, 1, 5, 5)
    assert all(100 * f <= a for f, a in zip(found[:4], allowed[:4], strict=True))
    assert list(coverage[:4]) == sorted(coverage[:4], reverse=True)
    assert all(c < o for c, o in zip(coverage, oracle, strict=True))
    assert 0.05 < without[0] < without[4]
    assert found[4] > 0.1 > 0.05 >= found[5]
    assert coverage[4] > coverage[5] > 0.1
    broken = next(line for line in lines if "random splits" in line)
    assert number(broken) <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


def test_compare_scores_orders_all_scores_and_draws_them(tmp_path):
    lines = run("compare_scores.py", tmp_path).splitlines()
    rows = [line.replace("[", "").replace("]", "").replace(",", "").split() for line in lines[2:-2]]
    names = [row[0] for row in rows]
    aurc, low, high, naurc, augrc, auroc, coverage = np.array([row[1:] for row in rows], float).T
    assert len(names) >= 11
    assert (np.diff(aurc) >= 0).all()
    assert ((low < aurc) & (aurc < high)).all()
    assert ((coverage >= 0) & (coverage <= 1)).all()
    at = {name: i for i, name in enumerate(names)}
    informed, blind = at["SoftmaxScore"], at["RandomScore"]
    assert high[informed] < low[blind]
    assert auroc[informed] > 0.75 > naurc[informed]
    assert augrc[informed] < augrc[blind]
    a, _, b, _, difference, lower, upper, *_, pvalue = (
        lines[-2].replace("[", "").replace("]", "").replace(",", "").replace(":", "").split()
    )
    assert [a, b] == names[:2]
    assert float(difference) == pytest.approx(aurc[0] - aurc[1], abs=1.1e-4)
    assert float(lower) <= float(difference) <= min(0, float(upper))
    assert 0 < float(pvalue) <= 1
    assert (tmp_path / "compare_scores.png").read_bytes().startswith(b"\x89PNG")


def test_lightning_selective_trusts_what_it_knows(tmp_path):
    lines = run("lightning_selective.py", tmp_path).splitlines()
    everything, selected, rejected, coverage, digits, photographs = map(number, lines[:6])
    assert selected > everything > 0.9 > rejected
    assert 0.85 < coverage < 1
    assert digits > 0.5
    assert photographs > 0.9
    assert len(torch.load(tmp_path / "predictions.pt")[0]["predictions"]) == 354
