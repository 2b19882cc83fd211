"""Writes strategy_*.safetensors beside this script: training steps of the strategies and norms that the reference's own golden
files do not have, in float64 by PyTorch.

    pip install torch numpy safetensors && python tests/golden/strategies.py REFERENCE      # the folder of ckaad_torch.py

Networks, inputs and parameters are the reference's, generated from names; a batch norm is `nn.BatchNorm2d` in the place of the
auto-encoder's instance norms, and normal and anomalous pictures are two batches to it, the normal ones first. Gradients are
those of the first step, before any clipping.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

sys.path.insert(0, sys.argv[1])
import ckaad_torch as R
from losses import step

SIZE, LAYERS, NORMAL, ANOMALOUS, STEPS, SUB = 64, (2, 3), 3, 2, 3, 0.1


def images(tag, n):
    return (2 * R.uniform(f"input.{tag}", n * 3 * SIZE * SIZE)).view(n, 3, SIZE, SIZE).double()


def case(strategy, norm):
    if norm == "batch":
        R.norm2d = nn.BatchNorm2d
    else:
        R.norm2d = lambda c: nn.InstanceNorm2d(c, affine=True)
    image_level = strategy in ("gan", "ckaimg")
    b, ae, d = (m.double() for m in R.build("resnet18", LAYERS, SIZE, image_level))
    b.eval(), ae.train()
    opt_ae = torch.optim.Adam(ae.parameters(), lr=1e-3, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(d.parameters(), lr=1e-4, betas=(0.5, 0.999))
    real, bad = b(images("normal", NORMAL)), b(images("anomalous", ANOMALOUS))
    out = {}
    ae.eval()
    with torch.no_grad():
        maps = ae(real)
        out["map.raw"] = R.anomaly_maps(real, maps, SIZE, sigma=0)
    ae.train()

    def keep(tag, m):
        for name, p in m.named_parameters():
            out[f"grad_norm.{tag}.{name}"] = p.grad.norm()
            out[f"grad_head.{tag}.{name}"] = p.grad.flatten()[:16].clone()

    logs = []
    for n in range(STEPS):
        recon = ae(real)
        recon_bad = ae(bad) if strategy != "recon" else None
        if n == 0:
            for layer, r in zip(LAYERS, recon):
                out[f"recon.layer{layer}"] = r.detach()

        def update(d_loss):
            opt_d.zero_grad()
            d_loss.backward()
            if n == 0:
                keep("discriminator", d)
            nn.utils.clip_grad_norm_(d.parameters(), 1.0)
            opt_d.step()

        losses = step(strategy, d, real, bad, recon, recon_bad, update, SUB)
        opt_ae.zero_grad()
        losses["loss"].backward()
        if n == 0:
            keep("ae", ae)
        opt_ae.step()
        logs.append({k: float(v.detach()) for k, v in losses.items()})
    for k in logs[0]:
        out[f"train.{k}"] = torch.tensor([l[k] for l in logs], dtype=torch.float64)
    nets = [("ae", ae)] + ([] if strategy in ("recon", "reconsub") else [("discriminator", d)])
    for tag, m in nets:
        for name, p in list(m.named_parameters()) + [(n, p) for n, p in m.named_buffers() if p.is_floating_point()]:
            p = p.detach()
            out[f"after.{tag}.{name}"] = torch.stack([p.norm(), p.mean(), p.flatten()[0]])
    meta = dict(backbone="resnet18", layers="2,3", image_size=str(SIZE), normal=str(NORMAL), anomalous=str(ANOMALOUS), steps=str(STEPS),
                strategy=strategy, norm=norm, sub=str(SUB))
    file = Path(__file__).parent / f"strategy_{strategy}_{norm}.safetensors"
    save_file({k: (v.float() if v.numel() > 4096 else v).detach().contiguous() for k, v in out.items()}, file, metadata=meta)
    print(file.name, logs[-1], file.stat().st_size // 1024, "KiB")


for strategy, norm in [("reconsub", "instance"), ("gan", "instance"), ("recon", "batch"), ("gan", "batch"), ("ckapatch", "batch")]:
    case(strategy, norm)
