"""Pictures and a model that the command line made, which the package is held against."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parents[3]
CKAAD = pathlib.Path(os.environ.get("CKAAD", ROOT / "target/release/ckaad")).resolve()
SIZE = 64


def ckaad(*args):
    """The program's output; an error says what it said."""
    done = subprocess.run([CKAAD, *map(str, args)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def scored(*args):
    """JSON lines of `ckaad score`."""
    return [json.loads(line) for line in ckaad("score", "--device", "cpu", "--format", "json", *args).splitlines()]


def cloth(seed, hole=False):
    """A woven picture, maybe with a bright patch."""
    g = np.random.default_rng(seed)
    y, x = np.mgrid[:80, :96]
    gray = 120 + 50 * np.sin(x * 0.9) * np.sin(y * 0.7) + g.normal(0, 8, x.shape)
    picture = np.stack([gray, gray * 0.9, gray * 0.8], axis=-1)
    if hole:
        top, left = g.integers(10, 50, 2)
        picture[top : top + 14, left : left + 14] = 250
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """train/good, test/good and test/hole with masks."""
    root = tmp_path_factory.mktemp("data")
    for folder, count, hole in [("train/good", 12, False), ("test/good", 5, False), ("test/hole", 5, True)]:
        (root / folder).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(cloth(hash_of(folder, i), hole)).save(root / folder / f"{i:02}.png")
    (root / "ground_truth/hole").mkdir(parents=True)
    for i in range(5):
        mask = (cloth(hash_of("test/hole", i), True)[..., 2] == 250).astype(np.uint8) * 255
        Image.fromarray(mask).save(root / f"ground_truth/hole/{i:02}_mask.png")
    return root


def hash_of(folder, i):
    return sum(map(ord, folder)) * 100 + i


@pytest.fixture(scope="session")
def settings():
    """A training of seconds, in the words of `Detector.fit`."""
    return dict(strategy="recon", image_size=SIZE, layers=(1, 2), epochs=3, batch_size=4, weights="random", seed=1)


def flags(settings):
    """The same in those of the command line."""
    text = lambda v: ",".join(map(str, v)) if isinstance(v, tuple) else str(v)
    return [part for name, value in settings.items() for part in ("--" + name.replace("_", "-"), text(value))]


@pytest.fixture(scope="session")
def model(data, settings, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    ckaad("train", "--device", "cpu", "--normal", data / "train/good", "--out", path, *flags(settings))
    return path


@pytest.fixture
def pictures(data):
    return sorted((data / "test").rglob("*.png"))
