#!/usr/bin/env python3
"""Times scoring by OpenVINO and ONNX Runtime, one JSON object a variant, on what `ckaad export --batch-size N` wrote:

    bench/openvino/bench.py --onnx m.onnx --precision int8 --threads 2 --normal pictures --expected scores.jsonl

A repetition starts with pictures as bytes in host memory and ends with map and score as numpy arrays. Of the throughput
hint several requests are in flight, as many as OpenVINO thinks best; a repetition is then that many batches, and its time
is that of one. int8 is post-training quantisation of the same file with the pictures of --normal: by NNCF with its
defaults, but for the error map and what follows, which keep their numbers (with them NNCF's maps are off by 10 %), and by
ONNX Runtime's quantize_static, of convolutions only. Both are written beside the file, and read from there if they are
there. "int8-bf16" computes in bf16 what has no 8 bits, which is what OpenVINO does where it is not told otherwise.

--expected is what `ckaad score --format json --maps DIR` said of some pictures. Every line carries `difference`, of their
maps (Euclidean norm, relative), and `score_difference`, the median of the relative differences of their scores.
"""
from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parent.parent))
from engines import ENGINES, Engine  # noqa: E402
from lines import seconds, summary  # noqa: E402

PACKAGES = ("nncf", "numpy", "onnx", "onnxruntime", "openvino", "pillow")
# Repetitions before the clock starts.
WARM_UP = 3
# What becomes of the last features: what the 8 bits of NNCF leave alone.
ERROR_MAP = ".*(cosine_map|anomaly_map|topk_mean).*"


def parse() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--onnx", type=Path, required=True)
    p.add_argument("--normal", type=Path, required=True, help="folder of pictures to quantise with")
    p.add_argument("--expected", type=Path, required=True, help="lines of path, map and score, as ckaad writes them")
    p.add_argument("--precision", choices=("f32", "bf16", "int8"), required=True)
    p.add_argument("--threads", type=int, required=True)
    p.add_argument("--variants", default="all")
    p.add_argument("--seconds", type=float, default=3.0, help="measure at least so long")
    p.add_argument("--repetitions", type=int, default=10, help="and at least so often")
    return p.parse_args()


class OpenVino:
    def __init__(self, model, engine: Engine, threads: int):
        import openvino

        config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": engine.hint,
                  "INFERENCE_PRECISION_HINT": engine.rest}
        self.compiled = openvino.Core().compile_model(model, "CPU", config)
        found = self.compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if found != engine.rest:
            raise RuntimeError(f"this processor computes in {found}")
        self.request = self.compiled.create_infer_request()
        self.queue = openvino.AsyncInferQueue(self.compiled) if engine.hint == "THROUGHPUT" else None
        self.in_flight = len(self.queue) if self.queue else 1

    def score(self, pixels):
        out = self.request.infer([pixels], share_inputs=True)
        return out["score"], out["map"]

    def times(self, pixels, least_s: float, repetitions: int) -> list[float]:
        if not self.queue:
            return one_by_one(lambda: self.score(pixels), least_s, repetitions)
        ends: list[float] = []

        def ended(request, _):
            self.last = [request.get_tensor(name).data.copy() for name in ("score", "map")]
            ends.append(time.perf_counter())

        self.queue.set_callback(ended)
        n, began = self.in_flight, None
        while began is None or len(ends) <= (WARM_UP + repetitions) * n or time.perf_counter() - began < least_s:
            self.queue.start_async([pixels], share_inputs=True)
            if began is None and len(ends) > WARM_UP * n:
                began = time.perf_counter()
        self.queue.wait_all()
        marks = ends[WARM_UP * n::n]
        return [(end - start) / n for start, end in zip(marks, marks[1:])]


class OnnxRuntime:
    in_flight = 1

    def __init__(self, model: Path, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def score(self, pixels):
        return self.session.run(["score", "map"], {"pixels": pixels})

    def times(self, pixels, least_s: float, repetitions: int) -> list[float]:
        return one_by_one(lambda: self.score(pixels), least_s, repetitions)


def one_by_one(once, least_s: float, repetitions: int) -> list[float]:
    for _ in range(WARM_UP):
        once()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < repetitions or time.perf_counter() - began < least_s:
        start = time.perf_counter()
        once()
        times.append(time.perf_counter() - start)
    return times


class Bench:
    """The file, the pictures and what is expected of them."""

    def __init__(self, a: argparse.Namespace):
        import onnx

        self.a = a
        model = onnx.load(str(a.onnx))
        dims = model.graph.input[0].type.tensor_type.shape.dim
        self.batch, self.size = dims[0].dim_value, dims[1].dim_value
        if model.graph.input[0].name != "pixels" or self.batch == 0:
            sys.exit(f"{a.onnx}: expected an export with --batch-size and the input `pixels`")
        told = [json.loads(text) for text in a.expected.read_text().splitlines()]
        self.scores = np.array([line["score"] for line in told])
        self.maps = np.stack([np.load(line["map"]) for line in told])
        self.pictures = self.batches([line["path"] for line in told])
        if len(self.pictures) * self.batch != len(told):
            sys.exit(f"{a.expected}: {len(told)} pictures, not a multiple of the batch size {self.batch}")

    def batches(self, paths) -> list[np.ndarray]:
        """Whole batches of pictures, resized as ckaad does it."""
        side = (self.size, self.size)
        pixels = [np.asarray(Image.open(p).convert("RGB").resize(side, Image.Resampling.BILINEAR)) for p in paths]
        return [np.stack(pixels[i:i + self.batch]) for i in range(0, len(pixels) - self.batch + 1, self.batch)]

    @cached_property
    def normal(self) -> list[np.ndarray]:
        return self.batches(sorted(p for p in self.a.normal.iterdir() if p.is_file()))

    def nncf(self) -> Path:
        file = self.a.onnx.with_suffix(".nncf.xml")
        if not file.exists():
            import nncf
            import openvino

            nncf.set_log_level(logging.ERROR)
            quantised = nncf.quantize(
                openvino.Core().read_model(self.a.onnx), nncf.Dataset(self.normal, lambda b: {"pixels": b}),
                subset_size=len(self.normal), ignored_scope=nncf.IgnoredScope(patterns=[ERROR_MAP], validate=False))
            openvino.save_model(quantised, file, compress_to_fp16=False)
        return file

    def qdq(self) -> Path:
        file = self.a.onnx.with_suffix(".qdq.onnx")
        if not file.exists():
            from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
            from onnxruntime.quantization.shape_inference import quant_pre_process

            class Reader(CalibrationDataReader):
                left = iter(self.normal)

                def get_next(self):
                    return next(({"pixels": b} for b in self.left), None)

            folded = self.a.onnx.with_suffix(".folded.onnx")
            quant_pre_process(str(self.a.onnx), str(folded), skip_symbolic_shape=True)
            # Bytes without a sign are the form that ONNX Runtime has fast kernels for.
            quantize_static(str(folded), str(file), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=["Conv"])
            folded.unlink()
        return file

    def build(self, engine: Engine):
        if engine.package == "openvino":
            return OpenVino(self.nncf() if engine.precision == "int8" else self.a.onnx, engine, self.a.threads)
        return OnnxRuntime(self.qdq() if engine.precision == "int8" else self.a.onnx, self.a.threads)

    def line(self, name: str, engine: Engine) -> dict:
        a = self.a
        line = {"implementation": name, "work": "score", "image_size": self.size, "batch_size": self.batch, "device": "cpu",
                "precision": engine.precision, "threads": a.threads, "version": version(engine.package),
                "packages": {p: version(p) for p in PACKAGES}}
        try:
            run = self.build(engine)
            found = [[r.copy() for r in run.score(batch)] for batch in self.pictures]
            times = run.times(self.pictures[0], a.seconds, a.repetitions)
        except Exception as e:  # a variant that this machine cannot run is a finding, not an end
            line["error"] = f"{type(e).__name__}: {(str(e).strip().splitlines() or [''])[0]}"
            return line
        scores, maps = (np.concatenate(parts).astype(np.float64) for parts in zip(*found))
        line |= summary(times)
        difference = float(np.linalg.norm(maps - self.maps) / np.linalg.norm(self.maps))
        line |= {"in_flight": run.in_flight, "images_per_s": self.batch / seconds(line),
                 "difference": difference if math.isfinite(difference) else None,
                 "score_difference": float(np.median(np.abs(scores / self.scores - 1)))}
        return line


def main():
    a = parse()
    chosen = {name: e for name, e in ENGINES.items() if e.precision == a.precision}
    if a.variants != "all":
        names = a.variants.split(",")
        unknown = [name for name in names if name not in chosen]
        if unknown:
            sys.exit(f"unknown variant {unknown[0]!r}; known: {', '.join(chosen)}")
        chosen = {name: chosen[name] for name in names}
    bench = Bench(a)
    for name, engine in chosen.items():
        print(json.dumps(bench.line(name, engine)), flush=True)


if __name__ == "__main__":
    main()
