"""A server of the program that $CKAAD names, with a model that it trained."""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw


class Server:
    """`ckaad serve` on a free port."""

    def __init__(self, *flags, env=None):
        command = [os.environ["CKAAD"], "serve", "--listen", "127.0.0.1:0", "--device", "cpu", "-q", *map(str, flags)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://"), line
        self.url = line.split()[-1]
        self.address = self.url.removeprefix("http://")

    def post(self, path, body, **headers):
        request = urllib.request.Request(self.url + path, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def stop(self):
        self.process.terminate()
        assert self.process.wait(timeout=30) == 0


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """A dataset of generated pictures, and a model of each of two names trained on it."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)

    def picture(path, spot=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        shift, tone = rng.integers(16), rng.integers(-15, 16)
        stripes = np.fromfunction(lambda y, x, c: 120 + tone + 60 * ((x + shift) // 8 % 2) + 8 * c, (96, 128, 3))
        image = Image.fromarray((stripes + rng.normal(0, 8, stripes.shape)).clip(0, 255).astype("uint8"))
        if spot:
            ImageDraw.Draw(image).ellipse((70, 30, 96, 56), fill=(230, 30, 20))
        image.save(path)

    for i in range(12):
        picture(folder / f"good/{i}.png")
    for i in range(3):
        picture(folder / f"test/good{i}.png")
        picture(folder / f"test/bad{i}.png", spot=True)
    models = folder / "models"
    models.mkdir()
    train = [os.environ["CKAAD"], "train", "--normal", folder / "good", "--detector", "patchcore", "-q"]
    subprocess.run([*train, "--image-size", "64", "--out", models / "part.safetensors"], check=True)
    (models / "other.safetensors").write_bytes((models / "part.safetensors").read_bytes())
    return folder


@pytest.fixture(scope="session")
def pictures(work):
    return sorted((work / "test").iterdir())


@pytest.fixture(scope="session")
def expected(work, pictures):
    """What `ckaad score` says of each picture, by name."""
    command = [os.environ["CKAAD"], "score", "--model", work / "models/part.safetensors", "--device", "cpu"]
    run = subprocess.run([*command, "--format", "json", *pictures], check=True, capture_output=True, text=True)
    lines = map(json.loads, run.stdout.splitlines())
    return {Path(line["path"]).name: line for line in lines}


@pytest.fixture(scope="session")
def server(work):
    server = Server("--models", work / "models", "--allow-load")
    yield server
    server.stop()
