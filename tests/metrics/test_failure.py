"""What a threshold is worth, and the report by class."""

import numpy as np
import pytest
from sklearn.metrics import classification_report

from sklearn_seapig.metrics import effective_reliability_score, selective_classification_report

LOSS, CONFIDENCE = [0, 0, 1, 1], [0.9, 0.8, 0.7, 0.6]


@pytest.mark.parametrize(
    ("threshold", "cost", "expected"),
    [(0.7, 1, 0.25), (0.7, 3, -0.25), (0.6, 1, 0.0), (1.0, 1, 0.0), (-np.inf, 0, 0.5)],
)
def test_effective_reliability_earns_costs_or_nothing(threshold, cost, expected):
    assert effective_reliability_score(LOSS, CONFIDENCE, threshold, cost=cost) == expected


def test_effective_reliability_of_graded_answers_and_weights():
    assert effective_reliability_score([0.25, 1], [2, 2], 2, cost=2) == (0.75 - 2) / 2
    weighted = effective_reliability_score(LOSS, CONFIDENCE, 0.7, sample_weight=[1, 2, 1, 4])
    assert weighted == (1 + 2 - 1) / 8


def test_an_answer_is_worth_giving_above_cost_over_one_plus_cost():
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    wrong, cost = rng.random(200_000) > p, 3.0
    values = {t: effective_reliability_score(wrong, p, t, cost=cost) for t in (0.6, 0.75, 0.9)}
    assert max(values, key=values.get) == cost / (1 + cost)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"loss": [0, 2, 1, 1]}, "loss holds 2, but"),
        ({"cost": -1}, "cost"),
        ({"threshold": np.nan}, "threshold"),
        ({"threshold": "a"}, "threshold"),
    ],
)
def test_effective_reliability_refuses(kwargs, message):
    args = {"loss": LOSS, "confidence": CONFIDENCE, "threshold": 0.5, **kwargs}
    with pytest.raises(ValueError, match=message):
        effective_reliability_score(**args)


class TestReport:
    def parts(self):
        rng = np.random.default_rng(1)
        y_true = rng.choice(["ash", "beech", "a long name"], 200)
        y_pred = np.where(rng.random(200) < 0.8, y_true, "ash")
        return y_true, y_pred, rng.random(200)

    def test_each_part_is_the_report_of_its_rows(self):
        y_true, y_pred, confidence = self.parts()
        report = selective_classification_report(y_true, y_pred, confidence, 0.3, output_dict=True)
        kept = confidence >= 0.3
        for part, rows in {"selected": kept, "rejected": ~kept, "full": kept | True}.items():
            assert report[part] == classification_report(
                y_true[rows], y_pred[rows], output_dict=True, zero_division=np.nan
            )
        assert report["coverage"] == kept.mean()

    def test_text_shows_the_same_numbers(self):
        y_true, y_pred, confidence = self.parts()
        text = selective_classification_report(y_true, y_pred, confidence, 0.3, digits=4)
        report = selective_classification_report(y_true, y_pred, confidence, 0.3, output_dict=True)
        parts = ("full", "selected", "rejected")
        lines = {line[:11].strip(): line[11:].split() for line in text.splitlines()}
        for name in ("ash", "beech", "a long name", "macro avg"):
            row = [
                f"{report[part][name][measure]:.{4 * (measure != 'support')}f}"
                for measure in ("precision", "recall", "support")
                for part in parts
            ]
            assert lines[name] == row
        assert lines["accuracy"] == [f"{report[part]['accuracy']:.4f}" for part in parts]
        assert len({len(line) for line in text.splitlines()[1:6]}) == 1

    @pytest.mark.parametrize(("threshold", "empty"), [(-np.inf, "rejected"), (np.inf, "selected")])
    def test_nothing_in_a_part_is_nan_and_never_zero(self, threshold, empty):
        # FB-11, FB-12
        y_true, y_pred, confidence = self.parts()
        report = selective_classification_report(
            y_true, y_pred, confidence, threshold, output_dict=True
        )
        assert np.isnan(report[empty]["accuracy"])
        assert np.isnan(report[empty]["ash"]["recall"])
        assert report[empty]["ash"]["support"] == 0
        text = selective_classification_report(y_true, y_pred, confidence, threshold)
        assert text.splitlines()[-2].split().count("-") == 1

    def test_lists_and_ties(self):
        # FB-17
        report = selective_classification_report(
            [0, 1, 1], [0, 0, 1], [0.5, 0.5, 0.1], 0.5, output_dict=True
        )
        assert report["selected"]["accuracy"] == 0.5
        with pytest.raises(ValueError, match="0 sample"):
            selective_classification_report([], [], [], 0.5)
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            selective_classification_report([0, 1], [0, 1], [0.5], 0.5)

    @pytest.mark.parametrize("name", ["accuracy", "macro avg", "weighted avg"])
    def test_class_with_the_name_of_a_mean_has_a_row_of_its_own(self, name):
        y_true, y_pred, confidence = self.parts()
        plain = selective_classification_report(y_true, y_pred, confidence, 0.3)
        named = [np.where(y == "ash", name, y).astype(object) for y in (y_true, y_pred)]
        text = selective_classification_report(*named, confidence, 0.3)
        rows = [line.split()[-9:] for line in plain.splitlines()]
        cells = [line.split()[-9:] for line in text.splitlines()]
        order = np.argsort([name, "beech", "a long name"])
        ash = 2 + order.tolist().index(0)
        assert text.splitlines()[ash].strip().startswith(name)
        assert cells[ash] == rows[3]
        assert cells[5] == rows[5]
        with pytest.raises(ValueError, match=f"A class is called '{name}'"):
            selective_classification_report(*named, confidence, 0.3, output_dict=True)

    @pytest.mark.parametrize("digits", [0, 1, 2, 3, 12])
    def test_columns_never_touch(self, digits):
        n = 1_000_005
        y_true = np.zeros(n, dtype=int)
        confidence = np.where(np.arange(n) < 6, 0.0, 1.0)
        text = selective_classification_report(y_true, y_true, confidence, 0.5, digits=digits)
        lines = text.splitlines()
        assert lines[1].split() == ["full", "sel.", "rej."] * 3
        assert lines[2].split()[-3:] == ["1000005", "999999", "6"]
        assert len({len(line) for line in lines[1:4]}) == 1
