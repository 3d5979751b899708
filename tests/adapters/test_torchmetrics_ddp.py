"""SelectiveMetric and RiskCoverageMetric in two processes under gloo, against one process.

Run as a script it starts the processes, once for all scenarios. Each leaves what it computed in
the folder that it is given.
"""

import pickle
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassConfusionMatrix,
)
from torchmetrics.regression import (
    MeanSquaredError,
    PearsonCorrCoef,
    R2Score,
    SpearmanCorrCoef,
)
from torchmetrics.retrieval import RetrievalMAP

from sklearn_seapig import RiskCoverageMetric, SelectiveMetric
from sklearn_seapig.metrics import augrc_score, aurc_score, risk_coverage_curve

N, WORLD, BATCH = 64, 2, 8
ROWS = torch.arange(N)
IS_SELECTED = ROWS % 5 != 0
SHARDS = {
    "even": [ROWS[:32], ROWS[32:]],
    "uneven": [ROWS[:40], ROWS[40:]],
    "one-sided": [ROWS[IS_SELECTED], ROWS[~IS_SELECTED]],
    "first process empty": [ROWS[:0], ROWS],
    "second process empty": [ROWS, ROWS[:0]],
    "nothing rejected": [ROWS[IS_SELECTED][:20], ROWS[IS_SELECTED][20:]],
    "nothing selected, one empty": [ROWS[~IS_SELECTED], ROWS[:0]],
    "nothing": [ROWS[:0], ROWS[:0]],
}
pytestmark = [
    # torchmetrics: too few rows for a correlation, no row of a class, a buffer that grows, no rows
    pytest.mark.filterwarnings("ignore::UserWarning:torchmetrics"),
]


def data():
    """Return logits, targets, confidences with ties, and which rows are selected."""
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(N, 3)).astype(np.float32))
    target = torch.from_numpy(rng.integers(0, 3, size=N))
    return logits, target, torch.from_numpy(np.round(rng.random(N), 1)), IS_SELECTED


def batches_of(shard):
    parts = [torch.split(part[shard], BATCH) for part in data()]
    return list(zip(*parts, strict=True)) if len(shard) else []


def absolute(preds, target):
    return (preds[:, 0] - target).abs()


def metrics():
    """Return new metrics of all kinds: states that sum, lists, matrices, adding in place."""
    classes = {"num_classes": 3}
    return {
        "classes": SelectiveMetric(
            MetricCollection(
                [
                    MulticlassAccuracy(**classes, average=None),
                    MulticlassAUROC(**classes),
                    MulticlassConfusionMatrix(**classes),
                ]
            )
        ),
        "numbers": SelectiveMetric([MeanSquaredError(), SpearmanCorrCoef(), PearsonCorrCoef()]),
        "risk": RiskCoverageMetric(),
        "risks": RiskCoverageMetric({"error": None, "absolute": absolute}),
    }


def add(metric, name, batches, forward=False):
    call = metric if forward else metric.update
    for logits, target, confidence, selected in batches:
        if name.startswith("risk"):
            call(logits, target, confidence)
        elif name == "numbers":
            call(logits[:, 0], target.float(), selected=selected)
        else:
            call(logits, target, selected)


def outcomes(shards, rank, made):
    """Return what each metric computes in this process, and again after further rows."""
    results = {}
    for name, metric in made.items():
        add(metric, name, batches_of(shards[rank]))
        once = metric.compute()
        seen = name.startswith("risk") and any(map(len, shards))
        curve = metric.curve() if seen else None
        add(metric, name, batches_of(shards[rank]), forward=True)
        results[name] = {"once": once, "twice": metric.compute(), "curve": curve}
    return results


def list_metric(rank):
    """Return the values of a metric that gathers batch by batch, and the error where it cannot."""
    metric = SelectiveMetric(RetrievalMAP())
    preds, target = torch.arange(4) / 4, torch.tensor([0, 1, 0, 1])
    metric.update(preds, target, torch.full((4,), rank), torch.tensor([1, 1, 0, 0]))
    values = metric.compute()
    metric.update(preds, target, torch.full((4,), rank), torch.tensor([1, 1, rank, rank]))
    try:
        metric.compute()
    except RuntimeError as error:
        return values, str(error)
    return values, None


def few_rejected(rank):
    """Return the values with one rejected row in all processes, and again with one in each."""
    metric = SelectiveMetric([R2Score(), MeanSquaredError()])
    rows = torch.arange(6.0)
    metric.update(rows, rows**2, selected=(rows > 0) | (rank == 0))
    with pytest.warns(UserWarning, match="R2Score is nan for the rejected rows"):
        once = metric.compute()
    metric.update(rows[:1] + 5, rows[:1], selected=[rank])
    return once, metric.compute()


def work(rank, folder, spawned):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=120),
    )
    shared = [
        state.is_shared()
        for metric in spawned["numbers"].modules()
        for state in metric.metric_state.values()
        if isinstance(state, torch.Tensor)
    ]
    results = {"spawned": outcomes(SHARDS["even"], rank, spawned), "shared": shared}
    for name, shards in SHARDS.items():
        results[name] = outcomes(shards, rank, metrics())
    results["lists"] = list_metric(rank)
    results["few"] = few_rejected(rank)
    with open(f"{folder}/{rank}.pkl", "wb") as file:
        pickle.dump(results, file)
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """What each of the two processes computed, run once for the module."""
    folder = tmp_path_factory.mktemp("gloo")
    run = subprocess.run(
        [sys.executable, __file__, str(folder)], capture_output=True, text=True, timeout=240
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return [pickle.loads((folder / f"{rank}.pkl").read_bytes()) for rank in range(WORLD)]


def of_one_process(scenario):
    everything = torch.cat(SHARDS[scenario]).sort().values
    return outcomes([everything], 0, metrics())


def assert_same(found, truth):
    for name, values in truth.items():
        for when in ("once", "twice"):
            torch.testing.assert_close(
                found[name][when], values[when], rtol=1e-5, atol=1e-6, equal_nan=True
            )


@pytest.mark.parametrize("scenario", SHARDS)
def test_every_process_has_the_values_of_all_rows(computed, scenario):
    # SP-MT-14
    truth = of_one_process(scenario)
    for results in computed:
        assert_same(results[scenario], truth)


def test_spawned_processes_add_to_states_of_their_own(computed):
    truth = of_one_process("even")
    for results in computed:
        assert not any(results["shared"])
        assert_same(results["spawned"], truth)
        matrix = results["spawned"]["classes"]["once"]["full/MulticlassConfusionMatrix"]
        assert matrix.sum() == N


@pytest.mark.parametrize("rank", range(WORLD))
def test_a_part_that_one_process_alone_has_seen(computed, rank):
    # SP-MT-14
    logits, target, _, selected = data()
    right = (logits.argmax(dim=1) == target).double()
    values = computed[rank]["one-sided"]["numbers"]["once"]
    squares = (logits[:, 0] - target) ** 2
    assert values["selected/MeanSquaredError"] == pytest.approx(squares[selected].mean().item())
    assert values["rejected/MeanSquaredError"] == pytest.approx(squares[~selected].mean().item())
    values = computed[rank]["one-sided"]["classes"]["once"]
    assert values["coverage"] == pytest.approx(selected.double().mean().item())
    matrix = values["rejected/MulticlassConfusionMatrix"]
    assert matrix.trace() == right[~selected].sum()


@pytest.mark.parametrize("scenario", ["even", "uneven", "first process empty"])
@pytest.mark.parametrize("rank", range(WORLD))
def test_risk_coverage_of_all_rows(computed, rank, scenario):
    # SP-MT-17
    logits, target, confidence, _ = data()
    losses = {
        "error": (logits.argmax(dim=1) != target).double(),
        "absolute": (logits[:, 0] - target).abs(),
    }
    results = computed[rank][scenario]
    assert results["risk"]["once"]["aurc"].item() == pytest.approx(
        aurc_score(losses["error"], confidence), abs=1e-9
    )
    for name, loss in losses.items():
        values, curve = results["risks"]["once"], results["risks"]["curve"][name]
        expected = augrc_score(loss, confidence)
        assert values[f"{name}/augrc"].item() == pytest.approx(expected, abs=1e-9)
        for found, wanted in zip(curve, risk_coverage_curve(loss, confidence), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_lists_that_cannot_be_gathered_are_refused_and_do_not_wait(computed):
    for results in computed:
        values, error = results["lists"]
        assert values["full/RetrievalMAP"] == pytest.approx(5 / 6)
        assert "RetrievalMAP.preds" in error


def test_what_one_row_of_all_processes_does_not_define_is_nan_and_comes_with_the_second(computed):
    for results in computed:
        once, again = results["few"]
        assert once["rejected/R2Score"].isnan()
        assert once["rejected/MeanSquaredError"] == 0
        assert once["selected/R2Score"].isfinite()
        assert once["coverage"].item() == pytest.approx(11 / 12)
        assert again["rejected/MeanSquaredError"] == 12.5
        assert again["coverage"].item() == pytest.approx(12 / 14)


def test_no_rows_in_any_process_are_nan(computed):
    for results in computed:
        for values in results["nothing"].values():
            assert all(value.isnan().all() for value in values["once"].values())


if __name__ == "__main__":
    torch.multiprocessing.spawn(work, (sys.argv[1], metrics()), nprocs=WORLD)
