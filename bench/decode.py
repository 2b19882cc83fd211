#!/usr/bin/env python3
"""What a JPEG costs one CPU core before the network sees it: read, decoded, resized to 256 x 256.

    python bench/decode.py [target/release/ckaad] > bench/results/decode.jsonl

Makes pictures of four sizes (a woven texture with noise, quality 85) and runs `ckaad bench score --pictures` over them with one thread. Needs
numpy and Pillow. The least time is the one that other work on the machine disturbs least."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

SIZES = [(512, 384), (1024, 768), (1920, 1080), (4000, 3000)]
PICTURES = 16


def texture(width, height, seed):
    """Noise of a fine and a coarse grain, as a camera's picture of a cloth has."""
    g = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    gray = 120 + 40 * np.sin(x * 0.05) * np.sin(y * 0.04) + g.normal(0, 4, x.shape)
    coarse = Image.fromarray(g.normal(0, 25, (height // 16, width // 16)).astype(np.float32))
    gray += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(np.stack([gray, gray * 0.9, gray * 0.8], axis=-1), 0, 255).astype(np.uint8)


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    program = sys.argv[1] if len(sys.argv) > 1 else root / "target/release/ckaad"
    print(json.dumps({"cores": os.cpu_count(), "load_before": os.getloadavg(), "threads": 1, "image_size": 256}))
    for width, height in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder, f"{i:02}.jpg") for i in range(PICTURES)]
            for i, path in enumerate(paths):
                Image.fromarray(texture(width, height, i)).save(path, quality=85)
            size = sum(path.stat().st_size for path in paths) / PICTURES
            asked = [program, "bench", "score", "--device", "cpu", "--threads", "1", "--format", "json", "--pictures", *paths]
            told = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
        decode = told["stages"]["decode"]
        row = {"width": width, "height": height, "jpeg_bytes": round(size)}
        row |= {f"decode_{name}_ms": round(1e3 * decode[f"{name}_s"], 2) for name in ("min", "median")}
        row |= {f"compute_{name}_ms": round(1e3 * told["stages"]["compute"][f"{name}_s"], 2) for name in ("min", "median")}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
