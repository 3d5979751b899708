"""SelectiveMetric and RiskCoverageMetric in one process: values, accumulation, copies, refusals."""

import copy
import io
import math
import pickle
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassConfusionMatrix,
    MulticlassPrecision,
)
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score
from torchmetrics.retrieval import RetrievalMAP
from torchmetrics.wrappers import BootStrapper, ClasswiseWrapper, MinMaxMetric

from sklearn_seapig import RiskCoverageMetric, SelectiveMetric
from sklearn_seapig.metrics import (
    augrc_score,
    aurc_score,
    excess_aurc_score,
    failure_auroc_score,
    normalized_aurc_score,
    risk_coverage_curve,
)

ALL = ("full", "selected", "rejected")


def batch(n=40, seed=0):
    """Return logits, targets and confidences with ties."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(n, 3)).astype(np.float32))
    target = torch.from_numpy(rng.integers(0, 3, size=n))
    return logits, target, torch.from_numpy(np.round(rng.random(n), 1))


def mask(n=40):
    return torch.arange(n) % 4 != 0


def absolute(preds, target):
    return (preds - target).abs()


def squared(preds, target):
    return (preds - target) ** 2


def one_value(metric, *args):
    metric.update(*args)
    return metric.compute()


# SelectiveMetric


def test_each_part_is_the_base_metric_on_its_rows():
    logits, target, _ = batch()
    values = one_value(SelectiveMetric(MulticlassAccuracy(num_classes=3)), logits, target, mask())
    for part, rows in zip(ALL, (mask() | True, mask(), ~mask()), strict=True):
        alone = one_value(MulticlassAccuracy(num_classes=3), logits[rows], target[rows])
        assert values[f"{part}/MulticlassAccuracy"] == alone
    assert values["coverage"] == 0.75
    assert list(values) == [*(f"{part}/MulticlassAccuracy" for part in ALL), "coverage"]


def test_selected_by_name_or_last_gives_the_same():
    logits, target, _ = batch()
    last = one_value(SelectiveMetric(MulticlassAccuracy(num_classes=3)), logits, target, mask())
    metric = SelectiveMetric(MulticlassAccuracy(num_classes=3))
    metric.update(logits, target, selected=mask())
    named = SelectiveMetric(MulticlassAccuracy(num_classes=3))
    named.update(preds=logits, selected=mask(), target=target)
    assert metric.compute() == last == named.compute()


@pytest.mark.parametrize(
    "given",
    [
        mask().long(),
        mask().float(),
        mask().half(),
        mask().long() * 2 - 1,
        (mask().long() * 2 - 1).numpy(),
        mask().numpy(),
        mask().tolist(),
        mask()[:, None],
    ],
)
def test_a_mask_may_be_booleans_or_zero_and_one_or_plus_and_minus_one(given):
    # SP-MT-06
    logits, target, _ = batch()
    base = MulticlassAccuracy(num_classes=3)
    expected = one_value(SelectiveMetric(base), logits, target, mask())
    assert one_value(SelectiveMetric(base), logits, target, given) == expected


def test_what_predict_returns_is_a_mask():
    # SP-MT-06
    from sklearn_seapig import EuclideanScore

    X = np.random.default_rng(0).normal(size=(60, 2))
    score = EuclideanScore(quantile=0.5).fit(X[:50])
    metric = SelectiveMetric(BinaryAccuracy())
    metric.update(torch.ones(10), torch.ones(10), score.predict(X[50:]))
    assert metric.compute()["coverage"] == pytest.approx(score.select(X[50:]).selected.mean())


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        (torch.rand(40), ValueError, "score >= threshold"),
        (torch.arange(40) - 1, ValueError, r"-1, 0, 1, 2"),
        (torch.full((40,), math.nan), ValueError, "nan"),
        (torch.tensor([-1, 0] * 20), ValueError, r"\[-1, 0\]"),
        (mask(39), ValueError, "argument 1 has 40 rows and selected has 39"),
        (mask()[:, None].expand(-1, 2), ValueError, r"\(40, 2\)"),
        (torch.tensor(True), ValueError, r"shape \(\)"),
        (["yes"] * 40, TypeError, "selected is not an array"),
    ],
)
def test_other_masks_are_refused_and_leave_the_metric_as_it_was(given, error, match):
    # SP-MT-10
    logits, target, _ = batch()
    metric = SelectiveMetric([MulticlassAccuracy(num_classes=3), MulticlassAUROC(num_classes=3)])
    before = one_value(metric, logits, target, mask())
    for call in (metric.update, metric):
        with pytest.raises(error, match=match):
            call(logits, target, given)
    assert metric.compute() == before


def test_arguments_of_other_lengths_are_refused_and_leave_the_metric_as_it_was():
    # SP-MT-10
    logits, target, _ = batch()
    metric = SelectiveMetric(MulticlassAccuracy(num_classes=3))
    before = one_value(metric, logits, target, mask())
    with pytest.raises(ValueError, match="argument 2 has 39 rows and selected has 40"):
        metric.update(logits, target[1:], mask())
    with pytest.raises(ValueError, match="target has 39 rows"):
        metric.update(logits, target=target[1:], selected=mask())
    with pytest.raises(TypeError, match="selected is missing"):
        metric.update(preds=logits, target=target)
    assert metric.compute() == before


@pytest.mark.parametrize(("given", "empty"), [(torch.ones, "rejected"), (torch.zeros, "selected")])
def test_a_part_never_seen_is_nan_in_the_shape_of_the_metric(given, empty):
    logits, target, _ = batch()
    base = [
        MulticlassAccuracy(num_classes=3, average=None),
        MulticlassAUROC(num_classes=3),
        MulticlassConfusionMatrix(num_classes=3),
    ]
    values = one_value(SelectiveMetric(base), logits, target, given(40))
    for name, shape in (("Accuracy", (3,)), ("AUROC", ()), ("ConfusionMatrix", (3, 3))):
        found = values[f"{empty}/Multiclass{name}"]
        assert found.shape == shape
        assert found.isnan().all()
        assert not values[f"full/Multiclass{name}"].isnan().any()


def test_no_stale_values_after_a_reset():
    # SP-MT-01
    logits, target, _ = batch()
    metric = SelectiveMetric(
        [MulticlassAccuracy(num_classes=3, average=None), MulticlassAUROC(num_classes=3)]
    )
    before = one_value(metric, logits, target, mask())
    metric.reset()
    after = metric.compute()
    assert set(after) == set(before)
    assert all(value.isnan().all() for value in after.values())
    assert after["full/MulticlassAccuracy"].shape == (3,)
    assert not metric.update_called
    torch.testing.assert_close(one_value(metric, logits, target, mask()), before)


def test_forward_returns_the_batch_and_keeps_what_was_seen():
    # SP-MT-04
    metric = SelectiveMetric(MeanMetric())
    values = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 9.0]), torch.tensor([10.0])]
    masks = [torch.tensor([1, 1]), torch.tensor([1, 0]), torch.tensor([0])]
    seen = [metric(v, m) for v, m in zip(values, masks, strict=True)]
    assert [part["selected/MeanMetric"].item() for part in seen[:2]] == [1.5, 3.0]
    assert seen[2]["selected/MeanMetric"].isnan()
    assert seen[2]["coverage"] == 0
    final = metric.compute()
    assert final["selected/MeanMetric"] == 2
    assert final["rejected/MeanMetric"] == 9.5
    assert final["full/MeanMetric"] == 5
    assert final["coverage"].item() == pytest.approx(0.6)
    assert metric.update_count == 3


def test_batches_give_what_all_rows_at_once_give():
    logits, target, _ = batch()
    once, parts = (
        SelectiveMetric([MulticlassAccuracy(num_classes=3), MulticlassAUROC(num_classes=3)])
        for _ in range(2)
    )
    for rows in torch.split(torch.arange(40), 7):
        parts.update(logits[rows], target[rows], mask()[rows])
    parts.update(logits[:0], target[:0], mask()[:0])
    torch.testing.assert_close(parts.compute(), one_value(once, logits, target, mask()))


def test_the_given_metric_is_copied_without_its_rows_and_not_touched():
    logits, target, _ = batch()
    base = MulticlassAccuracy(num_classes=3)
    base.update(target, target)
    metric = SelectiveMetric(base)
    values = one_value(metric, logits, target, mask())
    assert values["full/MulticlassAccuracy"] != 1
    assert base.compute() == 1
    assert base.dist_sync_fn is None


def test_a_collection_keeps_its_names():
    logits, target, _ = batch()
    base = MetricCollection(
        {"top": MulticlassAccuracy(num_classes=3), "hit": MulticlassPrecision(num_classes=3)},
        prefix="test_",
        postfix="_now",
    )
    outer = MetricCollection({"selective": SelectiveMetric(base)}, prefix="run/")
    values = one_value(outer, logits, target, mask())
    names = {f"run/{part}/test_{name}_now" for part in ALL for name in ("top", "hit")}
    assert set(values) == {*names, "run/coverage"}


def test_two_of_them_in_a_collection_do_not_mix():
    logits, target, _ = batch()
    by_hand = SelectiveMetric(MulticlassAccuracy(num_classes=3))
    collection = MetricCollection(
        {
            "a": SelectiveMetric(MulticlassAccuracy(num_classes=3)),
            "b": SelectiveMetric(MulticlassAccuracy(num_classes=3, top_k=2)),
        }
    )
    for _ in range(2):
        collection.update(logits, target, selected=mask())
    values = collection.compute()
    assert values["a_selected/MulticlassAccuracy"] < values["b_selected/MulticlassAccuracy"]
    expected = one_value(by_hand, logits, target, mask())["selected/MulticlassAccuracy"]
    assert values["a_selected/MulticlassAccuracy"] == expected


def test_metrics_that_look_alike_on_one_row_stay_apart():
    # A plain collection would take these two for one metric after the first batch.
    base = MetricCollection({"low": BinaryAccuracy(0.3), "high": BinaryAccuracy(0.7)})
    metric = SelectiveMetric(base)
    metric.update(torch.tensor([0.9, 0.1]), torch.tensor([1, 0]), torch.tensor([1, 0]))
    metric.update(torch.full((8,), 0.5), torch.ones(8), torch.tensor([1, 0] * 4))
    values = metric.compute()
    for part in ALL:
        assert values[f"{part}/low"] > values[f"{part}/high"]


def test_values_that_are_dicts_or_curves_pass_through():
    logits, target, _ = batch()
    named = SelectiveMetric(ClasswiseWrapper(MulticlassAccuracy(num_classes=3, average=None)))
    values = one_value(named, logits, target, mask())
    assert len(values) == 10
    assert values["rejected/multiclassaccuracy_2"].ndim == 0


def test_every_argument_with_rows_is_cut_and_the_others_stay():
    preds, target = torch.rand(40), torch.arange(40) % 3 == 0
    indexes = torch.arange(40) // 10
    metric = SelectiveMetric(RetrievalMAP())
    metric.update(preds, target, indexes=indexes, selected=mask())
    alone = RetrievalMAP()
    alone.update(preds[mask()], target[mask()], indexes=indexes[mask()])
    assert metric.compute()["selected/RetrievalMAP"] == alone.compute()

    mean = SelectiveMetric(MeanMetric())
    mean.update([1.0, 2.0, 6.0], weight=1.0, selected=[True, True, False])
    assert mean.compute()["selected/MeanMetric"] == 1.5
    mean.reset()
    mean.update(np.array([1.0, 2.0, 6.0]), weight=np.array([3, 1, 1]), selected=[1, 1, 0])
    assert mean.compute()["selected/MeanMetric"] == 1.25


def test_the_metrics_are_registered_and_move_with_the_module():
    module = torch.nn.Module()
    module.metric = SelectiveMetric(MulticlassConfusionMatrix(num_classes=3))
    assert set(dict(module.metric.named_children())) == {*ALL, "counts"}
    module.to("meta")
    for part in ALL:
        assert getattr(module.metric, part)["MulticlassConfusionMatrix"].confmat.is_meta
    assert module.metric.counts.counts.is_meta


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    preds, target = torch.arange(40.0) / 8, torch.arange(40.0) / 16
    metric = SelectiveMetric(MeanAbsoluteError()).set_dtype(dtype)
    values = one_value(metric, preds.to(dtype), target.to(dtype), mask())
    assert values["selected/MeanAbsoluteError"].dtype == dtype
    expected = (preds - target).abs()[~mask()].mean().item()
    assert values["rejected/MeanAbsoluteError"].item() == pytest.approx(expected, rel=0.02)
    assert metric.counts.counts.tolist() == [30, 10]
    assert values["coverage"] == 0.75


def test_large_counts_are_exact():
    metric = SelectiveMetric(MeanMetric())
    metric.counts.counts = torch.tensor([2**24, 2**24])  # where float32 stops to count
    metric.update(torch.ones(2), torch.ones(2))
    assert metric.counts.compute().tolist() == [2**24 + 2, 2**24]


def copies(metric, fresh):
    """Return the metric by every route that may store it."""
    file = io.BytesIO()
    torch.save(metric, file)
    file.seek(0)
    metric.persistent(True)
    loaded = fresh()
    loaded.load_state_dict(metric.state_dict())
    return {
        "pickle": pickle.loads(pickle.dumps(metric)),
        "deepcopy": copy.deepcopy(metric),
        "clone": metric.clone(),
        "torch.save": torch.load(file, weights_only=False),
        "state_dict": loaded,
    }


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@pytest.mark.parametrize(
    "base",
    [
        MulticlassAccuracy(num_classes=3),
        MetricCollection([MulticlassAUROC(num_classes=3), MulticlassAccuracy(num_classes=3)]),
    ],
    ids=["metric", "collection"],
)
def test_every_route_of_storage_keeps_all_rows(base):
    # SP-MT-13
    logits, target, _ = batch()
    more = batch(seed=1)
    metric = SelectiveMetric(base)
    before = one_value(metric, logits, target, mask())
    others = copies(metric, lambda: SelectiveMetric(base))
    after = one_value(metric, *more[:2], mask())
    for route, other in others.items():
        torch.testing.assert_close(other.compute(), before, msg=route)
        torch.testing.assert_close(one_value(other, *more[:2], mask()), after, msg=route)


def test_states_are_saved_on_request_only_and_loaded_whole_or_not_at_all():
    # SP-PS-02
    logits, target, _ = batch()
    metric = SelectiveMetric(MulticlassAccuracy(num_classes=3))
    metric.update(logits, target, mask())
    assert not metric.state_dict()
    metric.persistent(True)
    state = metric.state_dict()
    assert "selected.MulticlassAccuracy.tp" in state
    del state["selected.MulticlassAccuracy.tp"]
    module = torch.nn.ModuleDict({"m": SelectiveMetric(MulticlassAccuracy(num_classes=3))})
    with pytest.raises(RuntimeError, match=r"lacks .*selected\.MulticlassAccuracy\.tp"):
        module.load_state_dict({f"m.{name}": value for name, value in state.items()}, strict=False)


@pytest.mark.parametrize("wrap", [MinMaxMetric, lambda m: BootStrapper(m, num_bootstraps=3)])
def test_states_of_wrapped_metrics_are_saved_too(wrap):
    logits, target, _ = batch()
    full, other = (SelectiveMetric(wrap(MulticlassAccuracy(num_classes=3))) for _ in range(2))
    expected = one_value(full, logits, target, mask())
    for metric in (full, other):
        metric.persistent(True)
    state = full.state_dict()
    assert any(name.endswith(".tp") for name in state)
    other.load_state_dict(state)
    assert other.compute() == expected
    full.persistent(False)
    assert not full.state_dict()


def test_a_loaded_state_replaces_values_that_were_computed_before():
    logits, target, confidence = batch()
    for make, args in (
        (lambda: SelectiveMetric(MulticlassAccuracy(num_classes=3)), (logits, target, mask())),
        (RiskCoverageMetric, (logits, target, confidence)),
    ):
        full, other = make(), make()
        expected = one_value(full, *args)
        assert one_value(other, *(a[:9] for a in args)) != expected
        full.persistent(True)
        other.load_state_dict(full.state_dict())
        assert other.compute() == expected


@pytest.mark.parametrize("base", [BinaryAccuracy, "accuracy", None, 3])
def test_what_is_no_metric_is_refused(base):
    with pytest.raises(TypeError, match="must be a torchmetrics Metric"):
        SelectiveMetric(base)


def test_bases_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="dist_sync_on_step"):
        SelectiveMetric(BinaryAccuracy(dist_sync_on_step=True))
    with pytest.raises(ValueError, match="no metric"):
        SelectiveMetric([])


class Plain(Metric):
    """Returns what a function makes of the number of rows."""

    full_state_update = False

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds, target):
        self.n = self.n + len(preds)

    def compute(self):
        return self.kind(self.n)


@pytest.mark.parametrize("kind", [int, float, np.float64, lambda n: np.full(2, int(n))])
def test_a_part_never_seen_is_nan_whatever_the_metric_returns(kind):
    logits, target, _ = batch()
    metric = SelectiveMetric(Plain(kind))
    for values in (one_value(metric, logits, target, torch.ones(40)), metric.compute()):
        np.testing.assert_array_equal(values["selected/Plain"], kind(torch.tensor(40)))
        assert np.isnan(values["rejected/Plain"]).all()
        assert np.shape(values["rejected/Plain"]) == np.shape(values["full/Plain"])


def test_a_metric_that_a_small_part_does_not_define_is_nan_there_and_the_others_stay():
    preds, target = torch.rand(10), torch.rand(10)
    one = torch.arange(10) != 3
    metric = SelectiveMetric([R2Score(), MeanSquaredError()])
    for call in (metric, lambda *args: one_value(metric, *args)):
        metric.reset()
        with pytest.warns(UserWarning, match="R2Score is nan for the rejected rows.*two samples"):
            values = call(preds, target, one)
        assert values["rejected/R2Score"].isnan()
        assert values["rejected/MeanSquaredError"] == (preds[3] - target[3]) ** 2
        torch.testing.assert_close(
            values["selected/R2Score"], one_value(R2Score(), preds[one], target[one])
        )
    # Nothing of it is lost: with further rows it is computed.
    metric.update(preds, target, ~one)
    values = metric.compute()
    assert values["coverage"] == 0.5
    both = torch.cat([preds[[3]], preds[one]]), torch.cat([target[[3]], target[one]])
    torch.testing.assert_close(values["rejected/R2Score"], one_value(R2Score(), *both))


def test_a_metric_that_no_part_defines_is_its_own_error():
    metric = SelectiveMetric(R2Score())
    metric.update(torch.rand(1), torch.rand(1), [1])
    with pytest.raises(ValueError, match="two samples"):
        metric.compute()


def test_forward_may_be_a_loss():
    preds, target = torch.rand(10, requires_grad=True), torch.rand(10)
    metric = SelectiveMetric(MeanSquaredError())
    metric(preds, target, torch.arange(10) < 5)["selected/MeanSquaredError"].backward()
    assert bool((preds.grad[:5] != 0).all())
    assert bool((preds.grad[5:] == 0).all())


# RiskCoverageMetric

GOLDEN = {
    (1, 0, 0, 0): ("25/48", "11/24", "22/9", "7/32", "0"),
    (0, 0, 0, 1): ("1/16", "0", "0", "1/32", "1"),
    (0, 0, 1, 1): ("5/24", "0", "0", "1/8", "1"),
    (0, 0, 1): ("1/9", "0", "0", "1/18", "1"),
}
NAMES = ("aurc", "eaurc", "naurc", "augrc", "failure_auroc")


@pytest.mark.parametrize("errors", GOLDEN)
def test_golden_values(errors):
    target = torch.zeros(len(errors), dtype=torch.int64)
    metric = RiskCoverageMetric()
    for row in torch.randperm(len(errors)):
        confidence = torch.tensor([-float(row)])
        metric.update(torch.tensor(errors)[row : row + 1], target[:1], confidence)
    values = metric.compute()
    assert tuple(values) == NAMES
    for name, expected in zip(NAMES, GOLDEN[errors], strict=True):
        assert values[name].dtype == torch.float64
        assert values[name].item() == pytest.approx(float(Fraction(expected)), abs=1e-12)


def test_numbers_are_those_of_the_functions():
    logits, target, confidence = batch(200)
    loss = (logits.argmax(dim=1) != target).double()
    values = one_value(RiskCoverageMetric(), logits, target, confidence)
    functions = (
        aurc_score,
        excess_aurc_score,
        normalized_aurc_score,
        augrc_score,
        failure_auroc_score,
    )
    for name, function in zip(NAMES, functions, strict=True):
        assert values[name].item() == pytest.approx(function(loss, confidence), abs=1e-12)


def test_ties_across_batches_are_one_segment_in_any_order():
    # SP-RC-06
    errors = torch.arange(1000) < 100
    for order in (torch.arange(1000), torch.arange(1000).flip(0), torch.randperm(1000)):
        metric = RiskCoverageMetric()
        for rows in torch.split(order, 90):
            metric.update(errors[rows].long(), torch.zeros(len(rows)), torch.ones(len(rows)))
        assert metric.compute()["aurc"].item() == pytest.approx(0.1, abs=1e-9)


@pytest.mark.parametrize(
    "preds",
    [
        torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 0]),
        torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 0], dtype=torch.uint8),
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 0],
        torch.eye(10)[[0, 1, 2, 3, 4, 5, 6, 7, 8, 0]],
        torch.eye(10)[[0, 1, 2, 3, 4, 5, 6, 7, 8, 0]].half() * 30 - 10,
        np.eye(10)[[0, 1, 2, 3, 4, 5, 6, 7, 8, 0]],
        torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 0])[:, None],
    ],
)
def test_the_default_loss_of_classes_is_their_error(preds):
    # SP-MT-07: |index difference| would be 0.9
    target = torch.arange(10)
    curve = RiskCoverageMetric()
    curve.update(preds, target, torch.ones(10))
    assert curve.compute()["aurc"].item() == pytest.approx(0.10)


def test_one_column_of_probabilities_is_class_1_above_one_half():
    preds, target = torch.tensor([0.5, 0.51, 0.2, 0.9]), torch.tensor([0.0, 1.0, 1.0, 0.0])
    for shape in ((4,), (4, 1)):
        metric = RiskCoverageMetric()
        metric.update(preds.reshape(shape), target.reshape(shape), torch.ones(4))
        assert metric.compute()["aurc"] == 0.5
    boolean = RiskCoverageMetric()
    boolean.update(preds > 0.5, target > 0.5, torch.ones(4))
    assert boolean.compute()["aurc"] == 0.5


@pytest.mark.parametrize(
    ("preds", "target", "match"),
    [
        (torch.tensor([0.0, 2.0, 1.0]), torch.tensor([0, 2, 1]), "class indices as integers"),
        (torch.tensor([-3.0, 2.0, 0.1]), torch.tensor([0, 1, 1]), "sigmoid"),
        (torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.1, 0.2, 0.3]), "For regression"),
        (torch.tensor([0, 1, 2]), torch.tensor([0.5, 1.0, 2.0]), "For regression"),
        (torch.rand(3, 2), torch.tensor([0, 1, 2]), "labels from 0 to 2, and preds has 2"),
        (torch.rand(3, 2), torch.tensor([0, 1, -100]), "from -100"),
        (torch.rand(3, 2, 4), torch.tensor([0, 1, 1]), r"\(3, 2, 4\)"),
        (torch.full((3, 2), math.nan), torch.tensor([0, 1, 1]), "NaN"),
        (torch.tensor([0.1, math.nan, 0.3]), torch.tensor([0, 1, 1]), "NaN"),
        (torch.tensor([[0, 1], [1, 1], [0, 0]]), torch.tensor([0, 1, 1]), r"preds .*\(3, 2\)"),
        (torch.tensor([0, 1, 1]), torch.eye(3).long(), r"target .*\(3, 3\)"),
    ],
)
def test_what_is_no_class_is_refused(preds, target, match):
    # SP-MT-07
    with pytest.raises(ValueError, match=match):
        RiskCoverageMetric().update(preds, target, torch.ones(3))


def test_a_loss_of_ones_own():
    preds, target = torch.rand(50), torch.rand(50)
    confidence = torch.rand(50)
    values = one_value(RiskCoverageMetric(absolute), preds, target, confidence)
    expected = aurc_score((preds - target).abs(), confidence)
    assert values["aurc"].item() == pytest.approx(expected, abs=1e-12)
    assert values["failure_auroc"].isnan()


def test_several_losses_at_once():
    preds, target, confidence = torch.rand(50), torch.rand(50), torch.rand(50)
    metric = RiskCoverageMetric(
        {"abs": absolute, "square": torch.nn.MSELoss(reduction="none"), "numpy": in_numpy}
    )
    values = one_value(metric, preds, target, confidence)
    assert set(values) == {f"{loss}/{name}" for loss in metric.loss for name in NAMES}
    curves = metric.curve()
    for loss, alone in (("abs", absolute), ("square", squared), ("numpy", absolute)):
        losses = alone(preds, target)
        expected = augrc_score(losses, confidence)
        assert values[f"{loss}/augrc"].item() == pytest.approx(expected, abs=1e-12)
        wanted = risk_coverage_curve(losses, confidence)
        np.testing.assert_array_equal(curves[loss].selective_risk, wanted.selective_risk)


def in_numpy(preds, target):
    return np.abs(preds.numpy() - target.numpy())


def test_the_curve_is_that_of_the_function():
    logits, target, confidence = batch()
    metric = RiskCoverageMetric()
    for rows in torch.split(torch.arange(40), 7):
        metric.update(logits[rows], target[rows], confidence[rows])
    wanted = risk_coverage_curve((logits.argmax(dim=1) != target).double(), confidence)
    for found, expected in zip(metric.curve(), wanted, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-15)
    metric.reset()
    with pytest.raises(ValueError, match="no row"):
        metric.curve()


def test_forward_of_a_curve_returns_the_batch_and_keeps_all_rows():
    # SP-MT-05
    metric, by_update = RiskCoverageMetric(), RiskCoverageMetric()
    for seed in range(3):
        rows = batch(10, seed)
        assert metric(*rows) == one_value(RiskCoverageMetric(), *rows)
        by_update.update(*rows)
    assert sum(map(len, metric.rows)) == 30
    assert metric.compute() == by_update.compute()
    assert metric.update_count == 3


def test_a_call_costs_the_same_whatever_was_seen_before():
    # SP-MT-11: no state is copied or joined before compute, which shows in the objects themselves
    metric = RiskCoverageMetric()
    metric(*batch())
    first = metric.rows[0]
    for call in (metric, metric.update):
        call(*batch())
    assert metric.rows[0] is first
    assert [len(rows) for rows in metric.rows] == [40] * 3


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_rows_are_nan():
    # SP-MT-01
    metric = RiskCoverageMetric()
    for rows in (batch(0), batch()):
        metric.update(*rows)
        metric.reset()
        values = metric.compute()
        assert tuple(values) == NAMES
        assert all(value.isnan() for value in values.values())
    assert all(value.isnan() for value in metric(*batch(0)).values())
    assert metric(*batch()) == one_value(RiskCoverageMetric(), *batch())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda p, t, c: (p, t, c[1:]), "preds has 40 rows, target 40 and confidence 39"),
        (lambda p, t, c: (p, t[1:], c), "target 39"),
        (lambda p, t, c: (p[1:], t, c), "preds has 39"),
        (lambda p, t, c: (p, t, c[:, None].expand(-1, 2)), "1d array"),
        (lambda p, t, c: (p, t, c * math.nan), "confidence contains NaN"),
        (lambda p, t, c: (p, t, 0.5), "confidence has shape"),
    ],
)
def test_a_refused_batch_leaves_the_metric_as_it_was(change, match):
    # SP-MT-09, SP-MT-10, SP-RC-10
    metric = RiskCoverageMetric()
    before = one_value(metric, *batch())
    for call in (metric.update, metric):
        with pytest.raises(ValueError, match=match):
            call(*change(*batch()))
    assert metric.compute() == before


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (lambda p, t: (p - t).abs().mean(), "reduction='none'"),
        (lambda p, t: (p - t).abs()[1:], r"\(39,\) for 40 rows"),
        (lambda p, t: (p[:, None] - t).abs(), r"\(40, 40\)"),  # SP-RC-12
        (lambda p, t: p - t - 1, "not negative"),
        (lambda p, t: (p - t) * math.nan, "NaN"),
        (lambda p, t: (p - t).abs() + math.inf, "finite"),
    ],
)
def test_a_loss_that_is_none_is_refused_by_the_batch_that_shows_it(loss, match):
    # SP-MT-09
    metric = RiskCoverageMetric({"fine": absolute, "other": loss})
    with pytest.raises(ValueError, match=match):
        metric.update(torch.rand(40), torch.rand(40), torch.rand(40))
    assert metric.rows == []


@pytest.mark.parametrize("loss", ["absolute", 3, {}, {"abs": "absolute"}, [absolute]])
def test_what_is_no_loss_is_refused(loss):
    with pytest.raises(TypeError, match="must be a callable"):
        RiskCoverageMetric(loss)


def test_confidences_are_kept_as_they_are():
    confidence = 1 + torch.arange(40, dtype=torch.float64) * 1e-12  # equal in float32
    logits, target, _ = batch()
    expected = one_value(RiskCoverageMetric(), logits, target, confidence)
    metric = RiskCoverageMetric()
    metric.half().set_dtype(torch.float16).to(torch.bfloat16)
    metric.update(logits, target, confidence)
    metric.half().set_dtype(torch.float16).to(torch.bfloat16)
    assert metric.compute() == expected
    assert len(metric.curve().threshold) == 40


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    preds = torch.tensor([300.0, 2.0, 4.0]).to(dtype)  # 300 ** 2 is infinite in half precision
    target, confidence = torch.zeros(3, dtype=dtype), torch.tensor([0.1, 0.5, 0.9]).to(dtype)
    values = one_value(RiskCoverageMetric(squared), preds, target, confidence)
    expected = aurc_score(preds.float() ** 2, confidence.float())
    assert values["aurc"].item() == pytest.approx(expected, rel=1e-12)


def test_values_with_grad_and_in_inference_mode():
    # SP-RC-19
    preds = torch.rand(40, requires_grad=True)
    confidence = torch.rand(40, requires_grad=True)
    metric = RiskCoverageMetric(absolute)
    with torch.inference_mode():
        metric.update(preds, torch.rand(40), confidence)
    metric(preds, torch.rand(40), confidence)
    assert not metric.compute()["aurc"].requires_grad
    assert metric.rows[0].shape == (40, 2)


def test_rows_move_with_the_module():
    metric = RiskCoverageMetric()
    metric.update(*batch())
    assert metric.to("meta").rows[0].is_meta
    assert metric.device.type == "meta"


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@pytest.mark.parametrize("loss", [None, {"error": None, "other": squared}])
def test_every_route_of_storage_keeps_all_rows_of_a_curve(loss):
    # SP-MT-13
    def rows(seed):
        preds, target, confidence = batch(seed=seed)
        return preds.argmax(dim=1), target, confidence

    metric = RiskCoverageMetric(loss)
    before = one_value(metric, *rows(0))
    others = copies(metric, lambda: RiskCoverageMetric(loss))
    after = one_value(metric, *rows(1))
    for route, other in others.items():
        torch.testing.assert_close(other.compute(), before, equal_nan=True, msg=route)
        again = one_value(other, *rows(1))
        torch.testing.assert_close(again, after, equal_nan=True, msg=route)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_a_state_dict_lives_apart_from_the_metrics_that_loaded_it():
    metric = RiskCoverageMetric()
    metric.update(*batch())
    metric.persistent(True)
    state = metric.state_dict()
    first, second = RiskCoverageMetric(), RiskCoverageMetric()
    first.load_state_dict(state)
    first.update(*batch())
    first.reset()
    second.load_state_dict(state)
    assert second.compute() == metric.compute()


def test_rows_of_other_losses_are_not_loaded():
    # SP-PS-02
    metric = RiskCoverageMetric()
    metric.update(*batch())
    metric.persistent(True)
    other = RiskCoverageMetric({"a": None, "b": None})
    with pytest.raises(RuntimeError, match="do not fit"):
        other.load_state_dict(metric.state_dict(), strict=False)
    assert other.rows == []


@pytest.mark.parametrize("first", [0, 2])
def test_curves_of_one_collection_stay_apart(first):
    # Their losses agree on the first batch, after which a collection looks for equal states.
    preds, target, confidence = torch.tensor([0.0, 1.0, 3.0]), torch.zeros(3), torch.rand(3)
    collection = MetricCollection(
        {"abs": RiskCoverageMetric(absolute), "square": RiskCoverageMetric(squared)}, prefix="run/"
    )
    for rows in (slice(first), slice(3)):
        collection.update(preds[rows], target[rows], confidence[rows])
    values = collection.compute()
    assert values["run/abs_aurc"] < values["run/square_aurc"]


def test_a_curve_beside_other_metrics_in_a_collection():
    preds, target, confidence = torch.rand(9), torch.rand(9), torch.rand(9)
    collection = MetricCollection([RiskCoverageMetric(absolute), MeanSquaredError()])
    for _ in range(2):
        collection.update(preds, target, confidence=confidence)
    values = collection.compute()
    expected = aurc_score(absolute(preds, target).repeat(2), confidence.repeat(2))
    assert values["aurc"].item() == pytest.approx(expected)
    assert set(values) == {*NAMES, "MeanSquaredError"}


def test_merged_states_are_those_of_all_rows():
    one, other, both = (RiskCoverageMetric() for _ in range(3))
    for metric, seed in ((one, 0), (other, 1), (both, 0), (both, 1)):
        metric.update(*batch(seed=seed))
    one.merge_state(other)
    assert one.compute() == both.compute()


# Both


def test_without_torchmetrics_the_error_names_the_extra():
    code = """
import sys
sys.modules["torchmetrics"] = None
import sklearn_seapig
for name in ("SelectiveMetric", "RiskCoverageMetric"):
    assert name not in sklearn_seapig.__all__
    try:
        getattr(sklearn_seapig, name)
    except ImportError as error:
        assert "needs torchmetrics" in str(error) and "sklearn-seapig[metrics]" in str(error)
    else:
        raise AssertionError(name)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "metric", [SelectiveMetric(MulticlassAccuracy(num_classes=3)), RiskCoverageMetric()]
)
def test_values_can_be_plotted(metric):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    logits, target, confidence = batch()
    metric.update(logits, target, mask() if isinstance(metric, SelectiveMetric) else confidence)
    _, ax = metric.plot()
    assert len(ax.get_legend_handles_labels()[1]) == len(metric.compute())
    matplotlib.pyplot.close("all")
