"""A detector with the habits of scikit-learn's outlier detectors. Needs scikit-learn 1.6 or later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Optional, Sequence, Union

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from . import Detector
from ._pictures import FILES, FORMS, is_pil
from .errors import UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

    from ._ckaad import _Array, _One, _Path

    _Several = Union[_Array, Iterable[Union[_One, _Array]]]


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

    detector_: Detector
    offset_: float

    def __init__(
        self,
        detector: str = "ckaad",
        *,
        backbone: str = "resnet18",
        layers: Union[Sequence[int], npt.NDArray[np.integer[Any]]] = (2, 3),
        image_size: int = 256,
        epochs: int = 100,
        batch_size: int = 16,
        weights: Optional[_Path] = None,
        max_false_alarms: float = 0.02,
        settings: Optional[Dict[str, Any]] = None,
        random_state: Union[int, np.random.RandomState, None] = 0,
        device: str = "auto",
    ) -> None:
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

    def fit(self, X: _Several, y: Any = None) -> OutlierDetector:
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

    def score_samples(self, X: _Several) -> npt.NDArray[np.float64]:
        """Of each picture minus its anomaly score: the lower, the more anomalous; float64 of shape (n,)."""
        check_is_fitted(self)
        return np.array([-found.score for found in self.detector_.score(_several(X))])

    def decision_function(self, X: _Several) -> npt.NDArray[np.float64]:
        """``score_samples`` less ``offset_``: negative for anomalous pictures; float64 of shape (n,)."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: _Several) -> npt.NDArray[np.int64]:
        """1 of normal pictures, -1 of anomalous ones, whose score reaches the threshold; int64 of shape (n,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        return tags


def _several(X: _Several) -> List[Any]:
    """Refuses what is one picture, or none, or a table of numbers."""
    found = None
    is_row = hasattr(X, "__iter__") or hasattr(X, "__getitem__")
    if not is_row or isinstance(X, FILES) or is_pil(X) or hasattr(X, "read"):
        found = f"is of type {type(X).__name__}"
    elif hasattr(X, "ndim"):
        # Of an array, a tensor or a table: a row of paths or of pictures, or pictures of one size.
        of_objects = getattr(getattr(X, "dtype", None), "kind", None) in ("O", "U")
        if X.ndim != 4 and not (X.ndim == 1 and of_objects):
            found = f"is of shape {tuple(X.shape)}"
    if found:
        raise UsageError(
            f"X {found}: expected a list of pictures ({FORMS}) or an array (n, height, width, channels); [X] is a list of one"
        )
    return list(X)
