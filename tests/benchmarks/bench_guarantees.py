"""Do the threshold rules keep what they promise? Monte Carlo from known laws, and real data.

First part: many calibration sets from laws whose coverage and selective risk are known exactly, so
that only the calibration set is random. Second part: random calibration / test splits of public
model outputs, with the coverage kept next to that of an oracle that knows the test errors.
Exits with 1 where a promise is broken by more than three standard errors; these are estimates, so
fewer than some hundred draws raise false alarms.

Run:  python tests/benchmarks/bench_guarantees.py [--draws 2000] [--splits 200] [--data FOLDER]
"""

import argparse
import math
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.special import bdtrc, softmax

from sklearn_seapig import (
    ConformalThreshold,
    GroupThreshold,
    RiskThreshold,
    benjamini_hochberg,
    conformal_pvalues,
)

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SIZES = (50, 200, 1000, 5000)
BROKEN = []


class Law:
    """Confidences on bins of [0, 1], spread within each or tied at its lower end, with errors.

    Coverage and selective risk of a bound follow from the masses of the bins, exactly.
    """

    def __init__(self, mass, error_rate, tied):
        self.mass, self.error_rate, self.tied = np.asarray(mass), np.asarray(error_rate), tied
        self.edges = np.append(0, np.cumsum(self.mass))
        self.wrong = np.append(0, np.cumsum(self.mass * self.error_rate))

    def draw(self, rng, n):
        """Return n confidences and the error rate of each."""
        u = rng.random(n)
        bins = np.minimum(np.searchsorted(self.edges, u, side="right"), len(self.mass)) - 1
        return (self.edges[bins] if self.tied else u), self.error_rate[bins]

    def coverage(self, bound):
        """Return P(confidence >= bound); `bound` is one of the confidences or infinite."""
        return 1 - np.clip(bound, 0, 1)

    def risk(self, bound):
        """Return E(error | confidence >= bound), 0 where nothing is accepted."""
        bound = np.clip(bound, 0, 1)
        accepted = 1 - bound
        wrong = self.wrong[-1] - np.interp(bound, self.edges, self.wrong)
        return np.divide(wrong, accepted, out=np.zeros_like(wrong), where=accepted > 0)


def laws():
    """Return the laws; "flat" is above 0.1 by a hair everywhere, "bands" crosses it many times."""
    thousand, ten = (np.arange(1000) + 0.5) / 1000, (np.arange(10) + 0.5) / 10
    four = [0.05, 0.15, 0.2, 0.6]
    return {
        "continuous": Law(np.full(1000, 1e-3), (1 - thousand) ** 2 / 2, tied=False),
        "bands": Law(np.full(20, 0.05), np.tile([0.0, 0.21], 10), tied=False),
        "flat": Law([1.0], [0.1 + 1e-9], tied=False),
        "discrete": Law(np.full(10, 0.1), (1 - ten) ** 2 / 2, tied=True),
        "tied bands": Law(np.full(20, 0.05), np.tile([0.0, 0.21], 10), tied=True),
        "steps": Law([0.3, 0.02, 0.28, 0.1, 0.3], [0.02, 0.6, 0.05, 0.5, 0.03], tied=False),
        "heavily tied": Law(four, [0.5, 0.3, 0.1, 0.02], tied=True),
    }


def report(what, law, n, value, limit, spread, *, at_least=False, note=""):
    """Print a line, and remember it where the value is beyond its limit."""
    broken = value < limit - 3 * spread if at_least else value > limit + 3 * spread
    sign = ">=" if at_least else "<="
    print(
        f"{what:<54} {law:<16} {n:>5}  {value:8.4f} {sign} {limit:<6g} (s.e. {spread:.4f}) "
        f"{'BROKEN' if broken else 'ok':<7}{note}",
        flush=True,
    )
    if broken:
        BROKEN.append(f"{what}, {law}, n={n}")


def rate_error(share, draws):
    return math.sqrt(share * (1 - share) / draws)


def conformal(draws, rng):
    print("\nConformalThreshold: mean coverage, and the rate of calibration sets below q")
    for name in ("continuous", "discrete", "heavily tied"):
        law = laws()[name]
        for n in SIZES:
            samples = [law.draw(rng, n)[0] for _ in range(draws)]
            for q in (0.5, 0.9, 0.99):
                got = bounds_coverage(law, ConformalThreshold(q), samples)
                spread = got.std() / math.sqrt(draws)
                report(f"mean coverage q={q}", name, n, got.mean(), q, spread, at_least=True)
            for q, delta in [(0.5, 0.1), (0.9, 0.05), (0.99, 0.2)]:
                got = bounds_coverage(law, ConformalThreshold(q, delta), samples)
                below = np.mean(got < q - 1e-12)
                spread = rate_error(delta, draws)
                note = f"coverage {got.mean():.4f}"
                report(f"coverage < q={q}, delta={delta}", name, n, below, delta, spread, note=note)


def bounds_coverage(law, rule, samples):
    return law.coverage(np.array([rule.fit(sample).threshold_ for sample in samples]))


def shifted(draws, rng):
    print("\nWeighted: calibration x uniform, fresh rows of density 2x, confidence 1 - x")
    fresh = np.sqrt((np.arange(500) + 0.5) / 500)
    for n in SIZES:
        for q in (0.5, 0.9):
            exact, default = [], []
            for _ in range(draws // 4):
                x = rng.random(n)
                rule = ConformalThreshold(q).fit(1 - x, sample_weight=x)
                exact.append(rule.accept(1 - fresh, sample_weight=fresh).mean())
                default.append(rule.accept(1 - fresh).mean())
            for what, got in {"own weight": exact, "largest weight": default}.items():
                spread = np.std(got) / math.sqrt(len(got))
                what = f"mean coverage q={q}, {what}"
                report(what, "shifted", n, np.mean(got), q, spread, at_least=True)


def grouped(draws, rng):
    print("\nGroupThreshold(ConformalThreshold(0.9)): mean coverage within each of two groups")
    for n in SIZES[1:]:
        got = np.empty((draws // 4, 2))
        for i in range(draws // 4):
            groups = np.where(rng.random(n) < 0.25, "rare", "usual")
            confidence = rng.random(n) + (groups == "usual")
            rule = GroupThreshold(ConformalThreshold(0.9), min_size=9)
            rule.fit(confidence, groups=groups)
            got[i] = np.clip([1, 2] - rule.thresholds_, 0, 1)
        for column, group in enumerate(["rare", "usual"]):
            spread = got[:, column].std() / math.sqrt(len(got))
            mean = got[:, column].mean()
            report("mean coverage q=0.9", group, n, mean, 0.9, spread, at_least=True)


def loss_of(kind, rate, rng):
    """Return losses in [0, 1] of the given mean: errors, or losses that are never 0 or 1."""
    if kind == "0/1":
        return (rng.random(len(rate)) < rate).astype(float)
    return rate * (0.5 + (rng.random(len(rate)) < 0.5))


def risk(draws, rng):
    print("\nRiskThreshold: the rate of calibration sets whose bound has a risk above max_risk")
    targets = [(0.05, 0.05), (0.1, 0.1), (0.1, 0.3)]
    for name, law in laws().items():
        for n in SIZES:
            for kind in ("0/1",) if "bands" in name else ("0/1", "bounded"):
                samples = []
                for _ in range(draws):
                    confidence, rate = law.draw(rng, n)
                    samples.append((confidence, loss_of(kind, rate, rng)))
                for max_risk, delta in targets:
                    for rule in variants(max_risk, delta, kind, n):
                        risk_line(law, name, n, kind, rule, samples)


def variants(max_risk, delta, kind, n):
    """Return the rules to try; those that are no default at two sizes only, to save time."""
    yield RiskThreshold(max_risk, delta)
    if n in (200, 1000) and kind == "0/1":
        yield RiskThreshold(max_risk, delta, "fixed_sequence")
        yield RiskThreshold(max_risk, delta, "sgr")
        yield RiskThreshold(max_risk, delta, n_steps=None)


def risk_line(law, name, n, kind, rule, samples):
    bounds = np.array([rule.fit(*sample).threshold_ for sample in samples])
    broken = np.mean(law.risk(bounds) > rule.max_risk)
    method = rule.method if rule.n_steps else f"{rule.method}, all"
    what = f"risk > {rule.max_risk}, delta={rule.delta}, {kind}, {method}"
    spread = rate_error(rule.delta, len(samples))
    note = f"coverage {law.coverage(bounds).mean():.4f}"
    report(what, name, n, broken, rule.delta, spread, note=note)


def discoveries(draws, rng):
    print("\nbenjamini_hochberg on conformal_pvalues: 180 normal rows, 20 foreign ones")
    rounding = {"continuous": None, "discrete": 1, "heavily tied": 0}
    for name, digits in rounding.items():
        for n in SIZES:
            for alpha in (0.05, 0.1, 0.3):
                share = []
                for _ in range(draws):
                    scores = np.concatenate([rng.normal(size=n + 180), rng.normal(-3, size=20)])
                    scores = scores if digits is None else scores.round(digits)
                    p = conformal_pvalues(scores[:n], scores[n:])
                    rejected = benjamini_hochberg(p, alpha)
                    share.append(rejected[:180].sum() / max(1, rejected.sum()))
                spread = np.std(share) / math.sqrt(draws)
                report(
                    f"false discovery rate, alpha={alpha}", name, n, np.mean(share), alpha, spread
                )


def model_outputs(folder):
    """Return name -> (confidence, error) of rows that the models were not fitted on."""
    found = {}
    cifar = np.load(folder / "cifar10_cnn.npz")
    logits = np.concatenate([cifar["val_logits"], cifar["test_logits"]])
    found["cifar10_cnn"] = softmax_response(logits, np.append(cifar["val_y"], cifar["test_y"]))
    mnist = np.load(folder / "mnist_cnn.npz")
    unseen = mnist["split"] > 0
    found["mnist_cnn"] = softmax_response(mnist["logits"][unseen], mnist["y"][unseen])
    imagenet = np.load(folder / "imagenet_confidences.npz")
    for model in ("resnet101_tv", "densenetblur121d"):
        error = imagenet[f"{model}_y_pred"] != imagenet["y_true"]
        found[model] = (imagenet[f"{model}_confidence"].astype(float), error)
    return found


def softmax_response(logits, y):
    probability = softmax(logits.astype(float), axis=1)
    return probability.max(axis=1), probability.argmax(axis=1) != y


def oracle_coverage(confidence, error, max_risk):
    """Return the largest coverage of a bound whose risk on these very rows is below max_risk."""
    order = np.argsort(-confidence, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True))
    kept = ends[np.cumsum(error[order])[ends] <= max_risk * (ends + 1)]
    return (kept[-1] + 1) / len(error) if len(kept) else 0.0


def real_data(folder, splits, rng):
    print("\nReal model outputs: share of splits whose accepted test errors exceed max_risk at the")
    print("binomial level 0.05; coverage kept of the test rows, and what an oracle would keep")
    targets = {"cifar10_cnn": (0.05, 0.1), "mnist_cnn": (0.01, 0.015)}
    for name, (confidence, error) in model_outputs(folder).items():
        n = min(5000, len(error) // 2)
        parts = [rng.permutation(len(error)) for _ in range(splits)]
        for max_risk in targets.get(name, (0.05, 0.1)):
            for delta in (0.05, 0.2):
                for method in ("fallback", "fixed_sequence", "sgr"):
                    rule = RiskThreshold(max_risk, delta, method)
                    got = [one_split(rule, confidence, error, part, n) for part in parts]
                    violated, kept, oracle = np.mean(got, axis=0)
                    what = f"violations, max_risk={max_risk}, delta={delta}, {method}"
                    note = f"coverage {kept:.4f}, oracle {oracle:.4f}"
                    spread = rate_error(delta, splits)
                    report(what, name, n, violated, delta, spread, note=note)


def one_split(rule, confidence, error, part, n):
    rule.fit(confidence[part[:n]], error[part[:n]])
    confidence, error = confidence[part[n:]], error[part[n:]]
    accepted = rule.accept(confidence)
    wrong, size = int(error[accepted].sum()), int(accepted.sum())
    # P(Bin(size, max_risk) >= wrong)
    tail = bdtrc(wrong - 1, size, rule.max_risk) if wrong else 1.0
    return tail <= 0.05, size / len(error), oracle_coverage(confidence, error, rule.max_risk)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--data", type=Path, default=SHARED)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # thousands of small samples are infeasible, and tied
    rng, start = np.random.default_rng(0), time.perf_counter()
    for part in (conformal, shifted, grouped, discoveries, risk):
        part(arguments.draws, rng)
    if arguments.data.is_dir():
        real_data(arguments.data, arguments.splits, rng)
    else:
        print(f"\nno {arguments.data}: the part on real model outputs is left out")
    print(f"\n{time.perf_counter() - start:.0f} s; {len(BROKEN)} promises broken")
    for line in BROKEN:
        print(f"  {line}")
    sys.exit(bool(BROKEN))


if __name__ == "__main__":
    main()
