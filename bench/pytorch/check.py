#!/usr/bin/env python3
"""Checks model.py against golden outputs in f64: bench/pytorch/check.py [tests/golden]

For ResNet-18 and Wide-ResNet-50-2: anomaly maps and scores, as written and with the rewriting that bench.py uses
(folded batch norms, group norms), in f64 and f32; losses of the first training steps in f64. Exit code 1 if one is off.
"""
from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import model
import numpy as np
import torch
from torch import nn

# The map's matrices are rounded to f32 (6e-8) even for f64. In f32 the plain formulas, with interpolate and a blur in
# place of matrices, are off by 1.2e-5 for the Wide-ResNet at 64 px, whose smallest maps are 2x2: three times that is
# allowed.
LIMITS = {torch.float64: dict(resnet18_patch=1e-6, wide_resnet50_patch=1e-6),
          torch.float32: dict(resnet18_patch=1e-5, wide_resnet50_patch=4e-5)}


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a .safetensors file of f32 and f64."""
    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + n])
    meta = header.pop("__metadata__")
    out = {}
    for name, t in header.items():
        begin, end = (8 + n + o for o in t["data_offsets"])
        out[name] = torch.from_numpy(np.frombuffer(data[begin:end], {"F32": "<f4", "F64": "<f8"}[t["dtype"]]).copy())
        out[name] = out[name].view(t["shape"]).double()
    return out, meta


def pictures(tag: str, n: int, size: int) -> torch.Tensor:
    return (2 * model.uniform(f"input.{tag}", n * 3 * size * size)).view(n, 3, size, size)


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2] / "tests/golden")
    passed = True
    for file in ("resnet18_patch", "wide_resnet50_patch"):
        golden, meta = read(folder / f"{file}.safetensors")
        layers, size = tuple(map(int, meta["layers"].split(","))), int(meta["image_size"])
        x = pictures("normal", int(meta["normal"]), size)
        both = torch.cat([x, pictures("anomalous", int(meta["anomalous"]), size)])

        def report(what: str, dtype: torch.dtype, found: torch.Tensor, expected: torch.Tensor) -> bool:
            error = float((found.double() - expected).norm() / expected.norm())
            ok = error < LIMITS[dtype][file]
            print(f"{file}: {what}, {dtype}: {error:.1e} {'ok' if ok else f'is above {LIMITS[dtype][file]}'}")
            return ok

        for what, dtype in itertools.product(("as written", "rewritten"), (torch.float64, torch.float32)):
            backbone, ae, disc = (m.to(dtype) for m in model.build(meta["backbone"], layers))
            if what == "rewritten":
                model.fold_batch_norms(backbone)
                model.instance_norms_as_group_norms(ae)
                assert not any(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())
                assert not any(isinstance(m, nn.InstanceNorm2d) for m in ae.modules())
            with torch.no_grad():
                found = model.Scorer(nn.Identity(), backbone, ae, size).to(dtype)(x.to(dtype))
            passed &= report(f"map, {what}", dtype, found[0], golden["map.blurred"])
            passed &= report(f"score, {what}", dtype, found[1], golden["score.top100"])
            if (what, dtype) == ("as written", torch.float64):
                trainer = model.Trainer(nn.Identity(), backbone, ae, disc, len(x))
                losses = [trainer.step(both.to(dtype)) for _ in range(int(meta["steps"]))]
                for loss, key in zip(zip(*losses), ("d_loss", "loss")):
                    passed &= report(f"{key} of {len(loss)} steps", dtype, torch.stack(loss), golden[f"train.{key}"])
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
