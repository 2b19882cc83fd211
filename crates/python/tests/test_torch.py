"""Tensors of PyTorch itself have the numbers of the same pictures as arrays. Where it is not installed that is an
error, unless CKAAD_WITHOUT_TORCH=1 says that it is known."""

import os

import numpy as np
import pytest
from PIL import Image

import ckaad

try:
    import torch
except ImportError:
    if os.environ.get("CKAAD_WITHOUT_TORCH") != "1":
        raise RuntimeError("torch is not installed: install it (CPU is enough), or set CKAAD_WITHOUT_TORCH=1") from None
    pytest.skip("NOT TESTED WITH TORCH: it is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def detector(model):
    return ckaad.Detector.load(model, "cpu")


@pytest.fixture
def array(pictures):
    return np.array(Image.open(pictures[-1]))


def forms(array):
    """The picture with its channels first, and in the last place what is not contiguous."""
    bytes_ = torch.from_numpy(array).permute(2, 0, 1).contiguous()
    floats = bytes_.float() / 255
    wide = torch.zeros(3, 80, 2 * 96, dtype=torch.uint8)
    wide[:, :, ::2] = bytes_
    return {
        "uint8": bytes_,
        "uint16": torch.from_numpy(array.astype(np.uint16) * 257).permute(2, 0, 1).contiguous(),
        "float32": floats,
        "float64": floats.double(),
        "float16": floats.half(),
        "requires_grad": floats.clone().requires_grad_(),
        "of a graph": floats.clone().requires_grad_() * 1,
        "channels last": bytes_[None].contiguous(memory_format=torch.channels_last)[0],
        "permuted": torch.from_numpy(array).permute(2, 0, 1),
        "every other column": wide[:, :, ::2],
    }


def test_numbers_are_those_of_arrays(detector, pictures, array):
    expected = detector.score(array).score
    assert expected == detector.score(pictures[-1]).score
    for name, tensor in forms(array).items():
        assert detector.score(tensor).score == expected, name
        assert [found.score for found in detector.score([tensor, array])] == [expected] * 2, name
        several = detector.score(torch.stack([tensor, tensor]))
        assert [found.score for found in several] == [expected] * 2, name
    gray = torch.from_numpy(array[..., 0].copy())
    assert detector.score(gray).score == detector.score(gray[None]).score == detector.score(array[..., 0]).score
    assert detector.score(torch.zeros(0, 3, 80, 96)) == []


def test_training(detector, data, settings, pictures):
    train = [np.asarray(Image.open(p)) for p in sorted((data / "train/good").iterdir())]
    tensors = torch.from_numpy(np.stack(train)).permute(0, 3, 1, 2)
    scores = [
        ckaad.Detector.fit(n, device="cpu", **settings).score(pictures[0]).score
        for n in (train, tensors, list(tensors))
    ]
    assert scores[0] == scores[1] == scores[2]
    found = detector.evaluate(normal=tensors[:3], anomalous=tensors[3:5], scores=True)
    assert [one["score"] for one in found["scores"]] == [one.score for one in detector.score(train[:5])]


def test_a_map_becomes_a_tensor_without_a_copy(detector, array):
    found = detector.score(array)
    tensor = torch.from_numpy(found.map)
    assert tensor.data_ptr() == found.map.ctypes.data and tensor.dtype == torch.float32
    assert float(tensor.max()) == found.peak


@pytest.mark.parametrize(
    "wrong, error, text",
    [
        (lambda: torch.zeros(3, 8, 8, dtype=torch.int64), TypeError, "int64"),
        (lambda: torch.zeros(3, 8, 8, dtype=torch.bfloat16), TypeError, "numpy cannot hold: .*BFloat16"),
        (lambda: torch.zeros(3, 8, 8).to_sparse(), TypeError, "numpy cannot hold"),
        (lambda: torch.zeros(3, 8, 8, device="meta"), TypeError, "numpy cannot hold"),
        (lambda: torch.full((3, 8, 8), float("nan")), ckaad.DataError, "nan"),
        (lambda: torch.full((3, 8, 8), 255.0), ckaad.DataError, "0 to 1"),
        (lambda: torch.zeros(8, 8, 3, dtype=torch.uint8), ckaad.DataError, r"shape \(8, 3, 8\)"),
        (lambda: torch.zeros(3, 0, 8), ckaad.DataError, "no pixels"),
        (lambda: torch.zeros(()), ckaad.DataError, r"shape \(\)"),
    ],
)
def test_wrong_tensors(detector, array, wrong, error, text):
    for images in (wrong(), [wrong()]):
        with pytest.raises(error, match=f"image 0: .*{text}"):
            detector.score(images)
    assert detector.score(array).score > 0
