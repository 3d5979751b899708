"""Textbook quantities of logits against 60-digit arithmetic and their definitions."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch

from sklearn_seapig.kernels import logits as kernels

TOY = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)
ROWS = [
    [2.0, 1.0, 0.0],
    [0.0, 0.0, 0.0],
    [40.0, 0.0, -40.0],
    [-30.0, -30.5, -31.0],
    [300.0, 0.0, 1.0],
    [1e-9, 0.0, 0.0],
    [5.0, 5.0, -500.0],
]


def exact(row):
    """Return error probability, entropy, log-sum-exp and probability margin of a row."""
    with localcontext() as context:
        context.prec = 250
        weights = sorted((Decimal(z).exp() for z in row), reverse=True)
        total = sum(weights)
        p = [w / total for w in weights]
        entropy = -sum(q * q.ln() for q in p if q > 0)
        return [float(v) for v in (1 - p[0], entropy, total.ln(), p[0] - p[1])]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_agreement_with_exact_arithmetic_at_any_saturation(row):
    z = torch.tensor([row], dtype=torch.float64)
    functions = [
        kernels.error_probability,
        kernels.entropy,
        kernels.log_sum_exp,
        kernels.probability_margin,
    ]
    got = [float(f(z)) for f in functions]
    np.testing.assert_allclose(got, exact(row), rtol=1e-13)


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (kernels.error_probability, 0.334759),
        (kernels.entropy, 0.832396),
        (kernels.log_sum_exp, 2.407606),
        (kernels.logit_margin, 1.0),
        (kernels.probability_margin, 0.420512),
        (kernels.largest_logit, 2.0),
    ],
)
def test_values_of_the_formula_table(function, value):
    assert float(function(TOY)) == pytest.approx(value, abs=1e-6)


FUNCTIONS = [
    kernels.error_probability,
    kernels.entropy,
    kernels.log_sum_exp,
    kernels.logit_margin,
    kernels.probability_margin,
    kernels.largest_logit,
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_order_of_classes_does_not_matter(function):
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 6)) * 4)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(function(z[:, order]), function(z), rtol=1e-12, atol=0)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_shift_of_all_logits_moves_sizes_and_nothing_else(function):
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 6)))
    by = 3.0 if function in (kernels.log_sum_exp, kernels.largest_logit) else 0.0
    torch.testing.assert_close(function(z + 3), function(z) + by, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("row", [[-np.inf, 1.0, -np.inf], [-np.inf, 1.0, 0.5]])
def test_masked_classes_count_as_absent(function, row):
    """SP-LG-12, SP-LG-13"""
    got = float(function(torch.tensor([row], dtype=torch.float64)))
    assert np.isfinite(got)
    left = [z for z in row if z > -np.inf]
    if len(left) == 2:
        assert got == float(function(torch.tensor([left], dtype=torch.float64)))
    elif function is kernels.logit_margin:
        assert got == kernels.LARGEST_MARGIN


def test_entropy_of_a_certain_row_of_many_classes_is_zero():
    """SP-LG-17"""
    z = torch.zeros(1, 100_000)
    z[0, 7] = 100.0
    assert 0 <= float(kernels.entropy(z.double())) < 1e-9


class TestAsUnits:
    def test_one_logit_stands_for_two(self):
        units = kernels.as_units(torch.tensor([[3.0]]), "binary", False)
        assert units.shape == (1, 1, 1, 2)
        assert units.flatten().tolist() == [0.0, 3.0]

    def test_labels_are_one_logit_each(self):
        units = kernels.as_units(torch.tensor([[3.0, -1.0]]), "multilabel", False)
        assert units.tolist() == [[[[0.0, 3.0], [0.0, -1.0]]]]

    @pytest.mark.parametrize(
        ("task", "shape", "expected"),
        [
            ("multiclass", (7, 3, 5), (7, 5, 1, 3)),
            ("binary", (7, 5), (7, 5, 1, 2)),
            ("binary", (7, 1, 5), (7, 5, 1, 2)),
            ("binary", (7, 2, 5), (7, 5, 1, 2)),
            ("multilabel", (7, 3, 5), (7, 5, 3, 2)),
            ("multilabel", (7, 1, 5), (7, 5, 1, 2)),
        ],
    )
    def test_members_come_second(self, task, shape, expected):
        Z = torch.arange(float(np.prod(shape))).reshape(shape)
        units = kernels.as_units(Z, task, True)
        assert units.shape == expected
        at = (3, 0, 4) if len(shape) == 3 else (3, 4)
        last = 0 if expected[-1] == shape[1] and len(shape) == 3 and task != "multilabel" else 1
        assert float(units[3, 4, 0, last]) == float(Z[at])


class TestEnsembles:
    MEMBERS = torch.tensor([[[0.0, -np.inf], [-np.inf, 0.0]]], dtype=torch.float64)

    def test_members_that_are_certain_and_disagree(self):
        """Row 21 of the formula table: PE = MI = ln 2, EE = 0."""
        mean = kernels.log_mean_probability(self.MEMBERS, dim=1)
        assert float(kernels.entropy(mean)) == pytest.approx(np.log(2), abs=1e-12)
        assert float(kernels.mutual_information(self.MEMBERS, dim=1)) == pytest.approx(np.log(2))
        assert kernels.entropy(self.MEMBERS).tolist() == [[0.0, 0.0]]

    def test_predictive_entropy_is_expected_entropy_plus_mutual_information(self):
        z = torch.from_numpy(np.random.default_rng(0).normal(size=(200, 7, 4)) * 3)
        total = kernels.entropy(kernels.log_mean_probability(z, dim=1))
        expected = kernels.entropy(z).mean(dim=1)
        information = kernels.mutual_information(z, dim=1)
        torch.testing.assert_close(total, expected + information, rtol=1e-12, atol=1e-12)

    def test_members_that_agree_have_no_information(self):
        z = torch.from_numpy(np.random.default_rng(0).normal(size=(200, 1, 4)) * 20)
        information = kernels.mutual_information(z.expand(-1, 5, -1), dim=1)
        assert (information >= 0).all()
        assert (information < 1e-14).all()


class TestNLLSlope:
    @pytest.mark.parametrize("beta", [0.01, 0.7, 1.0, 20.0])
    def test_it_is_the_derivative_of_the_nll(self, beta):
        random = np.random.default_rng(0)
        z = torch.from_numpy(random.normal(size=(40, 5)))
        target = torch.from_numpy(random.integers(0, 5, 40))
        b = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
        torch.nn.functional.cross_entropy(z * b, target, reduction="sum").backward()
        assert float(kernels.nll_slope(z, target, beta)) == pytest.approx(float(b.grad), rel=1e-11)

    def test_a_masked_class_takes_no_part(self):
        z = torch.tensor([[1.0, 0.0, -np.inf]], dtype=torch.float64)
        target = torch.tensor([1])
        expected = kernels.nll_slope(z[:, :2], target, 0.5)
        assert kernels.nll_slope(z, target, 0.5) == expected
        assert torch.isinf(kernels.nll_slope(z, torch.tensor([2]), 0.5))
