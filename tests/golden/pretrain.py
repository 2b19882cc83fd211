"""Writes pretrain.safetensors beside this script: training a backbone from scratch by classification, in float64 by PyTorch.

    pip install torch numpy safetensors && python tests/golden/pretrain.py

A ResNet-18 up to layer2 on pictures of 32 pixels, mean pooling, a linear head; cross-entropy with smoothing, weight decay of
the backbone's convolutions, warm-up and half a cosine. Parameters, pictures and labels are functions of their names, as in the
other golden files. Of every tensor after the last step its norm, mean and first value are kept.
"""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

SIZE, BATCH, CLASSES, STEPS, WARMUP, TOTAL = 32, 6, 5, 6, 2, 6
SMOOTHING, DECAY, LR, ADAM_LR, MOMENTUM, BETAS = 0.1, 1e-4, 0.05, 1e-3, 0.9, (0.9, 0.999)


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
        return self.layer2(self.layer1(x))


def factor(i):
    if i < WARMUP:
        return (i + 1) / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (i - WARMUP) / (TOTAL - WARMUP))) if i < TOTAL else 0.0


def train(optimizer):
    backbone, head = Backbone().double(), nn.Linear(128, CLASSES).double()
    for tag, net in [("backbone", backbone), ("head", head)]:
        for name, t in list(net.named_parameters()) + list(net.named_buffers()):
            if t.is_floating_point():
                t.data.copy_(fill(f"{tag}.{name}", tuple(t.shape)))
    parameters = list(backbone.parameters()) + list(head.parameters())
    convolutions = [p for p in parameters if p.dim() == 4]
    others = [p for p in parameters if p.dim() != 4]
    opt = optimizer([dict(params=convolutions, weight_decay=DECAY), dict(params=others, weight_decay=0.0)])
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, factor)
    losses = []
    for step in range(STEPS):
        x = torch.from_numpy(2 * uniform(f"input.pictures.{step}", BATCH * 3 * SIZE * SIZE)).view(BATCH, 3, SIZE, SIZE).double()
        labels = torch.from_numpy(np.floor((uniform(f"input.labels.{step}", BATCH) + 1) / 2 * CLASSES)).long()
        loss = F.cross_entropy(head(backbone(x).mean((2, 3))), labels, label_smoothing=SMOOTHING)
        opt.zero_grad()
        loss.backward()
        opt.step()
        schedule.step()
        losses.append(loss.item())
    out = {"losses": torch.tensor(losses, dtype=torch.float64)}
    for tag, net in [("backbone", backbone), ("head", head)]:
        for name, t in list(net.named_parameters()) + list(net.named_buffers()):
            if t.is_floating_point():
                t = t.detach()
                out[f"after.{tag}.{name}"] = torch.stack([t.norm(), t.mean(), t.flatten()[0]])
    return out


optimizers = dict(
    sgd=lambda groups: torch.optim.SGD(groups, lr=LR, momentum=MOMENTUM),
    adam=lambda groups: torch.optim.Adam(groups, lr=ADAM_LR, betas=BETAS),
    adamw=lambda groups: torch.optim.AdamW(groups, lr=ADAM_LR, betas=BETAS),
)
out = {}
for name, optimizer in optimizers.items():
    run = train(optimizer)
    print(name, run["losses"].tolist())
    out.update({f"{name}.{key}": value for key, value in run.items()})
meta = dict(image_size=SIZE, batch=BATCH, classes=CLASSES, steps=STEPS, warmup=WARMUP, total=TOTAL, smoothing=SMOOTHING,
            decay=DECAY, lr=LR, adam_lr=ADAM_LR, momentum=MOMENTUM, beta1=BETAS[0], beta2=BETAS[1])
file = Path(__file__).parent / "pretrain.safetensors"
save_file(out, file, metadata={k: str(v) for k, v in meta.items()})
print(file.name, file.stat().st_size // 1024, "KiB")
