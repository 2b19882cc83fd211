"""The Open Inference Protocol, spoken by NVIDIA's client."""

import json

import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image
from tritonclient.utils import InferenceServerException


@pytest.fixture
def client(server):
    client = triton.InferenceServerClient(server.address)
    yield client
    client.close()


def samples(pictures):
    return np.stack([np.asarray(Image.open(p).convert("RGB")) for p in pictures])


def tensor(name, values, datatype, binary=True):
    given = triton.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    return given


def files(pictures):
    return tensor("image", np.array([p.read_bytes() for p in pictures], dtype=object), "BYTES")


def scores(expected, pictures):
    return np.array([expected[p.name]["score"] for p in pictures])


def test_what_there_is(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("part") and client.is_model_ready("part", "1")
    assert not client.is_model_ready("nothing") and not client.is_model_ready("part", "2")
    assert client.get_server_metadata()["name"] == "ckaad"
    metadata = client.get_model_metadata("part")
    assert {i["name"]: i["datatype"] for i in metadata["inputs"]} == {"image": "BYTES", "pixels": "UINT8"}
    outputs = {o["name"]: o["datatype"] for o in metadata["outputs"]}
    assert outputs["score"] == "FP64" and outputs["anomalous"] == "BOOL" and outputs["map"] == "FP32"
    assert [m["name"] for m in client.get_model_repository_index()] == ["other", "part"]


def test_files_one_by_one_have_the_same_bits(client, pictures, expected):
    for picture in pictures:
        answer = client.infer("part", [files([picture])], request_id="7")
        said = expected[picture.name]
        assert answer.get_response()["id"] == "7"
        assert answer.as_numpy("score").tolist() == [said["score"]]
        assert answer.as_numpy("score_normalized").tolist() == [said["score_normalized"]]
        assert answer.as_numpy("anomalous").tolist() == [said["anomalous"]]


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_many_files_in_one_request(client, pictures, expected, compression):
    """More than one pass holds; in another batch products are summed in another order."""
    many = pictures * 4
    answer = client.infer(
        "part", [files(many)], request_compression_algorithm=compression, response_compression_algorithm=compression
    )
    np.testing.assert_allclose(answer.as_numpy("score"), scores(expected, many), rtol=1e-5)
    assert answer.as_numpy("anomalous").tolist() == [expected[p.name]["anomalous"] for p in many]


@pytest.mark.parametrize("binary", [True, False])
def test_samples_in_every_type(client, pictures, expected, binary):
    first = pictures[:1]
    bytes8 = samples(first)
    for values, datatype in [
        (bytes8, "UINT8"),
        (bytes8.astype(np.uint16) * 257, "UINT16"),
        (bytes8.astype(np.float32) / 255, "FP32"),
    ]:
        answer = client.infer("part", [tensor("pixels", values, datatype, binary)])
        assert answer.as_numpy("score").tolist() == [expected[first[0].name]["score"]], datatype
    gray = bytes8[..., :1]
    as_colour = client.infer("part", [tensor("pixels", np.repeat(gray, 3, axis=3), "UINT8", binary)])
    answer = client.infer("part", [tensor("pixels", gray, "UINT8", binary)])
    assert answer.as_numpy("score").tolist() == as_colour.as_numpy("score").tolist()


@pytest.mark.parametrize("binary", [True, False])
def test_outputs_that_are_asked_for(client, pictures, expected, binary):
    asked = [triton.InferRequestedOutput(name, binary_data=binary) for name in ["regions", "map", "score"]]
    bad = [p for p in pictures if p.name.startswith("bad")]
    answer = client.infer("part", [files(bad[:1])], outputs=asked)
    assert [o["name"] for o in answer.get_response()["outputs"]] == ["regions", "map", "score"]
    said = expected[bad[0].name]
    regions = answer.as_numpy("regions")[0]
    assert json.loads(regions) == said["regions"] and said["regions"]
    found = answer.as_numpy("map")
    assert found.dtype == np.float32 and found.ndim == 3 and len(found) == 1
    assert float(found.max()) == pytest.approx(said["regions"][0]["peak"], rel=1e-7)
    assert answer.as_numpy("anomalous") is None


@pytest.mark.parametrize(
    "inputs, words",
    [
        (lambda p: [tensor("pixels", np.full((1, 8, 8, 3), np.nan, np.float32), "FP32")], ["pixels", "NaN", "0 to 1"]),
        (lambda p: [tensor("pixels", np.full((1, 8, 8, 3), 2, np.float32), "FP32")], ["pixels", "holds 2", "0 to 1"]),
        (lambda p: [tensor("pixels", np.zeros((1, 3, 8, 8), np.uint8), "UINT8")], ["NCHW", "NHWC"]),
        (lambda p: [tensor("pixels", np.zeros((8, 8, 3), np.uint8), "UINT8")], ["[8, 8, 3]", "[pictures, height"]),
        (lambda p: [tensor("pixels", np.zeros((1, 8, 8, 3), np.int32), "INT32")], ["INT32", "UINT8"]),
        (lambda p: [tensor("pixels", np.zeros((0, 8, 8, 3), np.uint8), "UINT8")], ["pixels", "empty batch"]),
        (lambda p: [tensor("image", np.array([b"no picture"], dtype=object), "BYTES")], ["image", "not a picture"]),
        (lambda p: [tensor("image", np.array([p.read_bytes()[:400]], dtype=object), "BYTES")], ["image", "damaged"]),
        (lambda p: [tensor("x", np.zeros((1, 8, 8, 3), np.uint8), "UINT8")], ["expected one input", '"x"']),
        (lambda p: [files([p]), tensor("pixels", np.zeros((1, 8, 8, 3), np.uint8), "UINT8")], ["expected one input"]),
    ],
)
def test_what_cannot_be_scored(client, pictures, expected, inputs, words):
    with pytest.raises(InferenceServerException) as raised:
        client.infer("part", inputs(pictures[0]))
    assert raised.value.status().startswith("4"), raised.value
    for word in words:
        assert word in raised.value.message(), raised.value
    # The next one is answered.
    answer = client.infer("part", [files(pictures[:1])])
    assert answer.as_numpy("score").tolist() == [expected[pictures[0].name]["score"]]


def test_unknown_names(client, pictures):
    for model, version, outputs, word in [
        ("nothing", "", None, "expected one of other, part"),
        ("part", "2", None, "version"),
        ("part", "", [triton.InferRequestedOutput("nothing")], "this model has score"),
    ]:
        with pytest.raises(InferenceServerException, match=word):
            client.infer(model, [files(pictures[:1])], model_version=version, outputs=outputs)


def test_models_come_and_go(client, pictures):
    client.unload_model("other")
    assert not client.is_model_ready("other") and client.is_model_ready("part")
    states = {m["name"]: m["state"] for m in client.get_model_repository_index()}
    assert states == {"other": "UNAVAILABLE", "part": "READY"}
    with pytest.raises(InferenceServerException, match="other"):
        client.infer("other", [files(pictures[:1])])
    client.load_model("other")
    assert client.is_model_ready("other")
    client.infer("other", [files(pictures[:1])])
    for name in ["nothing", "../part", "%2e%2e%2fpart"]:
        with pytest.raises(InferenceServerException):
            client.load_model(name)


def test_many_clients_at_once(server, pictures, expected):
    client = triton.InferenceServerClient(server.address, concurrency=16)
    requests = [(p, client.async_infer("part", [files([p])])) for p in pictures * 8]
    for picture, request in requests:
        score = request.get_result().as_numpy("score")
        np.testing.assert_allclose(score, [expected[picture.name]["score"]], rtol=1e-5)
    client.close()
