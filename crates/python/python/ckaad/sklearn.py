"""A detector with the habits of scikit-learn's outlier detectors. Needs scikit-learn 1.6 or later."""

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from . import Detector
from .errors import UsageError


class OutlierDetector(OutlierMixin, BaseEstimator):
    """``Detector`` as an estimator: 1 is a normal picture, -1 an anomalous one.

    ``X`` is a list of pictures (see ``help(ckaad)``), of paths for instance, or an array of shape (n, height, width,
    channels) of uint8, uint16, or floats from 0 to 1. What is wrong with a picture raises what ``Detector.score`` does.

    Parameters
    ----------
    detector, backbone, layers, image_size, epochs, batch_size, weights, max_false_alarms, device:
        As of ``Detector.fit``.
    settings: dict or None
        What else ``Detector.fit`` takes by name, as ``{"coreset": 0.05}``.
    random_state: int, RandomState instance or None
        Of an int, models are equal; it is the seed of ``Detector.fit``.

    Attributes
    ----------
    detector_: Detector
    offset_: float
        The least of ``score_samples`` that is normal: just above minus the threshold, which is itself anomalous.
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
        max_false_alarms=0.02,
        settings=None,
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
        self.max_false_alarms = max_false_alarms
        self.settings = settings
        self.random_state = random_state
        self.device = device

    def fit(self, X, y=None):
        """Learns from normal pictures, of which a threshold needs a few; ``y`` is ignored. Returns itself."""
        seed = self.random_state
        if not isinstance(seed, (int, np.integer)):
            seed = check_random_state(seed).randint(np.iinfo(np.int32).max)
        # PatchCore is fitted in one go.
        steps = {} if self.detector == "patchcore" else {"epochs": self.epochs}
        pictures = _several(X)
        detector = Detector.fit(
            pictures,
            detector=self.detector,
            backbone=self.backbone,
            layers=self.layers,
            image_size=self.image_size,
            batch_size=self.batch_size,
            weights=self.weights,
            max_false_alarms=self.max_false_alarms,
            seed=seed,
            device=self.device,
            **steps,
            **(self.settings or {}),
        )
        if detector.threshold is None:
            raise UsageError(f"{len(pictures)} normal pictures are too few to set a threshold from: give more")
        self.detector_ = detector
        self.offset_ = np.nextafter(-detector.threshold.value, np.inf)
        return self

    def score_samples(self, X):
        """Of each picture minus its anomaly score: the lower, the more anomalous; float64 of shape (n,)."""
        check_is_fitted(self)
        return np.array([-found.score for found in self.detector_.score(_several(X))])

    def decision_function(self, X):
        """``score_samples`` less ``offset_``: negative for anomalous pictures; float64 of shape (n,)."""
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """1 of normal pictures, -1 of anomalous ones, whose score reaches the threshold; int64 of shape (n,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        return tags


def _several(X):
    """Refuses what is one picture, or a table of numbers."""
    if isinstance(X, np.ndarray) and X.dtype.kind not in "OU" and X.ndim != 4:
        raise UsageError(f"X of shape {X.shape}: expected a list of pictures or an array (n, height, width, channels)")
    return list(X)
