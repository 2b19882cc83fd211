"""What pictures may be given as, brought to what the engine takes: paths, bytes, and arrays of uint8 or uint16, rows
first, channels innermost. No file is decoded here."""

import itertools
import os
import stat

import numpy as np

from .errors import DataError

CHANNELS = (1, 2, 3, 4)
# As of files.
MAX_PIXELS = 1 << 27
FORMS = "paths, bytes, numpy arrays, PIL images, torch tensors"
FILES = (str, os.PathLike, bytes, bytearray, memoryview)


def plain(images):
    """An iterator over the pictures, each as the engine takes it or the exception that says why it is none, and whether
    they are several."""
    if isinstance(images, FILES) or is_pil(images):
        several = False
    elif isinstance(images, np.ndarray):
        # A row of paths, or of pictures of any size, is several, too.
        several = images.ndim == 4 or (images.ndim == 1 and images.dtype.kind in "OU")
    elif _is_tensor(images):
        several = images.ndim == 4
    else:
        _expect_no_open_file(images)
        try:
            images, several = iter(images), True
        except TypeError:
            raise TypeError(f"expected a picture or several ({FORMS}), found {type(images).__name__}") from None
    return map(_one, images if several else [images], itertools.count()), several


def _one(image, index):
    try:
        if isinstance(image, (str, os.PathLike)):
            return _path(image)
        if isinstance(image, FILES):
            return bytes(image)
        return _samples(_array(image))
    except (DataError, TypeError) as e:
        return type(e)(f"image {index}: {e}")
    except Exception as e:
        # Whatever decodes an image, or stands for an array, raises what it likes.
        return DataError(f"image {index}: cannot be read: {type(e).__name__}: {e}")


def _expect_no_open_file(image):
    """Which is an iterable of lines, and no picture is one."""
    if hasattr(image, "read"):
        raise TypeError(f"an open file ({type(image).__name__}): give its path, or its bytes, which .read() returns")


def _path(image):
    path = os.fsdecode(image)
    # What the system cannot be asked for.
    os.fsencode(path)
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        # Of which the decoder tells.
        return path
    if stat.S_ISFIFO(mode):
        raise DataError(f"{path!r} is a pipe, which may never end: read it, and give the bytes")
    return path


def _array(image):
    if isinstance(image, np.ndarray):
        return np.asarray(image)
    if is_pil(image):
        return _of_pil(image)
    if _is_tensor(image):
        return _of_tensor(image)
    _expect_no_open_file(image)
    raise TypeError(f"expected a picture ({FORMS}), found {type(image).__name__}")


def is_pil(image):
    return hasattr(image, "mode") and hasattr(image, "getbands")


def _of_pil(image):
    """As Pillow shows it, but for 16 bits, which it would cut; not turned by its orientation: its pixels are given."""
    _expect_size(image.height, image.width)
    try:
        deep = image.mode.startswith(("I", "F"))
        array = np.asarray(image if deep else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as e:
        # It is decoded only now.
        raise DataError(f"a PIL image that cannot be read: {e}") from e
    if array.dtype.kind == "i":
        if array.min() < 0 or array.max() > 0xFFFF:
            raise DataError(
                f"a PIL image of mode {image.mode} with values from {array.min()} to {array.max()}: expected 0 to 65535"
            )
        array = array.astype(np.uint16)
    return array


def _is_tensor(image):
    return hasattr(image, "detach") and hasattr(image, "cpu")


def _of_tensor(image):
    """With its channels innermost, as arrays have them."""
    try:
        array = image.detach().cpu().numpy()
    except (RuntimeError, TypeError) as e:
        # Sparse, without memory, or of numbers that numpy does not have.
        raise TypeError(f"a torch tensor that numpy cannot hold: {e}") from e
    return np.moveaxis(array, -3, -1) if array.ndim >= 3 else array


def _expect_size(height, width):
    """Before anything is copied, or looked at: an array may be a file on a disk, or one number repeated."""
    if height * width > MAX_PIXELS:
        raise DataError(f"the picture is {width} x {height} pixels, more than the {MAX_PIXELS} allowed")


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
    _expect_size(*array.shape[:2])
    # Of either byte order.
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        # False of what is no number, too.
        if not (0.0 <= low and high <= 1.0):
            raise DataError(
                f"floats from {low} to {high}: expected 0 to 1; give pixels as they are, before any normalisation, "
                "or as uint8"
            )
        scaled = np.multiply(array, 255.0, dtype=np.float64)
        return np.rint(scaled, out=scaled).astype(np.uint8)
    raise TypeError(f"an array of {array.dtype}: expected uint8, uint16, or floats from 0 to 1")
