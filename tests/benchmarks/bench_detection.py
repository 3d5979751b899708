"""How well each score tells errors and foreign inputs apart, next to the stored baselines.

AUROC of correct against wrong predictions (errors) and of in-distribution against foreign rows, on
outputs of real networks, with no tuning. A value over 0.01 below the baseline of the same score is
marked.

Run:  python tests/benchmarks/bench_detection.py  (needs ../shared/data)
"""

import json
import warnings
from pathlib import Path

import numpy as np
from pyod.models.hbos import HBOS
from pyod.models.iforest import IForest
from pyod.models.lof import LOF
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from sklearn_seapig import (
    CosineScore,
    EnergyScore,
    EntropyScore,
    EuclideanScore,
    GaussianScore,
    MarginScore,
    MaxLogitScore,
    PCAScore,
    PyODScore,
    SoftmaxScore,
)

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LOGIT_SCORES = {
    "MSP": SoftmaxScore(),
    "MaxLogit": MaxLogitScore(),
    "Energy": EnergyScore(),
    "NegEntropy": EntropyScore(),
    "Margin": MarginScore("probability"),
}


def embedding_scores(train):
    """Return the embedding scores with the settings of the baselines."""
    some = np.random.default_rng(0).permutation(train)[:2000]
    unit = some / np.linalg.norm(some, axis=1, keepdims=True).clip(1e-12)
    squared = 2 - 2 * unit @ unit.T
    gamma = 1 / np.median(squared[np.triu_indices(len(unit), 1)])
    n_features = min(1024, 4 * train.shape[1])
    return {
        "kNN-L2": EuclideanScore(k=10),
        "kNN-cos": CosineScore(k=10),
        "Maha-class": GaussianScore(),
        "PCA-rec": PCAScore(0.9),
        "RFF-KPCA-rec": PCAScore(
            0.9, gamma=gamma, n_features=n_features, normalize=True, random_state=0
        ),
        "PyOD-IForest": PyODScore(IForest(random_state=0)),
        "PyOD-HBOS": PyODScore(HBOS()),
        "PyOD-LOF": PyODScore(LOF()),
    }


def sets(name):
    """Return train embeddings and labels, and test embeddings, logits and errors, and foreign rows.

    The foreign rows are pairs of embeddings and logits.
    """
    data = np.load(DATA / f"{name}.npz", allow_pickle=False)
    data = {k: v.astype(np.float32) if v.dtype == np.float16 else v for k, v in data.items()}
    foreign = {
        k.removesuffix("_emb"): (data[k], data[k.removesuffix("emb") + "logits"])
        for k in data
        if k.startswith("ood_") and k.endswith("_emb")
    }
    if name == "mnist_cnn":
        train, test = data["split"] == 0, data["split"] == 2
        emb, logits, y = data["emb"], data["logits"], data["y"]
        wrong = logits[test].argmax(1) != y[test]
        return emb[train], y[train], emb[test], logits[test], wrong, foreign
    if name == "clinc150_tfidf":
        foreign = {"ood_oos": (data["oos_test_emb"], data["oos_test_logits"])}
    wrong = data["test_logits"].argmax(1) != data["test_y"]
    train = data["train_emb"], data["train_y"]
    return *train, data["test_emb"], data["test_logits"], wrong, foreign


def resnet_sets():
    """Return the same of the ResNet-18 embeddings, with a linear classifier as the model."""
    data = np.load(DATA / "resnet18_cifar10_svhn.npz", allow_pickle=False)
    normal = data["is_anomaly"] == 0
    X, y = data["X"][normal].astype(np.float32), data["y"][normal]
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[:-4500], order[-4500:]
    model = LogisticRegression(max_iter=200).fit(X[train], y[train])
    foreign = {
        "ood_svhn": (data["ood_svhn_X"].astype(np.float32), None),
        "ood_cifar_other": (data["X"][~normal].astype(np.float32), None),
    }
    return X[train], y[train], X[test], None, model.predict(X[test]) != y[test], foreign


def evaluate(score, test, wrong, foreign, column):
    """Return the AUROC against errors and against each set of foreign rows."""
    confidence = score.score_samples(test)
    seen = {"misclass": roc_auc_score(~wrong, confidence)}
    for kind, rows in foreign.items():
        other = score.score_samples(rows[column])
        truth = np.repeat([1, 0], [len(confidence), len(other)])
        seen[kind] = roc_auc_score(truth, np.append(confidence, other))
    return seen


def main():
    warnings.simplefilter("ignore")
    baselines = json.loads((DATA / "reference_values.json").read_text())["baselines"]
    n_low = 0
    for name in ("mnist_cnn", "cifar10_cnn", "clinc150_tfidf", "resnet18_cifar10_svhn"):
        resnet = name.startswith("resnet")
        train, y, emb, logits, wrong, foreign = resnet_sets() if resnet else sets(name)
        print(f"\n{name}: {len(train)} train rows, {len(emb)} test rows, {wrong.mean():.4f} wrong")
        scores = embedding_scores(train)
        if logits is not None:
            scores = LOGIT_SCORES | scores
        for label, score in scores.items():
            if label.startswith("PyOD") and label not in baselines[name]["scores"]:
                continue
            column = 1 if label in LOGIT_SCORES else 0
            test = logits if column else emb
            # The calibration rows spare the neighbor scores their leave-one-out pass.
            rows, labels = (test, None) if column else (train, y)
            score.fit(rows, labels, X_cal=test[:10])
            seen = evaluate(score, test, wrong, foreign, column)
            known = baselines[name]["scores"][label]
            line = []
            for kind, value in seen.items():
                reference = known[kind].get("AUROC_err", known[kind].get("AUROC"))
                low = value < reference - 0.01
                n_low += low
                line.append(f"{kind} {value:.4f} ({reference:.4f}){' LOW' if low else ''}")
            print(f"  {label:<13}", "  ".join(line))
    print(f"\n{n_low} values more than 0.01 below the baseline of the same score")


if __name__ == "__main__":
    main()
