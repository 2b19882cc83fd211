"""Visual anomaly detection: trains a detector on pictures of what is normal, scores others.

>>> import ckaad
>>> detector = ckaad.Detector.fit("photos/good", epochs=36)        # doctest: +SKIP
>>> found = detector.score("photo.jpg")                             # doctest: +SKIP
>>> found.score, found.anomalous, found.map.shape                   # doctest: +SKIP

A picture is one of

- a path, or the bytes of a file: PNG, JPEG, BMP, GIF, TIFF or WebP, turned as the camera was held;
- a numpy array, (height, width) or (height, width, channels), of uint8, uint16 (of which the high byte is kept) or
  floats from 0 to 1; 1 channel is gray, 3 are red, green and blue, a second or fourth is alpha and dropped;
- a PIL image, of any mode, as it is (not turned by its EXIF orientation);
- a torch tensor, (height, width) or (channels, height, width), of the same types, on any device.

Several are a list or any other iterable of such, an array of shape (n, height, width, channels), or a tensor of shape
(n, channels, height, width). No picture may have more than 2^27 pixels.

What is wrong with pictures, model files or datasets is a ``DataError``, with arguments a ``UsageError`` (both are
``ValueError``), with devices a ``DeviceError`` (a ``RuntimeError``), all three a ``CkaadError``; what the operating
system refuses is an ``OSError``, and an object of a wrong type a ``TypeError``.
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
