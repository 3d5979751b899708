"""At most 5 % errors among the answers, with 95 % certainty.

A random forest that has seen few digits is wrong on some of the others. A threshold on its own
confidence is learned from calibration images, so that among the answers at most 5 % are wrong; what
that costs is coverage. The promise is for images like the calibration images: it is checked over
many random splits, then broken by a camera that moved half a pixel, then made anew from images of
the moved camera.

Run:  python examples/guaranteed_risk.py
"""

import numpy as np
from scipy.stats import binom
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from sklearn_seapig import RiskThreshold, SelectiveClassifier

RULE = RiskThreshold(max_risk=0.05, delta=0.05)


def half_a_pixel_aside(X):
    """Return images whose every pixel is the mean of itself and its left neighbor."""
    images = X.reshape(-1, 8, 8)
    moved = images.copy()
    moved[:, :, 1:] = (images[:, :, 1:] + images[:, :, :-1]) / 2
    return moved.reshape(len(X), -1)


def report(name, model, X, y):
    """Print how often the model answers and errs, next to an oracle that knows its errors."""
    selection = model.select(X)
    wrong = selection.predictions != y
    answered = wrong[selection.selected]
    # The oracle answers wherever the forest is right, and errs as often as it may.
    oracle = min(1, np.mean(~wrong) / (1 - model.rule_.max_risk))
    risk = f"{answered.mean():.3f}" if len(answered) else "-"
    print(
        f"{name:<24}{model.rule_.max_risk:>6.0%}{risk:>9}{selection.selected.mean():>9.3f}"
        f"{oracle:>9.3f}{wrong.mean():>9.3f}"
    )


def share_of_broken_promises(confidence, wrong, n_splits=200):
    """Return how often random calibration rows give a bound that errs too often on the others.

    Errors on the others are too many where chance alone, at a risk as promised, would give so many
    in 5 % of cases only.
    """
    rng = np.random.default_rng(0)
    broken = 0
    for _ in range(n_splits):
        calibration, rest = np.array_split(rng.permutation(len(wrong)), 2)
        rule = clone(RULE).fit(confidence[calibration], wrong[calibration])
        answered = wrong[rest][rule.accept(confidence[rest])]
        broken += binom.sf(answered.sum() - 1, len(answered), RULE.max_risk) <= 0.05
    return broken / n_splits


def main():
    X, y = load_digits(return_X_y=True)
    X_train, X_rest, y_train, y_rest = train_test_split(
        X, y, train_size=197, stratify=y, random_state=0
    )
    X_cal, X_test, y_cal, y_test = train_test_split(
        X_rest, y_rest, test_size=0.5, stratify=y_rest, random_state=0
    )

    # 1. A model, trained as ever, and a promise learned from images that it has not seen.
    forest = RandomForestClassifier(random_state=0).fit(X_train, y_train)
    model = SelectiveClassifier(FrozenEstimator(forest), threshold=RULE).fit(X_cal, y_cal)
    print(f"promise: {model.guarantee_}\n")

    # 2. What it costs: images without an answer. Other promises need no other fit.
    print("                       errors in answers     coverage      errors of")
    print("                       allowed    found    model   oracle  the forest")
    for max_risk in (0.05, 0.03, 0.02, 0.01):
        model.set_threshold(clone(RULE).set_params(max_risk=max_risk))
        report("test images", model, X_test, y_test)

    # 3. The certainty is over calibration sets: few of them break the promise.
    confidence, wrong = model.score_samples(X_rest), forest.predict(X_rest) != y_rest
    broken = share_of_broken_promises(confidence, wrong)
    print(f"\n5 % promises broken in 200 random splits: {broken:.3f}\n")

    # 4. The camera moves. The images are not exchangeable with the calibration images any more, so
    #    the promise is void; calibration images of the moved camera make a new one.
    moved = half_a_pixel_aside(X_test)
    model.set_threshold(RULE)
    report("moved, old calibration", model, moved, y_test)
    model.set_threshold(RULE, half_a_pixel_aside(X_cal), y_cal)
    report("moved, new calibration", model, moved, y_test)


if __name__ == "__main__":
    main()
