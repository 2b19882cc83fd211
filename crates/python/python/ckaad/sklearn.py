"""A detector with the habits of scikit-learn's outlier detectors. Needs scikit-learn 1.6 or later."""

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted

from . import Detector
from .errors import UsageError


class OutlierDetector(OutlierMixin, BaseEstimator):
    """``Detector`` as an estimator: 1 is a normal picture, -1 an anomalous one.

    Parameters
    ----------
    detector, backbone, layers, image_size, epochs, batch_size, weights, device:
        As of ``Detector.fit``.
    contamination:
        Share of normal pictures that may be called anomalous.
    random_state:
        Seed.

    Attributes
    ----------
    detector_: Detector
    offset_: float
        ``score_samples`` below it are outliers; minus the threshold.
    """

    def __init__(
        self,
        detector="ckaad",
        *,
        backbone="resnet18",
        layers=(2, 3),
        image_size=256,
        epochs=100,
        batch_size=16,
        weights=None,
        contamination=0.02,
        random_state=0,
        device="auto",
    ):
        self.detector = detector
        self.backbone = backbone
        self.layers = layers
        self.image_size = image_size
        self.epochs = epochs
        self.batch_size = batch_size
        self.weights = weights
        self.contamination = contamination
        self.random_state = random_state
        self.device = device

    def fit(self, X, y=None):
        """Learns from normal pictures. ``y`` is ignored, as of other outlier detectors."""
        steps = {} if self.detector == "patchcore" else {"epochs": self.epochs}
        self.detector_ = Detector.fit(
            _several(X),
            detector=self.detector,
            backbone=self.backbone,
            layers=tuple(self.layers),
            image_size=self.image_size,
            batch_size=self.batch_size,
            weights=self.weights,
            max_false_alarms=self.contamination,
            seed=self.random_state,
            device=self.device,
            **steps,
        )
        if self.detector_.threshold is None:
            raise UsageError("too few pictures to set a threshold from: give more")
        self.offset_ = -self.detector_.threshold.value
        return self

    def score_samples(self, X):
        """Of each picture minus its anomaly score: the lower, the more anomalous. Shape (n,)."""
        check_is_fitted(self)
        return np.array([-found.score for found in self.detector_.score(_several(X))])

    def decision_function(self, X):
        """``score_samples`` above the offset: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """1 of normal pictures, -1 of anomalous ones, whose score reaches the threshold."""
        return np.where(self.score_samples(X) <= self.offset_, -1, 1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = False
        return tags


def _several(X):
    """Refuses what is one picture, or a table of numbers."""
    if isinstance(X, np.ndarray) and X.dtype != object and X.dtype.kind not in "US" and X.ndim != 4:
        raise UsageError(f"X of shape {X.shape}: expected pictures, a list or an array of (n, height, width, channels)")
    return list(X)
