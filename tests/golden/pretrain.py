"""Writes pretrain.safetensors beside this script: training a backbone from scratch by classification, in float64 by PyTorch.

    pip install torch numpy safetensors && python tests/golden/pretrain.py

What `ckaad pretrain` records, on bytes of 32 pixels: a ResNet-18 up to layer2; linear heads, one on the means of the last layer or, dense,
one on every position of layers 1 and 2; the mean of the heads' cross-entropies with smoothing, weight decay of convolutions and heads,
warm-up and half a cosine. Parameters, pictures and labels are functions of their names, as in the other golden files. Of every tensor
after the last step its norm, mean and first value are kept.
"""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

SIZE, BATCH, CLASSES, STEPS, WARMUP, TOTAL = 32, 6, 12, 6, 2, 6
SMOOTHING, DECAY, LR, ADAM_LR, MOMENTUM, BETAS = 0.1, 1e-4, 0.05, 1e-3, 0.9, (0.9, 0.999)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def uniform(name, n):
    """n numbers in [-1, 1): splitmix64 of (FNV-1a of the name) + index, top 24 bits."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        x = np.arange(n, dtype=np.uint64) + np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)


def fill(name, shape):
    """A tensor's first values, rounded to f32: weights of a size that keeps activations, scales about 1, the rest about 0."""
    u = uniform(name, math.prod(shape))
    if len(shape) > 1:
        u = u * np.float32(math.sqrt(3 / (math.prod(shape) // shape[0])))
    elif name.endswith("weight") or name.endswith("running_var"):
        u = np.float32(1) + np.float32(0.2) * u
    else:
        u = np.float32(0.1) * u
    return torch.from_numpy(u).view(shape).double()


class Block(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
        self.layer2 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        one = self.layer1(x)
        return one, self.layer2(one)


def factor(i):
    if i < WARMUP:
        return (i + 1) / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (i - WARMUP) / (TOTAL - WARMUP))) if i < TOTAL else 0.0


def normalized(step):
    """Pictures of bytes, (v / 255 - mean) / std."""
    u = torch.from_numpy(uniform(f"input.pixels.{step}", BATCH * 3 * SIZE * SIZE)).double()
    x = torch.floor((u + 1) / 2 * 256).view(BATCH, 3, SIZE, SIZE)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (x / 255 - mean) / std


def train(optimizer, dense):
    backbone = Backbone().double()
    heads = nn.ModuleList([nn.Conv2d(c, CLASSES, 1) for c in ((64, 128) if dense else (128,))]).double()
    for tag, net in [("backbone", backbone), ("heads", heads)]:
        for name, t in list(net.named_parameters()) + list(net.named_buffers()):
            if t.is_floating_point():
                t.data.copy_(fill(f"{tag}.{name}", tuple(t.shape)))
    parameters = list(backbone.parameters()) + list(heads.parameters())
    weights = [p for p in parameters if p.dim() == 4]
    others = [p for p in parameters if p.dim() != 4]
    opt = optimizer([dict(params=weights, weight_decay=DECAY), dict(params=others, weight_decay=0.0)])
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, factor)
    losses = []
    for step in range(STEPS):
        maps = backbone(normalized(step))
        terms = []
        for i, (head, x) in enumerate(zip(heads, maps if dense else [maps[-1].mean((2, 3), keepdim=True)])):
            logits = head(x)
            u = uniform(f"input.labels.{step}.{i}", BATCH * logits.shape[2] * logits.shape[3])
            labels = torch.from_numpy(np.floor((u + 1) / 2 * CLASSES)).long().view(BATCH, *logits.shape[2:])
            terms.append(F.cross_entropy(logits, labels, label_smoothing=SMOOTHING))
        loss = sum(terms) / len(terms)
        opt.zero_grad()
        loss.backward()
        opt.step()
        schedule.step()
        losses.append(loss.item())
    out = {"losses": torch.tensor(losses, dtype=torch.float64)}
    for tag, net in [("backbone", backbone), ("heads", heads)]:
        for name, t in list(net.named_parameters()) + list(net.named_buffers()):
            if t.is_floating_point():
                t = t.detach()
                out[f"after.{tag}.{name}"] = torch.stack([t.norm(), t.mean(), t.flatten()[0]])
    return out


def sgd(groups):
    return torch.optim.SGD(groups, lr=LR, momentum=MOMENTUM, nesterov=True)


def adamw(groups):
    return torch.optim.AdamW(groups, lr=ADAM_LR, betas=BETAS)


out = {}
for name, optimizer, dense in [("sgd", sgd, False), ("adam", adamw, False), ("dense", sgd, True)]:
    run = train(optimizer, dense)
    print(name, run["losses"].tolist())
    out.update({f"{name}.{key}": value for key, value in run.items()})
meta = dict(image_size=SIZE, batch=BATCH, steps=STEPS, warmup=WARMUP, total=TOTAL, smoothing=SMOOTHING,
            decay=DECAY, lr=LR, adam_lr=ADAM_LR, momentum=MOMENTUM)
file = Path(__file__).parent / "pretrain.safetensors"
save_file(out, file, metadata={k: str(v) for k, v in meta.items()})
print(file.name, file.stat().st_size // 1024, "KiB")
