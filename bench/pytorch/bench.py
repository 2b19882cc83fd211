#!/usr/bin/env python3
"""Times scoring or the training step in PyTorch, one JSON object a variant: bench/pytorch/bench.py score --device cuda

A repetition starts with pictures as bytes in host memory (pinned for a GPU) and ends with the results there: copy in,
normalise, networks, map, score, copy out, wait. Training: bytes in, one step of both networks, both losses out; a batch
size of 16 means 16 normal and 16 anomalous pictures. Random pixels, reproducible random parameters.

Every line carries `difference`, relative to eager f32 on the same machine: of the map (Euclidean norm), or of the
auto-encoder's loss after a few steps. A variant that fails gives a line with `error` and the others go on.
`--variants` takes names as in `implementation`, separated by commas, or `all`; `--list` prints them.
"""
from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from pathlib import Path

from variants import Variant, variants

sys.path.append(str(Path(__file__).resolve().parent.parent))
from lines import seconds, summary  # noqa: E402

# Repetitions before the clock starts, beside those before a comparison; the number of the one that is compared.
WARM_UP = {"cuda": 20, "cpu": 3}
COMPARED_STEP = 5


def parse() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("work", choices=("score", "train"))
    p.add_argument("--backbone", default="resnet18")
    p.add_argument("--layers", default="2,3")
    p.add_argument("--image-size", type=int, default=256)
    p.add_argument("--batch-size", type=int, default=1)
    p.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    p.add_argument("--precision", default="f32", choices=("f32", "tf32", "bf16", "f16"))
    p.add_argument("--threads", type=int)
    p.add_argument("--variants", default="all")
    p.add_argument("--seconds", type=float, default=3.0, help="measure at least so long")
    p.add_argument("--repetitions", type=int, default=10, help="and at least so often")
    p.add_argument("--list", action="store_true")
    a = p.parse_args()
    a.layers = [int(n) for n in a.layers.split(",")]
    if a.work == "train" and a.precision == "f16":
        p.error("training in f16 needs loss scaling, which is not written here: use bf16")
    if a.precision == "tf32" and not a.device.startswith("cuda"):
        p.error("tf32 is of GPUs: use f32")
    return a


class Bench:
    """The networks and pictures of one case; builds each variant from copies of them."""

    def __init__(self, a: argparse.Namespace):
        import model
        import torch

        self.a, self.torch, self.model = a, torch, model
        if a.threads:
            torch.set_num_threads(a.threads)
        self.kind = torch.device(a.device).type
        if self.kind == "cuda" and not torch.cuda.is_available():
            sys.exit(f"--device {a.device}: PyTorch {torch.__version__} finds no usable GPU")
        self.nets = model.build(a.backbone, tuple(a.layers))
        n = a.batch_size * (2 if a.work == "train" else 1)
        u = model.uniform("bench.pixels", n * a.image_size**2 * 3)
        self.host = ((u + 1) * 127.5).round().to(torch.uint8).view(n, a.image_size, a.image_size, 3)
        if self.kind == "cuda":
            self.host = self.host.pin_memory()
        self.expected = self.run(Variant("contiguous", fold=False), "f32", None)[0]

    def usable(self) -> bool:
        """Whether the device still works: some errors break a CUDA context for good."""
        try:
            self.torch.zeros(1, device=self.a.device).item()
            return True
        except RuntimeError:
            return False

    def label(self) -> str:
        if self.kind == "cpu":
            return "cpu"
        device = self.torch.device(self.a.device)
        return f"cuda:{device.index or 0} ({self.torch.cuda.get_device_name(device)})"

    def work(self, v: Variant, precision: str):
        """A function from pictures on the device to two results there."""
        torch, model, a = self.torch, self.model, self.a
        layout = torch.channels_last if v.layout == "channels_last" else torch.contiguous_format
        half = {"bf16": torch.bfloat16, "f16": torch.float16}.get(precision)
        backbone, ae, disc = (copy.deepcopy(m) for m in self.nets)
        if v.fold:
            model.fold_batch_norms(backbone)
        if v.group_norm:
            model.instance_norms_as_group_norms(ae)
        dtype = half if v.convert and half else torch.float32
        backbone, ae, disc = (m.to(a.device, dtype, memory_format=layout) for m in (backbone, ae, disc))
        normalise = model.Normalise(layout, dtype).to(a.device)
        options = {"dynamic": False} | ({"mode": v.compile} if v.compile not in ("", "default", "freezing") else {})
        torch._inductor.config.freezing = v.compile == "freezing"
        cast = None if v.convert else half
        if a.work == "train":
            if v.compile:
                backbone, ae, disc = (torch.compile(m, **options) for m in (backbone, ae, disc))
            adam = {"fused": True, "capturable": self.kind == "cuda"} if v.fold else {}
            return model.Trainer(normalise, backbone, ae, disc, a.batch_size, cast, **adam).step
        scorer = model.Scorer(normalise, backbone, ae, a.image_size, cast=cast).to(a.device).eval()
        if v.jit:
            scorer = torch.jit.trace(scorer, self.host.to(a.device), check_trace=False)
            scorer = torch.jit.optimize_for_inference(torch.jit.freeze(scorer))
        return torch.compile(scorer, **options) if v.compile else scorer

    def repetition(self, v: Variant, precision: str):
        """A function that does one repetition and returns its results in host memory."""
        torch = self.torch
        run = self.work(v, precision)
        if self.kind == "cpu":
            return lambda: run(self.host)
        out: list = []

        def all_of_it():
            if v.compile in ("reduce-overhead", "max-autotune"):
                torch.compiler.cudagraph_mark_step_begin()
            results = run(self.host.to(self.a.device, non_blocking=True))
            if not out:
                out.extend(torch.empty(r.shape, dtype=r.dtype, pin_memory=True) for r in results)
            for host, r in zip(out, results):
                host.copy_(r, non_blocking=True)

        def once():
            all_of_it()
            torch.cuda.synchronize()
            return out

        if not v.graph:
            return once
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(COMPARED_STEP - 1):
                all_of_it()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            all_of_it()

        def replay():
            graph.replay()
            torch.cuda.synchronize()
            return out

        return replay

    def run(self, v: Variant, precision: str, limits: tuple[float, int] | None):
        """Results to compare, and the times of repetitions within the limits."""
        torch = self.torch
        torch.backends.cudnn.benchmark = v.fold
        torch.backends.cudnn.allow_tf32 = precision != "f32"
        torch.backends.cuda.matmul.allow_tf32 = precision != "f32"
        # Inference mode costs an eager network least; compiled code gains nothing by it, CUDA graph trees dislike it.
        scoring = torch.no_grad if v.compile else torch.inference_mode
        with scoring() if self.a.work == "score" else torch.enable_grad():
            once = self.repetition(v, precision)
            # Before a capture, which runs nothing itself, the other steps have been done.
            for _ in range(1 if v.graph else COMPARED_STEP):
                result = [r.double().clone() for r in once()]
            result = result[1] if self.a.work == "train" else result[0]
            if limits is None:
                return result, []
            for _ in range(WARM_UP[self.kind]):
                once()
            times: list[float] = []
            began = time.perf_counter()
            while len(times) < limits[1] or time.perf_counter() - began < limits[0]:
                start = time.perf_counter()
                once()
                times.append(time.perf_counter() - start)
        return result, times

    def line(self, name: str, v: Variant) -> dict:
        a, torch = self.a, self.torch
        line = {"implementation": f"pytorch {name}", "work": a.work, "backbone": a.backbone, "layers": a.layers,
                "image_size": a.image_size, "batch_size": a.batch_size, "device": self.label(),
                "precision": a.precision, "threads": torch.get_num_threads(), "version": torch.__version__}
        try:
            result, times = self.run(v, a.precision, (a.seconds, a.repetitions))
        except Exception as e:  # a variant that this PyTorch or this machine cannot run is a finding, not an end
            line["error"] = f"{type(e).__name__}: {(str(e).strip().splitlines() or [''])[0]}"
            return line
        finally:
            torch._dynamo.reset()
            if self.kind == "cuda":
                torch.cuda.empty_cache()
        line |= summary(times)
        difference = float((result - self.expected).norm() / self.expected.norm())
        line |= {"images_per_s": len(self.host) / seconds(line),
                 "difference": difference if math.isfinite(difference) else None}
        return line


def main():
    a = parse()
    chosen = variants(a.work, a.device, a.precision)
    if a.variants != "all":
        names = [name.removeprefix("pytorch ") for name in a.variants.split(",")]
        unknown = [name for name in names if name not in chosen]
        if unknown:
            sys.exit(f"unknown variant {unknown[0]!r}; known: {', '.join(chosen)}")
        chosen = {name: chosen[name] for name in names}
    if a.list:
        print("\n".join(chosen))
        return
    bench = Bench(a)
    for name, v in chosen.items():
        line = bench.line(name, v)
        print(json.dumps(line), flush=True)
        if "error" in line and not bench.usable():
            sys.exit("the failed variant left the device unusable: run the remaining ones again")


if __name__ == "__main__":
    main()
