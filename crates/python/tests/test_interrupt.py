"""Ctrl-C ends whatever goes on within seconds, as KeyboardInterrupt, and the next good request is answered."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

HEAD = """
import itertools, signal, sys, threading
import numpy as np
import ckaad

# A shell starts what runs in its background with this signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
model, train, picture, out, settings = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], eval(sys.argv[5])
detector = ckaad.Detector.load(model, "cpu", batch_size=4)
before = detector.score(picture).score
said = threading.Event()

def working(*_):
    if not said.is_set():
        said.set()
        print("working", flush=True)

def many(count):
    for i in range(count):
        yield picture
        if i == 20:
            working()

bank = dict(detector="patchcore", strategy=None, epochs=None)

def fit(normal, stage, **more):
    told = lambda at, *_: working() if at == stage else None
    ckaad.Detector.fit(normal, device="cpu", progress=told, **{**settings, **more})
"""
TAIL = """
except KeyboardInterrupt:
    assert detector.score(picture).score == before
    print("interrupted", flush=True)
"""
# More than anybody waits for.
MANY = 400_000
WORKS = {
    "fit, training": f"fit(train, 'training', epochs={MANY}, out=out)",
    "fit, many pictures": f"fit([picture] * {MANY}, 'pictures')",
    "fit, many arrays": "fit((np.full((64, 64), i % 256, np.uint8) for i in range(30000)), 'pictures')",
    "fit, an iterator": "fit((working() or picture for _ in itertools.count()), '')",
    "fit, a memory bank": "fit(train, 'features', **bank, image_size=1024, folds=12)",
    "score": f"detector.score(many({MANY}))",
    "evaluate": f"threading.Timer(1, working).start(); detector.evaluate(normal=[picture] * {MANY})",
}


@pytest.mark.parametrize("work", WORKS)
def test_ctrl_c(data, model, settings, pictures, tmp_path, work):
    script = HEAD + "\ntry:\n" + textwrap.indent(WORKS[work], "    ") + TAIL
    out = tmp_path / "m.safetensors"
    args = [model, data / "train/good", pictures[0], out, settings]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    child = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, args)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert child.stdout.readline() == "working\n"
    started = time.monotonic()
    os.kill(child.pid, signal.SIGINT)
    told, _ = child.communicate(timeout=60)
    assert told == "interrupted\n" and child.returncode == 0
    assert time.monotonic() - started < 15
    # What was written is a checkpoint to go on from, where there was a place for it.
    left = ["m.checkpoint.safetensors"] if "out=out" in WORKS[work] else []
    assert sorted(path.name for path in tmp_path.iterdir()) == left
