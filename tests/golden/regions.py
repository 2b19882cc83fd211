"""Writes regions.safetensors beside this script: connected areas of anomaly maps as scipy labels and scikit-image measures them.

    pip install scipy==1.17.1 scikit-image==0.26.0 safetensors && python tests/golden/regions.py

Maps are float32 of few distinct values, so that some lie exactly on their threshold. Areas are labelled on the map, repeated
onto a grid that both the map and the picture divide, measured there, and brought to the picture's pixels.
"""

from math import lcm
from pathlib import Path

import numpy as np
import scipy.ndimage
from safetensors.numpy import save_file
from skimage.measure import regionprops

# Map's side, picture's width and height, threshold in 64ths, how smooth the map is.
CASES = [
    (8, (8, 8), 40, 0.0),
    (16, (64, 32), 36, 0.0),
    (32, (100, 75), 34, 1.0),
    (64, (16, 16), 36, 2.0),
    (64, (1920, 64), 33, 4.0),
    (16, (48, 48), 0, 1.0),
    (16, (48, 48), 65, 1.0),
]

out = {}
for n, (side, (width, height), threshold, sigma) in enumerate(CASES):
    noise = np.random.default_rng(n).standard_normal((side, side))
    smooth = scipy.ndimage.gaussian_filter(noise, sigma) if sigma else noise
    ranks = smooth.ravel().argsort().argsort().reshape(side, side)
    levels = ranks * 65 // ranks.size
    labels, count = scipy.ndimage.label(levels >= threshold, structure=np.ones((3, 3)))
    fine_x, fine_y = lcm(side, width), lcm(side, height)
    fine = labels.repeat(fine_y // side, axis=0).repeat(fine_x // side, axis=1)
    peaks = np.asarray(scipy.ndimage.maximum(levels, labels, np.arange(1, count + 1))) / 64
    rows = []
    for region, peak in zip(regionprops(fine), peaks, strict=True):
        top, left, bottom, right = region.bbox
        # A pixel's middle is half a pixel from its corner, where skimage counts from.
        y, x = (c + 0.5 for c in region.centroid)
        sx, sy = width / fine_x, height / fine_y
        box = [left * sx, top * sy, (right - left) * sx, (bottom - top) * sy]
        rows.append([*box, region.area * sx * sy, region.area / fine.size, peak, x * sx, y * sy])
    out[f"{n}.map"] = (levels / 64).astype(np.float32)
    out[f"{n}.picture"] = np.array([width, height], np.int64)
    out[f"{n}.threshold"] = np.array([threshold / 64])
    # Box (x, y, width, height), area, share, peak, centroid (x, y).
    out[f"{n}.regions"] = np.array(rows).reshape(-1, 9)
    print(f"{side} x {side} on {width} x {height}: {count} areas, {np.sum(levels == threshold)} values on the threshold")
save_file(out, Path(__file__).with_name("regions.safetensors"))
