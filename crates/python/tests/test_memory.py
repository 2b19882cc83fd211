"""Memory after many rounds is memory before them, within 5 %; nothing stays in the folder for temporary files."""

import gc
import multiprocessing
import os
import tempfile
import threading
import warnings

import numpy as np
import pytest

import ckaad
from test_hostile import FILES, OBJECTS

WRONG = [wrong for wrong, _, _ in FILES + OBJECTS if getattr(wrong, "size", 0) != 1 << 28]


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def score_and_fail(model, pictures, train, settings):
    detector = ckaad.Detector.load(model, "cpu", batch_size=4)
    for _ in range(3):
        detector.score([*pictures, *WRONG], errors="return")
    for wrong in WRONG:
        try:
            detector.score(wrong)
        except (ckaad.DataError, TypeError):
            pass


def load_and_drop(model, pictures, train, settings):
    for _ in range(3):
        ckaad.Detector.load(model, "cpu").with_threshold(0.5)
        try:
            ckaad.Detector.load(pictures[0])
        except ckaad.DataError:
            pass


def share_and_drop(model, pictures, train, settings):
    detector = ckaad.Detector.load(model, "cpu")
    threads = [threading.Thread(target=detector.score, args=(pictures,)) for _ in range(4)]
    [t.start() for t in threads]
    del detector
    [t.join() for t in threads]


def evaluate(model, pictures, train, settings):
    ckaad.Detector.load(model, "cpu").evaluate(normal=[b"", *pictures[:5]], anomalous=pictures[5:])


def fit(model, pictures, train, settings):
    ckaad.Detector.fit(train, device="cpu", **{**settings, "epochs": 1})
    try:
        ckaad.Detector.fit([*train, b"no picture"], device="cpu", **settings)
    except ckaad.DataError:
        pass


def rounds(work, counts, args, pipe):
    """Some to warm up, then so many that one map forgotten per picture would be seen."""
    warnings.simplefilter("ignore")
    try:
        found = []
        for count in counts:
            for _ in range(count):
                work(*args)
                gc.collect()
            found.append(resident())
        pipe.send((*found, os.listdir(tempfile.gettempdir())))
    except BaseException as e:
        pipe.send(repr(e))
        raise


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux tells how much memory a process has")
@pytest.mark.parametrize(
    "work, counts",
    [
        (score_and_fail, (5, 20)),
        (load_and_drop, (5, 20)),
        (share_and_drop, (5, 20)),
        (evaluate, (5, 20)),
        (fit, (3, 9)),
    ],
)
def test_no_leak(data, model, settings, pictures, tmp_path, monkeypatch, work, counts):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    # Of its own, so that no other test's memory is counted.
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    train = [np.zeros((64, 64), np.uint8) + i for i in range(6)] + sorted((data / "train/good").iterdir())
    child = spawn.Process(target=rounds, args=(work, counts, (model, pictures, train, settings), theirs))
    child.start()
    assert ours.poll(120), "nothing came back"
    told = ours.recv()
    child.join()
    assert not isinstance(told, str), told
    before, after, left = told
    print(f"{work.__name__}: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB after")
    assert after <= 1.05 * before and left == []
