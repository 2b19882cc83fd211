#!/usr/bin/env python3
"""Times the distinct convolutions of a network one by one, as cuDNN runs them: bench/pytorch/conv.py --device cuda

One JSON object a shape and pass, to be set beside `ckaad bench kernels`. Channels-last, cudnn.benchmark; n, h, w, c is
the input and k the number of output channels, for transposed convolutions too. `uses` is how often the networks have
it. Passes: fwd, bwd_input, bwd_weight. On a GPU `--launches` launches in a row are captured as one graph and timed by
events, so no launch cost is in the time and inputs that fit stay in L2. tflops counts 2 operations a multiply-add.
"""
from __future__ import annotations

import argparse
import collections
import json
import statistics
import time

import model
import torch
from torch import nn


def shapes(backbone: str, layers: tuple[int, ...], size: int, batch: int) -> dict[tuple, int]:
    """(transposed, n, h, w, c, k, r, s, stride, pad) and how often; found by a pass without data."""
    found: dict[tuple, int] = collections.Counter()

    def note(m, inputs, _):
        n, c, h, w = inputs[0].shape
        transposed = isinstance(m, nn.ConvTranspose2d)
        found[(transposed, n, h, w, c, m.out_channels, *m.kernel_size, m.stride[0], m.padding[0])] += 1

    with torch.device("meta"):
        b = model.Backbone(backbone, layers)
        ae = model.AutoEncoder(backbone, b.channels)
        disc = model.PatchDiscriminator([c * b.expansion for c in b.channels])
        for m in (m for net in (b, ae, disc) for m in net.modules()):
            if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
                m.register_forward_hook(note)
        maps = b(torch.empty(batch, 3, size, size))
        ae(maps)
        disc(maps)
    return found


def seconds(work, device: torch.device, launches: int, rounds: int) -> float:
    """Median seconds of one call."""
    times = []
    for _ in range(3):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(launches):
                work()
        for _ in range(rounds + 3):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3 / launches)
        times = times[3:]
    else:
        for _ in range(rounds):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--backbone", default="resnet18")
    p.add_argument("--layers", default="2,3")
    p.add_argument("--image-size", type=int, default=256)
    p.add_argument("--batch-size", type=int, default=32)
    p.add_argument("--device", default="cuda")
    p.add_argument("--precision", default="bf16", choices=("f32", "tf32", "bf16", "f16"))
    p.add_argument("--passes", default="fwd,bwd_input,bwd_weight")
    p.add_argument("--launches", type=int, default=20)
    p.add_argument("--rounds", type=int, default=20)
    a = p.parse_args()
    device = torch.device(a.device)
    dtype = {"bf16": torch.bfloat16, "f16": torch.float16}.get(a.precision, torch.float32)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = a.precision == "tf32"
    label = f"cuda:{device.index or 0} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"
    layers = tuple(map(int, a.layers.split(",")))
    for shape, uses in shapes(a.backbone, layers, a.image_size, a.batch_size).items():
        transposed, n, h, w, c, k, r, s, stride, pad = shape
        x = torch.randn(n, c, h, w, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.randn((c, k, r, s) if transposed else (k, c, r, s), device=device) * 0.1
        weight = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        geometry = ([stride] * 2, [pad] * 2, [1, 1], transposed, [0, 0], 1)
        y = torch.ops.aten.convolution(x, weight, None, *geometry)
        pixels = h * w if transposed else y.shape[2] * y.shape[3]
        flop = 2 * n * pixels * c * k * r * s
        for which in a.passes.split(","):
            def work():
                if which == "fwd":
                    return torch.ops.aten.convolution(x, weight, None, *geometry)
                mask = [which == "bwd_input", which == "bwd_weight", False]
                return torch.ops.aten.convolution_backward(y, x, weight, None, *geometry, mask)

            line = {"implementation": "pytorch cudnn" if device.type == "cuda" else "pytorch cpu",
                    "work": "conv_transpose2d" if transposed else "conv2d", "pass": which, "backbone": a.backbone,
                    "device": label, "precision": a.precision, "n": n, "h": h, "w": w, "c": c, "k": k, "r": r, "s": s,
                    "stride": stride, "pad": pad, "uses": uses}
            try:
                median = seconds(work, device, a.launches, a.rounds)
                line |= {"median_s": median, "tflops": flop / median / 1e12}
            except RuntimeError as e:
                line["error"] = str(e).strip().splitlines()[0]
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
