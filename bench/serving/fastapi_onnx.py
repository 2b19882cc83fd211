"""The usual service that `ckaad serve` is measured beside: FastAPI, Pillow and ONNX Runtime or OpenVINO on what `ckaad export` wrote.

    uvicorn --app-dir bench/serving fastapi_onnx:app --port 8001 --log-level warning    # MODEL=m.onnx ENGINE=onnxruntime THREADS=2

POST /score takes the bytes of a picture and answers with score and verdict as JSON. As such services are written: the handler is a
plain function, so that FastAPI runs it in its pool of threads, one session computes on all cores, a picture at a time.
"""
import io
import os
import threading

import numpy as np
from fastapi import Body, FastAPI, HTTPException
from PIL import Image, UnidentifiedImageError

MODEL, ENGINE = os.environ["MODEL"], os.environ.get("ENGINE", "onnxruntime")
THREADS = int(os.environ.get("THREADS", os.cpu_count()))


def onnxruntime_session():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    meta, entry = session.get_modelmeta().custom_metadata_map, session.get_inputs()[0]
    return meta, entry.name, entry.shape, lambda x: session.run(["score"], {entry.name: x})[0]


def openvino_session():
    import openvino

    core = openvino.Core()
    model = core.read_model(MODEL)
    meta = {name: value.astype(str) for name, value in model.get_rt_info()["framework"].items()}
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(model, "CPU", hints)
    entry = compiled.input(0)
    shape = [d.get_length() if d.is_static else None for d in entry.partial_shape]
    own = threading.local()

    def run(x):
        # A request serves one picture at a time, and the handler runs on several threads.
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return own.request.infer(x)["score"]

    return meta, entry.any_name, shape, run


META, NAME, SHAPE, RUN = onnxruntime_session() if ENGINE == "onnxruntime" else openvino_session()
SIZE = int(META.get("image_size", 256))
THRESHOLD = float(META["threshold"]) if "threshold" in META else None
app = FastAPI()


@app.post("/score")
def score(body: bytes = Body(media_type="application/octet-stream")):
    try:
        picture = Image.open(io.BytesIO(body)).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError) as e:
        raise HTTPException(422, str(e)) from e
    value = float(np.ravel(RUN(np.asarray(picture)[None]))[0])
    return {"score": value, "anomalous": None if THRESHOLD is None else value >= THRESHOLD}
