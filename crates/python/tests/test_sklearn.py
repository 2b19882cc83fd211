"""scikit-learn's own checks of an estimator, as far as pictures go."""

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from ckaad.sklearn import OutlierDetector


def estimator():
    return OutlierDetector("patchcore", layers=(1, 2), image_size=64, weights="random", device="cpu")


@parametrize_with_checks([estimator()])
def test_checks(estimator, check):
    check(estimator)


def test_pictures(data, pictures):
    train = [np.asarray(Image.open(p)) for p in sorted((data / "train/good").iterdir())]
    fitted = clone(estimator()).fit(train)
    labels = np.array([1 if "good" in str(p) else -1 for p in pictures])
    scores = fitted.score_samples(pictures)
    assert scores.shape == (10,) and roc_auc_score(labels, scores) > 0.9
    assert np.array_equal(fitted.decision_function(pictures), scores - fitted.offset_)
    assert np.array_equal(fitted.predict(pictures), np.where(scores <= fitted.offset_, -1, 1))
    assert fitted.predict(np.stack(train))[0] in (1, -1)
    with pytest.raises(ValueError, match="expected pictures"):
        fitted.predict(np.zeros((4, 20)))
