"""Threads share a detector; processes have their own; one that is killed in the middle of its work harms no other."""

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

import ckaad


@pytest.fixture(scope="module")
def detector(model):
    return ckaad.Detector.load(model, "cpu")


def test_threads_share_a_detector(model, pictures):
    detector = ckaad.Detector.load(model, "cpu")
    expected = [f.score for f in detector.score(pictures)]
    found, wrong = {}, []

    def work(n, detector):
        for _ in range(5):
            with pytest.raises(ckaad.DataError):
                detector.score(b"no picture")
            found[n] = [f.score for f in detector.score(pictures)]
            wrong.extend([n] if found[n] != expected else [])

    threads = [threading.Thread(target=work, args=(n, detector)) for n in range(8)]
    # The threads' own are the last ones.
    del detector
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(found) == 8 and not wrong


def test_python_runs_on(detector, data, pictures, settings):
    """Another thread is there all the time, also where nothing is told."""
    works = [
        lambda: ckaad.Detector.fit(data / "train/good", device="cpu", **{**settings, "epochs": 20}),
        lambda: detector.evaluate(normal=pictures * 20),
        lambda: detector.score([cloth] * 2),
    ]
    # Decoded and resized in one go.
    cloth = np.zeros((8000, 8000), np.uint16)
    for work in works:
        ended, longest, last = threading.Event(), 0.0, time.monotonic()
        worker = threading.Thread(target=lambda: (work(), ended.set()))
        started = last
        worker.start()
        while not ended.is_set():
            time.sleep(0.001)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        worker.join()
        assert longest < 0.5 * (last - started), f"{longest:.2f} of {last - started:.2f} s"


def test_a_map_outlives_its_detector(model, pictures):
    detector = ckaad.Detector.load(model, "cpu")
    found = detector.score(pictures[0])
    copy = found.map.copy()
    map_ = found.map
    del detector, found
    gc.collect()
    assert np.array_equal(map_, copy)


def same(a, b):
    public = [name for name in dir(a) if not name.startswith("_")]
    return all(
        np.array_equal(getattr(a, n), getattr(b, n)) for n in public if n not in ("regions", "describe", "doubt")
    )


def test_pickled(detector, pictures):
    again = pickle.loads(pickle.dumps(detector.with_threshold(0.25)))
    assert again.threshold.value == 0.25
    assert again.score(pictures[0]).score == detector.score(pictures[0]).score
    found = detector.score(pictures[-1])
    copy = pickle.loads(pickle.dumps(found))
    assert same(copy, found) and len(copy.regions) == len(found.regions) > 0
    assert all(same(a, b) for a, b in zip(copy.regions, found.regions))
    threshold = pickle.loads(pickle.dumps(detector.threshold))
    assert same(threshold, detector.threshold) and threshold.describe() == detector.threshold.describe()
    assert same(pickle.loads(pickle.dumps(ckaad.Threshold(0.5))), ckaad.Threshold(0.5))


def _in_child(detector, picture, pipe):
    try:
        pipe.send(detector.score(picture).score)
    except ckaad.DeviceError as e:
        pipe.send(str(e))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes(detector, pictures, method):
    score = detector.score(pictures[0]).score
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=_in_child, args=(detector, pictures[0], theirs))
    child.start()
    assert ours.poll(60), "nothing came back"
    told = ours.recv()
    child.join()
    if method == "fork":
        assert "was forked from process" in told and "spawn" in told
    else:
        assert told == score


def test_threads_that_were_set_are_the_process_s(model):
    script = textwrap.dedent(
        f"""
        import os, ckaad
        ckaad.set_threads(1)
        ckaad.set_threads(1)
        try:
            ckaad.set_threads(2)
        except ckaad.UsageError as e:
            print(e, flush=True)
        child = os.fork()
        try:
            ckaad.Detector.load({str(model)!r}, "cpu")
        except ckaad.DeviceError as e:
            print(e, flush=True)
        if child:
            os._exit(os.waitpid(child, 0)[1])
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    late, forked = done.stdout.splitlines()
    assert late.startswith("1 threads have started already") and "was forked from process" in forked
    assert done.returncode == 0, done.stderr


def test_what_a_signal_calls_scores_during_an_evaluation(detector, pictures):
    expected, found = detector.score(pictures[0]).score, []
    before = signal.signal(signal.SIGALRM, lambda *_: found.append(detector.score(pictures[0]).score))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        detector.evaluate(normal=pictures * 30)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert found and set(found) == {expected}


def _shard(detector, pictures, at, started):
    """Scores pictures, again and again where `started` names a file to write when it has begun."""
    found = detector.score(pictures)
    while started:
        with open(started, "w") as file:
            file.write(str(os.getpid()))
        detector.score(pictures)
    return at, found


def pid_in(path):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.01)
    raise AssertionError("the worker did not begin")


def test_a_worker_killed_in_the_middle_of_a_shard(detector, pictures, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    expected = [found.score for found in detector.score(pictures)]
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        shard = pool.submit(_shard, detector, pictures, 0, str(tmp_path / "pid"))
        os.kill(pid_in(tmp_path / "pid"), signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            shard.result(timeout=60)
    # Ours goes on, and new workers do the same work.
    assert [found.score for found in detector.score(pictures)] == expected
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        shards = [pool.submit(_shard, detector, pictures[at : at + 5], at, None) for at in (0, 5)]
        found = dict(shard.result(timeout=60) for shard in shards)
    assert [one.score for at in (0, 5) for one in found[at]] == expected


def test_a_training_that_was_killed_goes_on(data, settings, pictures, tmp_path):
    out, checkpoint = tmp_path / "m.safetensors", tmp_path / "m.checkpoint.safetensors"
    script = "import sys, ckaad; ckaad.Detector.fit(sys.argv[1], device='cpu', out=sys.argv[2], **eval(sys.argv[3]))"
    settings = {**settings, "epochs": 10_000}
    child = subprocess.Popen([sys.executable, "-c", script, str(data / "train/good"), str(out), repr(settings)])
    while not checkpoint.exists():
        assert child.poll() is None
        time.sleep(0.001)
    child.kill()
    child.wait()
    assert not out.exists()
    done = []
    told = lambda stage, at, of, losses: done.append((at, of)) if stage == "training" else None
    settings, train = {**settings, "epochs": 60}, data / "train/good"
    resumed = ckaad.Detector.fit(train, device="cpu", out=out, resume=True, progress=told, **settings)
    # As if nothing had been, but for the ten epochs before the first checkpoint or more.
    (first, of), last = done[0], done[-1]
    assert last == (of, of) and first > of / 60 * 10
    whole = ckaad.Detector.fit(train, device="cpu", **settings)
    assert resumed.score(pictures[0]).score == whole.score(pictures[0]).score
