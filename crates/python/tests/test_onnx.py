"""What `ckaad export` and its parts write, run by other engines: ONNX's own reference, ONNX Runtime and OpenVINO."""

import subprocess
import sys

import numpy as np
import pytest

import ckaad
from conftest import CKAAD, ROOT, SIZE, cloth, flags
from conftest import ckaad as command

if sys.version_info < (3, 11):
    pytest.skip("NOT TESTED WITH ONNX: requirements.txt has its engines for Python 3.11 or later", allow_module_level=True)

import onnx
import onnxruntime
import openvino
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import load_file

# Written by `cargo test --test onnx`.
CASES = sorted((CKAAD.parents[1] / "tmp/onnx").glob("*.onnx"))
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def by_reference(path, inputs):
    return ReferenceEvaluator(str(path)).run(None, inputs)


def by_onnxruntime(path, inputs):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, inputs)


def by_openvino(path, inputs):
    # It rounds to bfloat16 otherwise, where the processor can.
    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = model(inputs)
    return [found[output] for output in model.outputs]


ENGINES = [by_reference, by_onnxruntime, by_openvino]


def test_there_are_cases():
    assert len(CASES) > 100, "run `cargo test --release --test onnx` first"


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_every_op(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(s.domain, s.version) for s in model.opset_import] == [("", 17)]
    tensors = load_file(path.with_suffix(".safetensors"))
    inputs = {}
    for given in model.graph.input:
        values = tensors[given.name]
        if given.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
            inputs[given.name] = values.astype(np.uint8)
        else:
            inputs[given.name] = np.ascontiguousarray(np.moveaxis(values, -1, 1))
    expected = np.moveaxis(tensors["out"].astype(np.float64), -1, 1)
    # A mean of numbers of both signs is small beside them.
    size = np.abs(tensors["in0"]).mean() if path.stem.startswith("topk_mean") else np.linalg.norm(expected)
    for engine in ENGINES:
        [found] = engine(path, inputs)
        assert found.shape == expected.shape, engine.__name__
        # f32 sums of some thousand terms, against f64.
        assert np.linalg.norm(found - expected) <= 1e-5 * size, engine.__name__


# Names and flags of `ckaad train`; each has ops or settings that the others lack.
MODELS = {
    "instance norm": [],
    "batch norm": ["--strategy", "recon", "--norm", "batch"],
    "three layers, all of the map": ["--layers", "1,2,3", "--topk", "all", "--sigma", "0"],
    "bottlenecks": ["--backbone", "wide_resnet50_2", "--layers", "1,2,3"],
    "patchcore": ["--detector", "patchcore", "--coreset", "0.5"],
    "patchcore, one neighbour": ["--detector", "patchcore", "--coreset", "0.5", "--neighbours", "1"],
}


@pytest.fixture(scope="module", params=MODELS, ids=lambda name: name.replace(" ", "_"))
def trained(request, data, settings, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "m.safetensors"
    given = MODELS[request.param]
    own = {k: v for k, v in settings.items() if "--" + k.replace("_", "-") not in given}
    if "patchcore" in given:
        own = {k: v for k, v in own.items() if k not in ("strategy", "epochs")}
    command("train", "--device", "cpu", "--normal", data / "train/good", "--out", path, *flags(own), *given)
    return path


@pytest.fixture(scope="module")
def squares():
    """Pictures of the networks' size, which nothing resizes."""
    return np.stack([cloth(seed, hole=seed > 1)[:SIZE, :SIZE] for seed in range(4)])


def expect_close(found, expected):
    scores, maps = [f.score for f in expected], np.stack([f.map for f in expected])
    assert found["score"].shape == (len(expected),) and found["map"].shape == maps.shape
    np.testing.assert_allclose(found["score"], scores, rtol=1e-4)
    np.testing.assert_allclose(found["map"], maps, atol=1e-4 * np.abs(maps).max())


@pytest.mark.parametrize("engine", [by_onnxruntime, by_openvino])
def test_scores_and_maps(trained, squares, tmp_path, engine):
    expected = ckaad.Detector.load(trained, "cpu", batch_size=4).score(squares)
    out = tmp_path / "m.onnx"
    command("export", "--format", "onnx", "--model", trained, "--out", out)
    onnx.checker.check_model(onnx.load(out), full_check=True)
    for n in (1, 4):
        found = engine(out, {"pixels": squares[:n]})
        expect_close(dict(zip(["score", "map"], found)), expected[:n])


def test_normalized_pictures_of_a_fixed_batch(model, squares, tmp_path):
    out = tmp_path / "m.onnx"
    command("export", "--model", model, "--input", "normalized", "--batch-size", 4, "--out", out)
    expected = ckaad.Detector.load(model, "cpu").score(squares)
    given = ((squares / 255.0 - MEAN) / STD).astype(np.float32)
    given = np.ascontiguousarray(np.moveaxis(given, -1, 1))
    for engine in (by_onnxruntime, by_openvino):
        expect_close(dict(zip(["score", "map"], engine(out, {"input": given}))), expected)
    with pytest.raises(Exception, match="(?i)dimension|shape"):
        by_onnxruntime(out, {"input": given[:3]})


def test_the_example(model, pictures, tmp_path):
    """It resizes as the package does, and takes the threshold from the file."""
    out, example = tmp_path / "m.onnx", ROOT / "crates/python/examples/onnx_runtime.py"
    command("export", "--model", model, "--out", out)
    arguments = [str(a) for a in [example, out, *pictures, "--against", model]]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    detector = ckaad.Detector.load(model, "cpu")
    verdicts = ["anomalous" if found.anomalous else "normal" for found in detector.score(pictures)]
    assert [line.split()[1] for line in lines] == verdicts
    scores, maps = (float(part.split()[1]) for part in last.split(": ")[1].split(", "))
    assert scores <= 1e-4 and maps <= 1e-4


def test_what_the_graph_does_not_hold(model, tmp_path):
    out = tmp_path / "m.onnx"
    command("export", "--model", model, "--out", out)
    exported, detector = onnx.load(out), ckaad.Detector.load(model, "cpu")
    told = {p.key: p.value for p in exported.metadata_props}
    assert float(told["threshold"]) == detector.threshold.value
    assert float(told["pixel_threshold"]) == detector.threshold.pixel
    assert told["image_size"] == str(SIZE) and told["detector"] == "ckaad"
    assert [float(x) for x in told["mean"].split(",")] == MEAN and [float(x) for x in told["std"].split(",")] == STD
    assert exported.producer_name == "ckaad" and exported.producer_version == ckaad.__version__
