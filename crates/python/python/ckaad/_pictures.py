"""What pictures may be given as, brought to what the engine takes: paths, bytes, and arrays of uint8 or uint16, rows first, channels
innermost. Nothing is decoded here."""

import os

import numpy as np

from .errors import DataError

CHANNELS = (1, 2, 3, 4)


def plain(images):
    """The pictures, each as the engine takes it or the exception that says why it is none, and whether they were several."""
    if isinstance(images, (str, bytes, bytearray, memoryview, os.PathLike)) or _is_pil(images):
        return [_one(images, 0)], False
    array = _array(images)
    if array is not None:
        if array.ndim == 4:
            return [_guarded(_samples, a, i) for i, a in enumerate(array)], True
        return [_guarded(_samples, array, 0)], False
    try:
        several = list(images)
    except TypeError:
        text = f"expected a picture or several (path, bytes, numpy array, PIL image, torch tensor), found {type(images).__name__}"
        return [TypeError(text)], False
    return [_one(image, i) for i, image in enumerate(several)], True


def _one(image, index):
    if isinstance(image, (str, os.PathLike)):
        path = os.fspath(image)
        return os.fsdecode(path)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    return _guarded(_of_object, image, index)


def _guarded(read, image, index):
    try:
        return read(image)
    except (DataError, TypeError) as e:
        return type(e)(f"image {index}: {e}")


def _of_object(image):
    if _is_pil(image):
        return _samples(_of_pil(image))
    array = _array(image)
    if array is None:
        raise TypeError(f"expected a path, bytes, a numpy array, a PIL image or a torch tensor, found {type(image).__name__}")
    return _samples(array)


def _is_pil(image):
    return hasattr(image, "mode") and hasattr(image, "getbands")


def _of_pil(image):
    """As Pillow shows it, but for 16 bits, which it would cut. It is not turned by its EXIF orientation: its pixels are given."""
    if image.mode.startswith("I"):
        array = np.asarray(image)
        if array.dtype == np.uint16:
            return array
        if array.size and (array.min() < 0 or array.max() > 0xFFFF):
            raise DataError(f"a PIL image of mode I with values from {array.min()} to {array.max()}: expected 0 to 65535")
        return array.astype(np.uint16)
    if image.mode == "F":
        return np.asarray(image)
    return np.asarray(image.convert("RGB"))


def _array(image):
    """A numpy array, or a torch tensor as one with its channels innermost; None of anything else."""
    if isinstance(image, np.ndarray):
        return image
    if hasattr(image, "detach") and hasattr(image, "cpu"):
        array = image.detach().cpu().numpy()
        if array.ndim in (3, 4):
            array = np.moveaxis(array, -3, -1)
        return array
    return None


def _samples(array):
    """Three dimensions of uint8 or uint16."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise DataError(f"an array of shape {array.shape}: expected (height, width) or (height, width, channels)")
    if 0 in array.shape:
        raise DataError(f"an array of shape {array.shape} holds no pixels")
    if array.shape[2] not in CHANNELS:
        hint = ": its channels are first, use numpy.moveaxis(a, 0, -1)" if array.shape[0] in CHANNELS else ""
        raise DataError(f"an array of shape {array.shape}: expected 1 to 4 channels in the last place{hint}")
    # Of either byte order.
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        # False of what is no number, too.
        if not (0.0 <= low and high <= 1.0):
            raise DataError(
                f"floats from {low:g} to {high:g}: expected 0 to 1; give pixels as they are, before any normalisation, or as uint8"
            )
        return np.rint(array.astype(np.float64) * 255.0).astype(np.uint8)
    raise TypeError(f"an array of {array.dtype}: expected uint8, uint16, or floats from 0 to 1")
