"""Metrics against the plainest expression of the same work.

Side by side in one process, several times in turn, as ratios of medians. Nothing is asserted.

Run:  python tests/benchmarks/bench_metrics.py
"""

import argparse
import statistics
import time

import numpy as np
import torch
from torchmetrics import CatMetric

from sklearn_seapig import RiskCoverageMetric
from sklearn_seapig.metrics import aurc_score, risk_coverage_curve

UPDATES = (500, 1000, 2000)
ROWS = 1000


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def medians(calls, repeats):
    """Return the median seconds of each call; they take turns, as the machine may be noisy."""
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {name: statistics.median(values) for name, values in times.items()}


def functions(n, repeats):
    """Print what the functions cost next to a bare sort of the confidences."""
    rng = np.random.default_rng(0)
    loss, confidence = (rng.random(n) < 0.1).astype(float), rng.random(n)
    tied = np.round(confidence, 2)
    found = medians(
        {
            "np.argsort of confidences": lambda: np.argsort(confidence),
            "np.argsort, 101 values": lambda: np.argsort(tied),
            "aurc_score": lambda: aurc_score(loss, confidence),
            "aurc_score, 101 values": lambda: aurc_score(loss, tied),
            "risk_coverage_curve": lambda: risk_coverage_curve(loss, confidence),
        },
        repeats,
    )
    print(f"\n{n:,} rows")
    for name, value in found.items():
        sort = found["np.argsort, 101 values" if "101" in name else "np.argsort of confidences"]
        print(f"  {name:<28} {value:8.3f} s  {value / sort:5.2f} x the sort")


def stream(metric, batches, call):
    metric.reset()
    for batch in batches:
        call(metric, batch)


def updates(repeats):
    """Print how the cost of RiskCoverageMetric grows with the number of updates."""
    generator = torch.Generator().manual_seed(0)
    preds = torch.randint(10, (ROWS,), generator=generator)
    target = torch.where(torch.rand(ROWS, generator=generator) < 0.9, preds, (preds + 1) % 10)
    batches = [(preds, target, torch.rand(ROWS, generator=generator)) for _ in range(max(UPDATES))]
    ways = {
        "CatMetric.update, bare": (CatMetric(), lambda m, batch: m.update(batch[2])),
        "update": (RiskCoverageMetric(), lambda m, batch: m.update(*batch)),
        "forward": (RiskCoverageMetric(), lambda m, batch: m(*batch)),
    }
    print(f"\nRiskCoverageMetric, updates of {ROWS:,} rows: seconds, and next to {UPDATES[0]}")
    for name, (metric, call) in ways.items():
        found = medians(
            {n: lambda n=n, m=metric, c=call: stream(m, batches[:n], c) for n in UPDATES}, repeats
        )
        row = "".join(f"{t:9.3f} s {t / found[UPDATES[0]]:5.2f} x" for t in found.values())
        print(f"  {name:<24}{row}")
    metric = ways["update"][0]
    taken = statistics.median(seconds(metric.compute) for _ in range(repeats))
    print(f"  compute of {ROWS * max(UPDATES):,} rows, five numbers: {taken:.3f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    functions(args.rows, args.repeats)
    updates(args.repeats)


if __name__ == "__main__":
    main()
