"""The label of an abstention; the ids are the fault cases that a test holds."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB

from sklearn_seapig import EuclideanScore, SelectiveClassifier
from sklearn_seapig._reject_label import resolve_reject_label, with_rejections

X, TARGET = load_iris(return_X_y=True)


@pytest.mark.parametrize(
    ("classes", "label"),
    [
        ([0, 1, 2], -1),
        ([-1, 1], -2),  # FB-06: -1 is taken by the usual labels of two classes
        ([-1, 0, 1], -2),
        ([-5, -1], -6),
        ([-7, 3], -1),
        ([0.5, 1.5], -1),
        ([-1.0, 1.0], -2.0),
        ([False, True], -1),
        (["a", "b"], "rejected"),
        (np.array(["a", "bb"], dtype=object), "rejected"),
        (np.array([0, 1], dtype=object), -1),
        (np.array([0, 1], dtype=np.uint8), -1),
    ],
)
def test_auto(classes, label):
    resolved = resolve_reject_label("auto", np.asarray(classes))
    assert resolved == label
    assert type(resolved) is type(label)


def test_none_stays_none():
    assert resolve_reject_label(None, np.array([0, 1])) is None


@pytest.mark.parametrize(
    ("label", "classes"),
    [
        (1, [0, 1, 2]),
        (1.0, [0, 1, 2]),
        (-1, [-1, 1]),  # FB-06
        (1, [False, True]),
        (0, [False, True]),
        ("a", ["a", "b"]),  # FB-04
        ("b", np.array(["a", "b"], dtype=object)),
        ("auto", ["ok", "rejected"]),
    ],
)
def test_a_class_is_refused(label, classes):
    with pytest.raises(ValueError, match=r"reject_label=.* is one of the classes"):
        resolve_reject_label(label, np.asarray(classes))


@pytest.mark.parametrize(
    ("label", "classes", "said"),
    [
        ("abstain", [0, 1], "numbers"),
        (-1, ["a", "b"], "strings"),
        (-1, np.array(["a", "b"], dtype=object), "strings"),
    ],
)
def test_a_label_of_another_kind_is_refused(label, classes, said):
    with pytest.raises(ValueError, match=rf"reject_label=.*{said}"):
        resolve_reject_label(label, np.asarray(classes))


@pytest.mark.parametrize("label", [True, np.False_, [1], b"x", 1j, float("nan"), object()])
def test_what_is_no_label_is_refused(label):
    with pytest.raises(ValueError, match=r"reject_label=.* must be a real number, a string"):
        resolve_reject_label(label, np.array([0, 1, 2]))


@pytest.mark.parametrize(
    ("label", "classes"),
    [
        (-1, np.array([0, 2**63 + 5], dtype=np.uint64)),  # would wrap around in int64
        (2**63 + 5, np.array([0, 1])),  # would be rounded in float64
        (0.5, np.array([0, 2**60 + 1])),
    ],
)
def test_a_label_that_no_dtype_holds_beside_the_classes_is_refused(label, classes):
    with pytest.raises(ValueError, match=r"reject_label=.* no dtype in common"):
        resolve_reject_label(label, classes)


@pytest.mark.parametrize("label", [np.int64(-3), np.float32(-3.5), np.str_("none")])
def test_numpy_scalars_become_plain_values(label):
    classes = np.array(["a", "b"]) if isinstance(label, str) else np.array([0, 1])
    assert type(resolve_reject_label(label, classes)) in (int, float, str)


@pytest.mark.parametrize(
    ("classes", "label", "dtype"),
    [
        (np.array(["a", "b"]), "a long string", "<U13"),  # FB-04: not cut to "a"
        (np.array(["a long class", "b"]), "no", "<U12"),
        (np.array(["a", "b"], dtype=object), "rejected", object),
        (np.array([False, True]), -1, np.int8),  # FB-05: not True
        (np.array([0, 255], dtype=np.uint8), -1, np.int16),  # FB-05: not 255
        (np.array([0, 2**32], dtype=np.uint64), -1, np.int64),
        (np.array([0, 2**53 + 1], dtype=np.uint64), -1, np.int64),  # float64 would round
        (np.array([0, 1], dtype=np.uint64), 7, np.uint64),
        (np.array([-128, -1], dtype=np.int8), -129, np.int16),
        (np.array([0, 1], dtype=np.int8), -999, np.int16),
        (np.array([0, 1], dtype=np.int8), 0.1, np.float64),  # float16 would round the label
        (np.array([0.5, 1.5], dtype=np.float32), -1, np.float32),
        (np.array([0, 1], dtype=object), -1, object),
    ],
)
def test_the_dtype_holds_classes_and_label(classes, label, dtype):
    assert resolve_reject_label(label, classes) == label
    labels = with_rejections(classes, np.array([False, True]), label)
    assert labels.dtype == dtype
    assert labels.tolist() == [label, classes.tolist()[1]]


def test_predictions_are_not_written_to():
    predictions = np.array([0, 1])
    with_rejections(predictions, np.array([False, False]), -1)
    assert predictions.tolist() == [0, 1]


@pytest.mark.parametrize(
    "names",
    [
        np.array([0, 1, 2]),
        np.array([-1, 0, 1]),
        np.array([0, 1, 255], dtype=np.uint8),
        np.array([0, 1, 2], dtype=np.uint64),
        np.array([0.0, 1.0, 2.0], dtype=np.float32),
        np.array(["a", "b", "c"]),
        np.array(["a", "b", "a much longer class"], dtype=object),
    ],
    ids=lambda names: f"{names.dtype}",
)
def test_rejections_can_be_told_from_every_class(names):  # FB-04, FB-05, FB-06
    y = names[TARGET]
    model = SelectiveClassifier(GaussianNB(), EuclideanScore(quantile=0.6), random_state=0).fit(
        X, y
    )
    labels, selection = model.predict(X), model.select(X)
    rejected = labels == model.reject_label_
    assert 0 < rejected.sum() == (~selection.selected).sum() < len(X)
    np.testing.assert_array_equal(rejected, ~selection.selected)
    np.testing.assert_array_equal(labels[~rejected], selection.predictions[~rejected])
    assert model.reject_label_ not in model.classes_.tolist()


def test_boolean_classes():  # FB-05
    model = SelectiveClassifier(GaussianNB(), EuclideanScore(quantile=0.6), random_state=0).fit(
        X, TARGET == 0
    )
    assert set(model.predict(X)) == {-1, 0, 1}
    assert model.classes_.dtype == bool


@pytest.mark.parametrize("label", [1, "abstain"])
def test_fit_refuses_a_bad_label_and_stays_as_it_was(label):
    model = SelectiveClassifier(GaussianNB()).fit(X, TARGET)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=f"reject_label={label!r}"):
        model.set_params(reject_label=label).fit(X, TARGET)
    assert {**vars(model), "reject_label": "auto"} == before
