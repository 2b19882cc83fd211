"""`OutlierDetector` has scikit-learn's habits: its own checks of an estimator, and what estimators are put into."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

import ckaad
from ckaad.sklearn import OutlierDetector

FAST = dict(layers=(1, 2), image_size=32, weights="random", device="cpu")


class OfRows(OutlierDetector):
    """For tables, which are all that scikit-learn's checks know: a row of numbers is a picture one pixel high."""

    def fit(self, X, y=None):
        return super().fit(pictures_of(validate_data(self, X, ensure_min_samples=5)))

    def score_samples(self, X):
        check_is_fitted(self)
        return super().score_samples(pictures_of(validate_data(self, X, reset=False)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = True, False, False
        return tags


def pictures_of(table):
    """Shape (n, 1, features, 3): of every number a colour that tells it from those near it, whatever its size."""
    table = table.astype(float)[:, None, :]
    return np.stack([np.sin(table), np.sin(table / 10), np.arctan(table / 50) / np.pi], axis=-1) / 2 + 0.5


# Some checks want an outlier among what was given to learn from: what is held back to set the threshold is not learned.
HELD_BACK = dict(settings={"holdout": 0.2}, max_false_alarms=0.1)


@pytest.mark.filterwarnings("ignore:.* of others. equal ones")
@parametrize_with_checks([OfRows("patchcore", **FAST, **HELD_BACK)])
def test_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def train(data):
    return [np.asarray(Image.open(p)) for p in sorted((data / "train/good").iterdir())]


@pytest.fixture
def labels(pictures):
    return np.array([1 if "good" in str(p) else -1 for p in pictures])


def test_pictures(train, pictures, labels):
    fitted = OutlierDetector("patchcore", **FAST).fit(train)
    scores = fitted.score_samples(pictures)
    assert scores.shape == (10,) and roc_auc_score(labels, scores) > 0.9
    assert np.array_equal(fitted.decision_function(pictures), scores - fitted.offset_)
    verdicts = [found.anomalous for found in fitted.detector_.score(pictures)]
    assert [p == -1 for p in fitted.predict(pictures)] == verdicts
    # The threshold itself is anomalous.
    fitted.offset_ = np.nextafter(scores[0], np.inf)
    assert fitted.predict(pictures)[0] == -1
    assert fitted.detector_.with_threshold(-scores[0]).score(pictures[0]).anomalous


def test_training_is_the_detectors(train, pictures):
    settings = {**FAST, "epochs": 2, "batch_size": 4}
    fitted = OutlierDetector("ckaad", random_state=3, max_false_alarms=0.1, **settings).fit(train)
    detector = ckaad.Detector.fit(train, seed=3, max_false_alarms=0.1, **settings)
    assert list(fitted.score_samples(pictures)) == [-found.score for found in detector.score(pictures)]
    assert fitted.offset_ > -detector.threshold.value == np.nextafter(fitted.offset_, -np.inf)
    # Not a seed, but what draws one.
    drawn = OutlierDetector("patchcore", random_state=np.random.RandomState(0), **FAST).fit(train)
    again = OutlierDetector("patchcore", random_state=np.random.RandomState(0), **FAST).fit(train)
    assert drawn.detector_.training["seed"] == again.detector_.training["seed"] > 0
    assert OutlierDetector("patchcore", random_state=None, **FAST).fit(train).detector_.training["seed"] > 0


def test_in_what_estimators_are_put_into(data, train, pictures, labels):
    estimator = OutlierDetector("patchcore", **FAST)
    arrays = np.stack([np.asarray(Image.open(p)) for p in pictures])
    verdicts = estimator.fit_predict(np.stack(train))
    assert verdicts.shape == (12,) and set(verdicts) <= {1, -1}
    halves = make_pipeline(FunctionTransformer(lambda X: X[:, ::2, ::2]), clone(estimator)).fit(np.stack(train))
    direct = clone(estimator).fit(np.stack(train)[:, ::2, ::2])
    assert np.array_equal(halves.score_samples(arrays), direct.score_samples(arrays[:, ::2, ::2]))
    # What is cut into folds are paths, in a list; all are fitted on normal pictures, but for what the labels say.
    paths = [str(p) for p in sorted((data / "train/good").iterdir())] + [str(p) for p in pictures]
    y = np.concatenate([np.ones(12, int), labels])
    folds = [(list(range(8)), list(range(8, 22))), (list(range(4, 12)), [0, 1, 2, 3, *range(12, 22)])]
    aurocs = cross_val_score(estimator, paths, y, scoring="roc_auc", cv=folds)
    for auroc, (learned, tested) in zip(aurocs, folds):
        fitted = clone(estimator).fit([paths[i] for i in learned])
        assert auroc == roc_auc_score(y[tested], fitted.decision_function([paths[i] for i in tested])) > 0.9
    grid = GridSearchCV(estimator, {"image_size": np.array([32, 48])}, scoring="roc_auc", cv=folds).fit(paths, y)
    assert grid.best_params_["image_size"] in (32, 48) and not np.isnan(grid.cv_results_["mean_test_score"]).any()
    assert np.array_equal(grid.predict(pictures), grid.best_estimator_.predict(pictures))


def test_pickled(train, pictures):
    fitted = OutlierDetector("patchcore", **FAST).fit(train)
    again = pickle.loads(pickle.dumps(fitted))
    assert again.get_params() == fitted.get_params()
    assert np.array_equal(again.decision_function(pictures), fitted.decision_function(pictures))


def test_wrong_use(train, pictures):
    estimator = OutlierDetector("patchcore", **FAST)
    with pytest.raises(ValueError, match=r"shape \(4, 20\)"):
        estimator.fit(np.zeros((4, 20)))
    with pytest.raises(ValueError, match=r"shape \(80, 96, 3\)"):
        estimator.fit(train[0])
    # One picture is no list of them, and a path no list of its letters.
    fitted = clone(estimator).fit(train)
    path, picture = pictures[0], Image.open(pictures[0])
    one = [str(path), path, path.read_bytes(), memoryview(b"x"), picture, io.BytesIO(), None, 3, np.float32(0.5)]
    tables = [np.zeros((4, 20)), train[0], np.array([[str(path)]]), np.array(str(path)), np.zeros(3)]
    for X in one + tables:
        for door in (clone(estimator).fit, fitted.predict, fitted.score_samples, fitted.decision_function):
            with pytest.raises(ckaad.UsageError, match="X is of .*: expected a list of pictures"):
                door(X)
    several = [iter(pictures), tuple(pictures), np.array([str(p) for p in pictures])]
    assert len({tuple(fitted.predict(X)) for X in several}) == 1
    with pytest.raises(ckaad.UsageError, match="2 normal pictures are too few"):
        estimator.fit(train[:2])
    with pytest.raises(ckaad.UsageError, match="max_false_alarms=2.0"):
        clone(estimator).set_params(max_false_alarms=2.0).fit(train)
    with pytest.raises(ValueError, match="epochs"):
        OutlierDetector(epochs=-1, **FAST).fit(train)
    # What failed is not fitted.
    with pytest.raises(ValueError, match="not fitted"):
        estimator.predict(pictures)
