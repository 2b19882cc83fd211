"""What is wrong is one clear error, and the next good picture is scored; threads share a detector; nothing leaks."""

import gc
import multiprocessing
import os
import threading

import numpy as np
import pytest
from PIL import Image

import ckaad


@pytest.fixture(scope="module")
def detector(model):
    return ckaad.Detector.load(model, "cpu")


WRONG = [
    (b"", ckaad.DataError, "image 0: the file is empty"),
    (b"no picture at all", ckaad.DataError, "image 0: not a picture"),
    (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, ckaad.DataError, "image 0: "),
    (np.zeros((0, 64, 3), np.uint8), ckaad.DataError, "no pixels"),
    (np.zeros((64, 64, 5), np.uint8), ckaad.DataError, "1 to 4 channels"),
    (np.zeros((3, 64, 64), np.uint8), ckaad.DataError, "moveaxis"),
    (np.zeros(64, np.uint8), ckaad.DataError, "shape"),
    (np.zeros((64, 64), np.int64), TypeError, "int64"),
    (np.zeros((64, 64), bool), TypeError, "bool"),
    (np.zeros((64, 64), object), TypeError, "object"),
    (np.full((64, 64), np.nan), ckaad.DataError, "nan"),
    (np.full((64, 64, 3), 2.0), ckaad.DataError, "0 to 1"),
    (np.full((64, 64), -1.0), ckaad.DataError, "0 to 1"),
    (np.zeros((1, 1 << 28), np.uint8), ckaad.DataError, "more than the"),
    (Image.fromarray(np.full((64, 64), 70000, np.int32)), ckaad.DataError, "0 to 65535"),
    (Image.fromarray(np.full((64, 64), 3.0, np.float32)), ckaad.DataError, "0 to 1"),
    (None, TypeError, "NoneType"),
    (3.5, TypeError, "float"),
    ([None], TypeError, "image 0: .*NoneType"),
]


@pytest.mark.parametrize("wrong, error, text", WRONG, ids=range(len(WRONG)))
def test_one_clear_error(detector, pictures, wrong, error, text):
    good = detector.score(pictures[0]).score
    with pytest.raises(error, match=text):
        detector.score(wrong)
    returned = detector.score([pictures[0], *(wrong if isinstance(wrong, list) else [wrong]), pictures[0]], errors="return")
    assert returned[0].score == returned[2].score == good
    assert isinstance(returned[1], error)


def test_files(detector, pictures, tmp_path):
    cut = tmp_path / "cut.png"
    cut.write_bytes(pictures[0].read_bytes()[:-100])
    with pytest.raises(FileNotFoundError) as e:
        detector.score(tmp_path / "nowhere.png")
    assert e.value.filename == str(tmp_path / "nowhere.png")
    with pytest.raises(ckaad.DataError, match="cut.png: "):
        detector.score(cut)
    with pytest.raises(ckaad.DataError, match="is a folder"):
        detector.score(tmp_path)
    with pytest.raises(ckaad.UsageError, match="errors='ignore'"):
        detector.score(cut, errors="ignore")
    assert detector.score(pictures[0]).score > 0


def test_models(model, tmp_path):
    half = tmp_path / "half.safetensors"
    half.write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    for path, error in [(half, ckaad.DataError), (tmp_path / "none", FileNotFoundError), (tmp_path, (OSError, ckaad.CkaadError))]:
        with pytest.raises(error, match=path.name):
            ckaad.Detector.load(path)
    with pytest.raises(ckaad.UsageError, match="batch_size"):
        ckaad.Detector.load(model, batch_size=0)
    with pytest.raises(ckaad.CkaadError):
        ckaad.Detector.load(model, "cuda:99")


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


def test_a_map_outlives_its_detector(model, pictures):
    detector = ckaad.Detector.load(model, "cpu")
    found = detector.score(pictures[0])
    copy = found.map.copy()
    map_ = found.map
    del detector, found
    gc.collect()
    assert np.array_equal(map_, copy)


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


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux tells how much memory a process has")
def test_no_leak(model, pictures):
    def round():
        detector = ckaad.Detector.load(model, "cpu")
        for _ in range(3):
            detector.score([*pictures, b"no picture", np.full((9, 9), np.nan)], errors="return")
        del detector
        gc.collect()

    for _ in range(5):
        round()
    before = resident()
    for _ in range(20):
        round()
    assert resident() <= 1.05 * before
