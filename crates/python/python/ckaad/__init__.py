"""Visual anomaly detection: trains a detector on pictures of what is normal, scores others.

>>> import ckaad
>>> detector = ckaad.Detector.fit("photos/good", epochs=36)        # doctest: +SKIP
>>> found = detector.score("photo.jpg")                             # doctest: +SKIP
>>> found.score, found.anomalous, found.map.shape                   # doctest: +SKIP

A picture is a path, the bytes of a file, a numpy array (height, width[, channels]) of uint8, uint16 or floats from 0 to 1, a PIL
image or a torch tensor ([channels,] height, width).
"""

from ._ckaad import Detector, Region, Scored, Threshold, __version__, list_pictures, set_threads
from .errors import CkaadError, DataError, DeviceError, UsageError

__all__ = [
    "CkaadError",
    "DataError",
    "Detector",
    "DeviceError",
    "Region",
    "Scored",
    "Threshold",
    "UsageError",
    "__version__",
    "list_pictures",
    "set_threads",
]
