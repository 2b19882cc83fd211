"""Scores, maps and regions have the bits of the command line's, whatever form a picture comes in."""

import io
import os
import pathlib
import pickle
import shutil
import tracemalloc
import urllib.parse

import numpy as np
import pytest
from PIL import Image

import ckaad
from conftest import SIZE, scored
from conftest import ckaad as program


@pytest.fixture(scope="module")
def detector(model):
    return ckaad.Detector.load(model, "cpu")


def test_equal_bits(detector, model, pictures, tmp_path):
    lines = scored("--model", model, "--maps", tmp_path / "maps", *pictures)
    found = detector.score(pictures)
    assert len(found) == len(lines) == 10
    for one, line in zip(found, lines):
        assert one.name == line["path"]
        assert (one.score, one.score_normalized, one.anomalous) == (
            line["score"],
            line["score_normalized"],
            line["anomalous"],
        )
        assert one.map.dtype == np.float32 and one.map.shape == (SIZE, SIZE)
        assert np.array_equal(one.map, np.load(line["map"]))
        assert one.peak == one.map.max()
        assert (one.width, one.height) == (96, 80)
        regions = [dict(box=r.box, area=r.area, share=r.share, peak=r.peak, centroid=r.centroid) for r in one.regions]
        assert [{k: list(v) if k in ("box", "centroid") else v for k, v in r.items()} for r in regions] == [
            {**r, "peak": np.float32(r["peak"])} for r in line["regions"]
        ]


def test_batches_are_the_command_lines(model, pictures):
    lines = scored("--model", model, "--batch-size", 4, *pictures)
    found = ckaad.Detector.load(model, "cpu", batch_size=4, maps=False).score(pictures)
    assert [f.score for f in found] == [line["score"] for line in lines]
    assert all(f.map is None and f.peak is None and f.regions is None for f in found)


def test_every_form_of_a_picture(detector, pictures):
    path = pictures[-1]
    expected = detector.score(path).score
    array = np.asarray(Image.open(path))
    forms = {
        "str": str(path),
        "bytes": path.read_bytes(),
        "memoryview": memoryview(path.read_bytes()),
        "array": array,
        "not contiguous": np.asfortranarray(array),
        "alpha": np.dstack([array, np.full(array.shape[:2], 7, np.uint8)]),
        "16 bits": array.astype(np.uint16) * 257,
        "big-endian": (array.astype(np.uint16) * 257).astype(">u2"),
        "floats": array.astype(np.float32) / 255,
        "PIL": Image.open(path),
        "PIL with palette": Image.open(path).convert("RGBA"),
    }
    for name, form in forms.items():
        assert detector.score(form).score == expected, name
    together = detector.score(list(forms.values()))
    assert [t.score for t in together] == [expected] * len(forms)
    assert together[3].name == "image 3"
    assert [t.score for t in detector.score(np.stack([array, array]))] == [expected] * 2
    assert detector.score(iter([path]))[0].score == expected
    assert [t.score for t in detector.score(np.array([str(path)] * 2))] == [expected] * 2
    of_any_size = np.array([array, array[:40], None], dtype=object)[:2]
    assert [t.score for t in detector.score(of_any_size)] == [expected, detector.score(array[:40]).score]
    assert detector.score([]) == []


class Tensor:
    """What torch's tensors have, where torch is not installed."""

    def __init__(self, array):
        self.array, self.ndim = array, array.ndim

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self.array

    def __iter__(self):
        return map(Tensor, self.array)


def test_tensors_have_their_channels_first(detector, pictures):
    array = np.asarray(Image.open(pictures[0]))
    expected = detector.score(pictures[0]).score
    first = np.moveaxis(array, -1, 0)
    for tensor in (first, first.astype(np.float32) / 255):
        assert detector.score(Tensor(tensor)).score == expected
        assert [f.score for f in detector.score(Tensor(np.stack([tensor, tensor])))] == [expected] * 2
    gray = array[..., 0]
    assert detector.score(Tensor(gray)).score == detector.score(Tensor(gray[None])).score == detector.score(gray).score


@pytest.mark.parametrize("mode", ["L", "I;16", "P", "1", "LA", "CMYK"])
def test_modes_are_those_of_files(detector, model, pictures, tmp_path, mode):
    picture = Image.open(pictures[-1])
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 200)
    else:
        picture = picture.convert(mode)
    path = tmp_path / ("p.tif" if mode == "CMYK" else "p.png")
    picture.save(path)
    assert detector.score(Image.open(path)).score == scored("--model", model, path)[0]["score"]


def test_maps_are_not_copied(detector, pictures):
    tracemalloc.start()
    try:
        found = detector.score(pictures)
        of_numpy = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
        held = lambda: sum(s.size for s in tracemalloc.take_snapshot().filter_traces([of_numpy]).statistics("filename"))
        assert held() < found[0].map.nbytes
        copies = [one.map.copy() for one in found]
        assert held() >= sum(copy.nbytes for copy in copies)
    finally:
        tracemalloc.stop()
    assert found[0].map is found[0].map and found[0].map.flags.c_contiguous
    found[0].map[3, 5] = 7.0
    assert found[0].map[3, 5] == 7.0


def test_pictures_are_taken_as_they_are_needed(model, pictures):
    detector = ckaad.Detector.load(model, "cpu", batch_size=4)
    taken = []

    def one_by_one():
        for i in range(10):
            taken.append(i)
            if i == 6:
                raise LookupError("enough")
            yield np.full((9, 9), 1.5) if i == 2 else pictures[i]

    # The first four are looked at before a fifth is asked for.
    with pytest.raises(ckaad.DataError, match="image 2"):
        detector.score(one_by_one())
    assert taken == [0, 1, 2, 3]


def test_a_name_that_is_not_utf_8(detector, model, pictures, tmp_path):
    odd = os.fsencode(tmp_path) + b"/odd \xff%.png"
    shutil.copyfile(pictures[0], odd)
    # However Python writes the path, the name leads to the file.
    for path in (os.fsdecode(odd), pathlib.Path(os.fsdecode(odd)), *ckaad.list_pictures(tmp_path)):
        found = detector.score(path)
        assert found.score == detector.score(pictures[0]).score and os.fsencode(found.name) == odd
        assert pickle.loads(pickle.dumps(found)).name == found.name
        assert "odd \ufffd%.png" in repr(found)
    line = scored("--model", model, tmp_path)[0]
    assert urllib.parse.unquote_to_bytes(line["path_bytes"]) == odd
    os.remove(odd)
    with pytest.raises(FileNotFoundError) as e:
        detector.score(os.fsdecode(odd))
    assert os.fsencode(e.value.filename) == odd


def test_warnings_are_told(detector):
    dark = np.full((64, 64), 900, np.uint16)
    assert "use 10 bits" in detector.score(dark).warnings[0]


def test_what_it_is(detector, tmp_path):
    assert (detector.image_size, detector.backbone, detector.layers, detector.method) == (
        SIZE,
        "resnet18",
        [1, 2],
        "ckaad",
    )
    assert detector.training["seed"] == 1 and detector.training["normal"] == 11
    assert "64 px" in repr(detector)
    path = tmp_path / "saved.safetensors"
    detector.save(path)
    with pytest.raises(ckaad.UsageError, match="already there"):
        detector.save(path)
    detector.save(path, overwrite=True)
    png = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(png, "PNG")
    assert ckaad.Detector.load(path).score(png.getvalue()).score == detector.score(png.getvalue()).score


def test_weights_of_8_bits(model, data, pictures, tmp_path):
    q = tmp_path / "q.safetensors"
    program("quantize", "--model", model, "--normal", data / "train/good", "--out", q, "--tolerance", "5%")
    scores = [s.score for s in ckaad.Detector.load(q, "cpu").score(pictures)]
    assert scores == [line["score"] for line in scored("--model", q, *pictures)]
    assert scores != [s.score for s in ckaad.Detector.load(q, "cpu", precision="f32").score(pictures)]
    with pytest.raises(ckaad.UsageError, match="^--precision int8: .*ckaad quantize"):
        ckaad.Detector.load(model, "cpu", precision="int8", batch_size=3)
