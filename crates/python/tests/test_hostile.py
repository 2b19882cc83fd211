"""What is wrong is one clear error at every door, and the next good request is answered."""

import errno
import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

import ckaad
from ckaad.sklearn import OutlierDetector
from conftest import cloth


@pytest.fixture(scope="module")
def detector(model):
    return ckaad.Detector.load(model, "cpu")


def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def cut_image():
    """Pillow opens it, and finds only when it decodes that half is missing."""
    whole = png(cloth(0))
    return Image.open(io.BytesIO(whole[: len(whole) // 2]))


def bomb():
    """A PNG of some bytes that says it is 60000 pixels wide and high."""
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


class Unreadable:
    """Fails as decoders do."""

    mode, width, height = "RGB", 64, 64

    def getbands(self):
        return tuple(self.mode)

    def convert(self, mode):
        raise EOFError("half a picture")


# Files as bytes: what `evaluate` leaves out and tells.
FILES = [
    (b"", ckaad.DataError, "the file is empty"),
    (b"no picture at all", ckaad.DataError, "not a picture"),
    (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, ckaad.DataError, "image 0: "),
    (png(cloth(0))[:-100], ckaad.DataError, "damaged"),
    (bytearray(bomb()), ckaad.DataError, "60000 x 60000"),
]
OBJECTS = [
    (np.zeros((0, 64, 3), np.uint8), ckaad.DataError, "no pixels"),
    (np.zeros((64, 64, 5), np.uint8), ckaad.DataError, "1 to 4 channels"),
    (np.zeros((3, 64, 64), np.uint8), ckaad.DataError, "moveaxis"),
    (np.zeros(64, np.uint8), ckaad.DataError, r"shape \(64,\)"),
    (np.zeros((), np.uint8), ckaad.DataError, r"shape \(\)"),
    (np.zeros((64, 64), np.int64), TypeError, "int64"),
    (np.zeros((64, 64), np.uint32), TypeError, "uint32"),
    (np.zeros((64, 64), bool), TypeError, "bool"),
    (np.zeros((64, 64), complex), TypeError, "complex"),
    (np.zeros((64, 64), object), TypeError, "object"),
    (np.zeros((64, 64), "S1"), TypeError, "S1"),
    (np.full((64, 64), np.nan), ckaad.DataError, "nan"),
    (np.full((64, 64), np.inf, np.float32), ckaad.DataError, "inf"),
    (np.full((64, 64, 3), 2.0), ckaad.DataError, "0 to 1"),
    (np.full((64, 64), -1.0, np.float16), ckaad.DataError, "0 to 1"),
    (np.array([[0, 1.0000001]], np.float32), ckaad.DataError, "floats from 0.0 to 1.00000011"),
    (np.zeros((1, 1 << 28), np.uint8), ckaad.DataError, "more than the"),
    # More than there is memory for, and more than can be looked at, of one number.
    (np.broadcast_to(np.uint8(0), (1 << 18, 1 << 18, 3)), ckaad.DataError, "more than the"),
    (np.broadcast_to(np.float32(0), (1 << 18, 1 << 18, 3)), ckaad.DataError, "more than the"),
    (Image.new("1", (1 << 14, 1 << 14)), ckaad.DataError, "more than the"),
    (Unreadable(), ckaad.DataError, "image 0: cannot be read: EOFError: half a picture"),
    ("lone \udc80\ud800", ckaad.DataError, "image 0: cannot be read: UnicodeEncodeError"),
    (Image.fromarray(np.full((64, 64), 70000, np.int32)), ckaad.DataError, "0 to 65535"),
    (Image.fromarray(np.full((64, 64), 3.0, np.float32)), ckaad.DataError, "0 to 1"),
    (cut_image(), ckaad.DataError, "truncated"),
    (None, TypeError, "NoneType"),
    (3.5, TypeError, "float"),
]
NAMES = [f"file {i}" for i in range(len(FILES))] + [f"object {i}" for i in range(len(OBJECTS))]


@pytest.mark.parametrize("wrong, error, text", FILES + OBJECTS, ids=NAMES)
def test_score(detector, pictures, wrong, error, text):
    good = detector.score(pictures[0]).score
    for door in (lambda: detector.score(wrong), lambda: detector.score([wrong, pictures[0]])):
        with pytest.raises(error, match=text):
            door()
    returned = detector.score([pictures[0], wrong, pictures[0]], errors="return")
    assert returned[0].score == returned[2].score == good
    assert isinstance(returned[1], error) and "image 1" in str(returned[1])


@pytest.mark.parametrize("wrong, error, text", FILES + OBJECTS, ids=NAMES)
def test_other_doors(detector, pictures, data, settings, wrong, error, text):
    train = sorted((data / "train/good").iterdir())
    settings = {**settings, "epochs": 0, "strategy": "ckapatch"}
    fit = lambda normal, anomalous=None: ckaad.Detector.fit(normal, anomalous, device="cpu", **settings)
    estimator = OutlierDetector("patchcore", layers=(1, 2), image_size=32, weights="random", device="cpu")
    doors = [lambda: fit([wrong, *train]), lambda: fit(train, [wrong]), lambda: estimator.fit([wrong, *train])]
    if isinstance(wrong, (bytes, bytearray)):
        with pytest.warns(UserWarning, match=f"1 picture left out.*{text}"):
            found = detector.evaluate(normal=[wrong, *pictures[:3]], anomalous=pictures[-3:])
        assert found["pictures"]["unreadable"] == 1 and len(found["left_out"]) >= 1
    else:
        doors.append(lambda: detector.evaluate(normal=[wrong, *pictures[:3]], anomalous=pictures[-3:]))
    for door in doors:
        with pytest.raises(error, match=text):
            door()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = detector.evaluate(normal=pictures[:3], anomalous=pictures[-3:])
    assert found["pictures"]["normal"] == 3


def test_nothing_given(detector, tmp_path, settings):
    assert detector.score([]) == detector.score(np.zeros((0, 64, 64, 3), np.uint8)) == []
    for door in (
        lambda: detector.evaluate(normal=[], anomalous=[]),
        lambda: ckaad.Detector.fit([], device="cpu", **settings),
    ):
        with pytest.raises(ckaad.UsageError, match="no .*picture was given"):
            door()
    with pytest.raises(ckaad.CkaadError, match="no pictures"):
        ckaad.list_pictures(tmp_path)
    with pytest.raises(TypeError, match="expected a picture or several"):
        detector.score(None, errors="return")


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
    with pytest.raises(OSError, match="NUL"):
        detector.score("a\0b.png")
    with pytest.raises(ckaad.UsageError, match="errors='ignore'"):
        detector.score(cut, errors="ignore")
    assert detector.score(pictures[0]).score > 0


def test_a_pipe(detector, data, settings, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ckaad.DataError, match="is a pipe"):
        detector.score(tmp_path / "pipe.png")
    for door in (
        lambda: ckaad.Detector.load(tmp_path / "pipe.png"),
        lambda: ckaad.Detector.fit(data / "train/good", device="cpu", **{**settings, "weights": tmp_path / "pipe.png"}),
    ):
        with pytest.raises(ckaad.DataError, match="pipe.png: is a pipe, a socket or a device, expected a "):
            door()


def test_an_open_file(detector, pictures, data, settings):
    with open(pictures[0], "rb") as file:
        for opened in (file, io.BytesIO(b"x\ny"), io.StringIO("x")):
            for door in (
                lambda: detector.score(opened),
                lambda: detector.score([opened]),
                lambda: detector.evaluate(normal=opened),
                lambda: detector.evaluate(normal=[opened]),
                lambda: ckaad.Detector.fit(opened, device="cpu", **settings),
            ):
                with pytest.raises(TypeError, match=r"an open file .*: give its path, or its bytes, which .read\(\) "):
                    door()
            assert isinstance(detector.score([opened], errors="return")[0], TypeError)
        assert file.tell() == 0
        assert detector.score(file.read()).score == detector.score(pictures[0]).score


def refused(error, number, path, door):
    """What the operating system says is Python's own exception, with its number and file, as of `open`."""
    with pytest.raises(error) as e:
        door()
    assert type(e.value) is error and (e.value.errno, e.value.filename) == (number, os.fspath(path))
    assert os.strerror(number) in str(e.value) and "os error" not in str(e.value)


def test_what_the_system_refuses(detector, model, data, pictures, settings, tmp_path):
    gone, good, file = tmp_path / "typo", data / "test/good", pictures[0]
    train = dict(device="cpu", **settings)
    for door in (
        lambda: ckaad.Detector.load(gone),
        lambda: ckaad.list_pictures(gone),
        lambda: ckaad.Detector.fit(gone, **train),
        lambda: ckaad.Detector.fit(str(gone), **train),
        lambda: ckaad.Detector.fit(good, gone, **{**train, "strategy": "ckapatch"}),
        lambda: detector.score(gone),
        lambda: detector.evaluate(gone),
        lambda: detector.evaluate(normal=gone),
        lambda: detector.evaluate(normal=good, anomalous=gone),
        lambda: detector.evaluate(normal=str(gone), anomalous=[file]),
        lambda: detector.evaluate(normal=good, anomalous=good, masks=gone),
    ):
        refused(FileNotFoundError, errno.ENOENT, gone, door)
    for door in (
        lambda: ckaad.list_pictures(file),
        lambda: detector.evaluate(normal=good, anomalous=data / "test/hole", masks=file),
    ):
        refused(NotADirectoryError, errno.ENOTDIR, file, door)
    # One picture is a path, too.
    assert detector.evaluate(normal=file)["pictures"]["normal"] == 1


def test_an_iterator_that_fails(detector, pictures):
    def failing():
        yield pictures[0]
        raise LookupError("no more")

    for errors in ("raise", "return"):
        with pytest.raises(LookupError, match="no more"):
            detector.score(failing(), errors=errors)


def test_models(model, pictures, tmp_path):
    half = tmp_path / "half.safetensors"
    half.write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    for path, error in [
        (half, ckaad.DataError),
        (tmp_path / "none", FileNotFoundError),
        (tmp_path, (OSError, ckaad.CkaadError)),
    ]:
        with pytest.raises(error, match=path.name):
            ckaad.Detector.load(path)
    with pytest.raises(ckaad.DataError, match="is a folder, expected a model file"):
        ckaad.Detector.load(tmp_path)
    for wrong in (0, -1, 10**6, 1 << 40, 2**70, -(2**70)):
        with pytest.raises(ckaad.UsageError, match=f"batch_size={wrong}: "):
            ckaad.Detector.load(model, "cpu", batch_size=wrong)
    for wrong in (2.5, "2", None):
        with pytest.raises(TypeError, match="batch_size"):
            ckaad.Detector.load(model, "cpu", batch_size=wrong)
    for device in ("cuda:99", "tpu"):
        with pytest.raises(ckaad.CkaadError, match=device):
            ckaad.Detector.load(model, device)
    for count in (0, -1, 1 << 40, 2**80):
        with pytest.raises(ckaad.UsageError, match=f"count={count}: expected 1 to 1024"):
            ckaad.set_threads(count)
    with pytest.raises(TypeError, match="threshold"):
        ckaad.Detector.load(model, "cpu").with_threshold("high")
    assert ckaad.Detector.load(model, "cpu").score(pictures[0]).score > 0
