"""Choose a confidence score and its threshold like any other hyperparameter.

A Pipeline of a scaler and a SelectiveClassifier is searched over the number of neighbors and the
share of rows to accept, then kept in a file and loaded again.

Run:  python examples/grid_search.py
"""

import tempfile
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from sklearn_seapig import EuclideanScore, SelectiveClassifier


def main():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.4, stratify=y, random_state=0
    )
    pipe = Pipeline(
        [
            ("scale", MinMaxScaler()),
            # An error costs 1 and an abstention 0.1: that is what the search minimizes.
            (
                "selective",
                SelectiveClassifier(
                    LogisticRegression(max_iter=1000),
                    EuclideanScore(),
                    reject_cost=0.1,
                    random_state=0,
                ),
            ),
        ]
    )
    grid = {
        "selective__confidence__k": [1, 5, 20],
        "selective__confidence__quantile": [0.8, 0.9, 0.95, 0.99],
    }
    search = GridSearchCV(pipe, grid, cv=5, n_jobs=2).fit(X_train, y_train)

    print("   k  quantile  1 - mean cost")
    results = search.cv_results_
    for k, quantile, score in zip(
        results["param_selective__confidence__k"],
        results["param_selective__confidence__quantile"],
        results["mean_test_score"],
        strict=True,
    ):
        print(f"{k:>4}  {quantile:>8}  {score:.4f}")
    print(f"best: {search.best_params_}")

    selective = search.best_estimator_[-1]
    labels = search.predict(X_test)
    answered = labels != selective.reject_label_
    alone = selective.estimator_.score(search.best_estimator_[:-1].transform(X_test), y_test)
    print(f"test: accuracy of the model alone {alone:.3f}")
    print(f"      accuracy where answered     {np.mean(labels[answered] == y_test[answered]):.3f}")
    print(f"      coverage                    {answered.mean():.3f}")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "selective.joblib"
        joblib.dump(search.best_estimator_, path)
        loaded = joblib.load(path)
    print(f"equal after joblib: {np.array_equal(loaded.predict(X_test), labels)}")


if __name__ == "__main__":
    main()
