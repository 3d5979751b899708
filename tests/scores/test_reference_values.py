"""Numbers published by others."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sklearn_seapig import EuclideanScore

SETS = [
    "arrhythmia",
    "cardio",
    "ionosphere",
    "mnist",
    "musk",
    "optdigits",
    "satellite",
    "satimage-2",
    "vowels",
    "wbc",
]


@pytest.mark.parametrize("name", SETS)
def test_knn_column_of_the_pyod_benchmark(shared_data, name):
    published = json.loads((shared_data / "reference_values.json").read_text())
    with np.load(shared_data / "pyod_benchmark.npz") as arrays:
        X = arrays[f"{name.replace('-', '_')}_X"]
        outlier = arrays[f"{name.replace('-', '_')}_y"]
    aucs = []
    for seed in range(10):
        train, test, _, y = train_test_split(
            X, outlier, test_size=0.4, random_state=np.random.RandomState(seed)
        )
        scaler = StandardScaler().fit(train)
        # The bound plays no part; one calibration row saves the leave-one-out search.
        score = EuclideanScore(k=5).fit(scaler.transform(train), X_cal=scaler.transform(test[:1]))
        aucs.append(roc_auc_score(1 - y, score.score_samples(scaler.transform(test))))
    assert np.mean(aucs) == pytest.approx(published["pyod_benchmark.npz"][name]["KNN"], abs=1e-4)
