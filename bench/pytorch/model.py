"""Scoring and the training step in PyTorch, written to be fast there: what bench.py times and check.py checks.

Shapes are NCHW; pictures enter as bytes, (N, S, S, 3), and are normalised on the device. Parameter names follow the
authors' published state dicts. Only torch and numpy are needed.
"""
from __future__ import annotations

import contextlib
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# ---------------------------------------------------------------- frozen backbone (torchvision names)

BACKBONES = {  # name: (bottleneck?, blocks per layer, width of a bottleneck's 3x3 relative to `planes`)
    "resnet18": (False, (2, 2, 2, 2), 1),
    "resnet34": (False, (3, 4, 6, 3), 1),
    "resnet50": (True, (3, 4, 6, 3), 1),
    "resnet101": (True, (3, 4, 23, 3), 1),
    "resnet152": (True, (3, 8, 36, 3), 1),
    "wide_resnet50_2": (True, (3, 4, 6, 3), 2),
    "wide_resnet101_2": (True, (3, 4, 23, 3), 2),
}
PLANES = (64, 128, 256, 512)


class ResBlock(nn.Module):
    """torchvision's BasicBlock or Bottleneck (stride on the 3x3), batch norm in inference mode."""

    def __init__(self, cin: int, planes: int, stride: int, bottleneck: bool, width: int):
        super().__init__()
        self.bottleneck = bottleneck
        cout = planes * (4 if bottleneck else 1)
        if bottleneck:
            mid = planes * width
            self.conv1 = nn.Conv2d(cin, mid, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(mid)
            self.conv2 = nn.Conv2d(mid, mid, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(mid)
            self.conv3 = nn.Conv2d(mid, cout, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(cout)
        else:
            self.conv1 = nn.Conv2d(cin, planes, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.bottleneck:
            y = self.bn3(self.conv3(F.relu(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Backbone(nn.Module):
    """Frozen feature extractor: images (N,3,S,S) -> the chosen layers' maps, finest first."""

    def __init__(self, name: str, layers: tuple[int, ...]):
        super().__init__()
        bottleneck, blocks, width = BACKBONES[name]
        self.layers = layers
        self.expansion = 4 if bottleneck else 1
        self.channels = [PLANES[i - 1] for i in layers]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        cin = 64
        for i in range(max(layers)):
            stage = []
            for b in range(blocks[i]):
                stage.append(ResBlock(cin, PLANES[i], 2 if b == 0 and i > 0 else 1, bottleneck, width))
                cin = PLANES[i] * self.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*stage))
        self.eval()
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        out = []
        for i in range(1, max(self.layers) + 1):
            x = getattr(self, f"layer{i}")(x)
            if i in self.layers:
                out.append(x)
        return out


# ---------------------------------------------------------------- auto-encoder


def norm2d(c: int) -> nn.Module:
    return nn.InstanceNorm2d(c, affine=True)


class EncBlock(nn.Module):
    """Residual block of the fusion encoder; parameter names conv*/ln*/downsample."""

    def __init__(self, cin: int, planes: int, stride: int, bottleneck: bool, width: int):
        super().__init__()
        self.bottleneck = bottleneck
        cout = planes * (4 if bottleneck else 1)
        if bottleneck:
            mid = planes * width
            self.conv1, self.ln1 = nn.Conv2d(cin, mid, 1, bias=False), norm2d(mid)
            self.conv2, self.ln2 = nn.Conv2d(mid, mid, 3, stride, 1, bias=False), norm2d(mid)
            self.conv3, self.ln3 = nn.Conv2d(mid, cout, 1, bias=False), norm2d(cout)
        else:
            self.conv1, self.ln1 = nn.Conv2d(cin, planes, 3, stride, 1, bias=False), norm2d(planes)
            self.conv2, self.ln2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False), norm2d(planes)
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), norm2d(cout))

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln2(self.conv2(F.relu(self.ln1(self.conv1(x)))))
        if self.bottleneck:
            y = self.ln3(self.conv3(F.relu(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class DecBlock(nn.Module):
    """Residual deconvolution block; stride 2 swaps its 3x3 (or first) conv for a 2x2 transposed conv."""

    def __init__(self, cin: int, planes: int, stride: int, bottleneck: bool, width: int):
        super().__init__()
        self.bottleneck = bottleneck
        cout = planes * (4 if bottleneck else 1)

        def spatial(a: int, b: int) -> nn.Module:
            return nn.ConvTranspose2d(a, b, 2, 2, bias=False) if stride == 2 else nn.Conv2d(a, b, 3, 1, 1, bias=False)

        if bottleneck:
            mid = planes * width
            self.conv1, self.bn1 = nn.Conv2d(cin, mid, 1, bias=False), norm2d(mid)
            self.conv2, self.bn2 = spatial(mid, mid), norm2d(mid)
            self.conv3, self.bn3 = nn.Conv2d(mid, cout, 1, bias=False), norm2d(cout)
        else:
            self.conv1, self.bn1 = spatial(cin, planes), norm2d(planes)
            self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False), norm2d(planes)
        self.upsample = None
        if stride != 1 or cin != cout:
            self.upsample = nn.Sequential(nn.ConvTranspose2d(cin, cout, 2, 2, bias=False), norm2d(cout))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            y = self.bn3(self.conv3(F.relu(y)))
        return F.relu(y + (x if self.upsample is None else self.upsample(x)))


class FusionLayer(nn.Module):
    """Down-sample every map to the smallest one's size, concatenate, encode with residual blocks."""

    def __init__(self, channels: list[int], bottleneck: bool, blocks: int, width: int):
        super().__init__()
        e = 4 if bottleneck else 1
        top = channels[-1]
        paths = []
        for c in channels:
            steps, cin = [], c * e
            while cin != top * e:
                steps.append(nn.Sequential(nn.Conv2d(cin, cin * 2, 3, 2, 1, bias=False), norm2d(cin * 2), nn.ReLU()))
                cin *= 2
            paths.append(nn.Sequential(*steps))
        self.conv_layers = nn.ModuleList(paths)
        stage = [EncBlock(top * e * len(channels), top * 2, 2, bottleneck, width)]
        stage += [EncBlock(top * 2 * e, top * 2, 1, bottleneck, width) for _ in range(1, blocks)]
        self.encode_layer1 = nn.Sequential(*stage)

    def forward(self, maps: list[Tensor]) -> Tensor:
        return self.encode_layer1(torch.cat([p(m) for p, m in zip(self.conv_layers, maps)], 1))


class Encoder(nn.Module):
    def __init__(self, *a):
        super().__init__()
        self.fusion_layer = FusionLayer(*a)

    def forward(self, maps):
        return self.fusion_layer(maps)


class DeResNet(nn.Module):
    def __init__(self, channels: list[int], bottleneck: bool, blocks: tuple[int, ...], width: int):
        super().__init__()
        e = 4 if bottleneck else 1
        stages = []
        for c, n in zip(channels[::-1], blocks):
            stage = [DecBlock(c * 2 * e, c, 2, bottleneck, width)]
            stage += [DecBlock(c * e, c, 1, bottleneck, width) for _ in range(1, n)]
            stages.append(nn.Sequential(*stage))
        self.layers = nn.ModuleList(stages)

    def forward(self, z: Tensor) -> list[Tensor]:
        out = []
        for stage in self.layers:
            z = stage(z)
            out.append(z)
        return out[::-1]


class Decoder(nn.Module):
    def __init__(self, *a):
        super().__init__()
        self.backbone = DeResNet(*a)

    def forward(self, z):
        return self.backbone(z)


class AutoEncoder(nn.Module):
    """Feature maps (finest first) -> reconstructed maps of the same shapes."""

    def __init__(self, backbone: str, channels: list[int]):
        super().__init__()
        bottleneck, blocks, width = BACKBONES[backbone]
        self.encoder = Encoder(channels, bottleneck, 2 if backbone == "resnet18" else 3, width)
        self.decoder = Decoder(channels, bottleneck, blocks, width)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return self.decoder(self.encoder(maps))


# ---------------------------------------------------------------- discriminator and losses


class PatchDiscriminator(nn.Module):
    """Patch-level energy: per layer an MLP of 1x1 convolutions over channel-normalised features -> (N, H*W)."""

    def __init__(self, channels: list[int]):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, c, 1, bias=False), nn.LeakyReLU(0.1), nn.Conv2d(c, c, 1, bias=False),
                          nn.LeakyReLU(0.1), nn.Conv2d(c, 1, 1, bias=False)) for c in channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [net(F.normalize(m, dim=1)).flatten(1) for net, m in zip(self.layers, maps)]


MARGIN = 5.0


def wide(t: Tensor) -> Tensor:
    """Errors, energies and losses are at least f32, whatever the networks compute in: 1 - cos has no digits in bf16."""
    return t.float() if t.dtype in (torch.bfloat16, torch.float16) else t


def low_energy(scores: list[Tensor]) -> Tensor:
    """Sum over layers of mean |E|: what the discriminator wants of normal features, the generator of its own."""
    return sum(wide(s).abs().mean() for s in scores)


def high_energy(scores: list[Tensor], margin: float = MARGIN) -> Tensor:
    """Sum over layers of mean max(0, m - |E|): what it wants of generated and anomalous features."""
    return sum((margin - wide(s).abs()).clamp(min=0).mean() for s in scores)


def reconstruction_loss(maps: list[Tensor], recon: list[Tensor]) -> Tensor:
    """Eq. (2): sum over layers of 1 - cos(flattened map, flattened reconstruction), averaged over the batch."""
    return sum((1 - F.cosine_similarity(wide(a).flatten(1), wide(b).flatten(1))).mean() for a, b in zip(maps, recon))


# ---------------------------------------------------------------- scoring


def blur_matrix(n: int, sigma: float) -> Tensor:
    """The Gaussian along one axis as a matrix (n, n): radius int(4 sigma + 0.5), edges mirrored (d c b a | a b c d)."""
    r = int(4 * sigma + 0.5)
    offsets = torch.arange(-r, r + 1)
    k = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    source = (torch.arange(n)[:, None] + offsets) % (2 * n)
    source = torch.where(source < n, source, 2 * n - 1 - source)
    return torch.zeros(n, n, dtype=torch.float64).scatter_add_(1, source, (k / k.sum()).expand(n, -1).contiguous())


def map_matrix(s: int, size: int, sigma: float) -> Tensor:
    """Upsampling (bilinear, corners aligned) and blur along one axis, (size, s): both are linear and separable, so a
    layer's share of the map is A e A^T. Two small products take PyTorch less time than interpolate and a blur."""
    up = F.interpolate(torch.eye(s, dtype=torch.float64)[None], size=size, mode="linear", align_corners=True)[0].T
    return blur_matrix(size, sigma) @ up


def autocast(device: str, dtype: torch.dtype | None):
    return contextlib.nullcontext() if dtype is None else torch.autocast(device, dtype=dtype)


class Normalise(nn.Module):
    """Bytes (N, S, S, 3) to (v / 255 - mean) / std, NCHW, in the memory format and type that the networks want."""

    def __init__(self, memory_format: torch.memory_format, dtype: torch.dtype):
        super().__init__()
        self.memory_format, self.dtype = memory_format, dtype
        self.register_buffer("scale", 1 / (255 * torch.tensor(STD)).view(3, 1, 1))
        self.register_buffer("shift", (-torch.tensor(MEAN) / torch.tensor(STD)).view(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.permute(0, 3, 1, 2) * self.scale + self.shift
        return x.to(dtype=self.dtype, memory_format=self.memory_format)


class Scorer(nn.Module):
    """Pixels to anomaly map (N, S, S) and score (N,): eq. (14), blurred, and the mean of the `topk` largest values.

    `cast` runs the networks under autocast; errors, map and score are f32 all the same.
    """

    def __init__(self, normalise: nn.Module, backbone: Backbone, ae: AutoEncoder, size: int, sigma: float = 4.0,
                 topk: int = 100, cast: torch.dtype | None = None):
        super().__init__()
        self.normalise, self.backbone, self.ae, self.topk, self.cast = normalise, backbone, ae, topk, cast
        for i, layer in enumerate(backbone.layers):
            self.register_buffer(f"matrix{i}", map_matrix(size // 2 ** (layer + 1), size, sigma).float())

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = self.normalise(pixels)
        with autocast(x.device.type, self.cast):
            maps = self.backbone(x)
            recon = self.ae(maps)
        total = 0
        for i, (a, b) in enumerate(zip(maps, recon)):
            matrix = getattr(self, f"matrix{i}")
            total = total + matrix @ (1 - F.cosine_similarity(wide(a), wide(b))) @ matrix.T
        return total, total.flatten(1).topk(self.topk, 1).values.mean(1)


def fold_batch_norms(module: nn.Module) -> None:
    """Batch norm in inference mode is a scale and a shift: fold every one into the convolution before it."""
    for child in module.modules():
        if isinstance(child, nn.Sequential) and len(child) == 2 and isinstance(child[1], nn.BatchNorm2d):
            child[0], child[1] = nn.utils.fuse_conv_bn_eval(child[0], child[1]), nn.Identity()
        for i in "123":
            conv, norm = getattr(child, f"conv{i}", None), getattr(child, f"bn{i}", None)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(child, f"conv{i}", nn.utils.fuse_conv_bn_eval(conv, norm))
                setattr(child, f"bn{i}", nn.Identity())


def instance_norms_as_group_norms(module: nn.Module) -> None:
    """The same formula with one channel a group; PyTorch runs it by other kernels, which keep channels-last."""
    for child in list(module.modules()):
        for name, norm in list(child.named_children()):
            if isinstance(norm, nn.InstanceNorm2d):
                group = nn.GroupNorm(norm.num_features, norm.num_features, norm.eps)
                group.load_state_dict(norm.state_dict())
                setattr(child, name, group)


# ---------------------------------------------------------------- training


class Trainer:
    """One alternating update per call of `step`: discriminator first, then the auto-encoder.

    Every norm is per image, so normal and anomalous pictures run as one batch, normal ones first. The gradient of the
    auto-encoder's loss is not computed for the discriminator's weights, and no loss is read within the step.
    """

    def __init__(self, normalise: nn.Module, backbone: nn.Module, ae: nn.Module, disc: nn.Module, normal: int,
                 cast: torch.dtype | None = None, adv: float = 0.02, gamma: float = 0.5, clip: float = 1.0, **adam):
        self.normalise, self.backbone, self.ae, self.disc = normalise, backbone, ae, disc
        self.normal, self.cast, self.adv, self.gamma, self.clip = normal, cast, adv, gamma, clip
        self.opt_ae = torch.optim.Adam(ae.parameters(), lr=1e-3, betas=(0.5, 0.999), **adam)
        self.opt_d = torch.optim.Adam(disc.parameters(), lr=1e-4, betas=(0.5, 0.999), **adam)

    def step(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Losses of the discriminator and of the auto-encoder, from pictures (normal + anomalous, S, S, 3)."""
        x, n = self.normalise(pixels), self.normal
        with autocast(x.device.type, self.cast):
            maps = self.backbone(x)
            recon = self.ae(maps)
            seen = self.disc(maps)
            made = self.disc([r.detach() for r in recon])
        d_loss = (low_energy([s[:n] for s in seen]) + (1 - self.gamma) * high_energy([s[n:] for s in seen])
                  + self.gamma * high_energy(made))
        self.opt_d.zero_grad()
        d_loss.backward()
        nn.utils.clip_grad_norm_(self.disc.parameters(), self.clip)
        self.opt_d.step()
        self.disc.requires_grad_(False)
        with autocast(x.device.type, self.cast):
            adv = low_energy(self.disc(recon))
        rec = reconstruction_loss([m[:n] for m in maps], [r[:n] for r in recon])
        loss = rec + self.adv * adv
        self.opt_ae.zero_grad()
        loss.backward()
        self.opt_ae.step()
        self.disc.requires_grad_(True)
        return d_loss.detach(), loss.detach()


# ---------------------------------------------------------------- reproducible parameters without a file


def uniform(name: str, n: int) -> Tensor:
    """n numbers in [-1, 1), a function of `name` alone: splitmix64 of (FNV-1a of the name) + index, top 24 bits."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & (2**64 - 1)
    with np.errstate(over="ignore"):
        x = np.uint64(seed) + np.arange(n, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return torch.from_numpy((x >> np.uint64(40)).astype(np.float32) / 2**23 - 1.0)


def fill(module: nn.Module, prefix: str) -> None:
    """Overwrite every parameter and buffer of `module` with values that depend only on its full name and shape.

    weights of rank >= 2: u * sqrt(3 / fan_in) (fan_in = elements / shape[0]; for transposed convolutions
    elements / shape[1]); norm scale and running_var: 1 + 0.2 u; norm shift and running_mean: 0.1 u.
    """
    transposed = {n for n, m in module.named_modules() if isinstance(m, nn.ConvTranspose2d)}
    with torch.no_grad():
        for name, t in list(module.named_parameters()) + list(module.named_buffers()):
            if t.dtype != torch.float32:
                continue
            u = uniform(f"{prefix}.{name}", t.numel()).view_as(t)
            owner = name.rsplit(".", 1)[0]
            if t.dim() >= 2:
                fan = t.numel() // t.shape[1 if owner in transposed else 0]
                t.copy_(u * math.sqrt(3 / fan))
            elif name.endswith(("weight", "running_var")):
                t.copy_(1 + 0.2 * u)
            else:
                t.copy_(0.1 * u)


def build(backbone: str, layers: tuple[int, ...]) -> tuple[Backbone, AutoEncoder, PatchDiscriminator]:
    """The three networks with reproducible parameters."""
    b = Backbone(backbone, layers)
    nets = b, AutoEncoder(backbone, b.channels), PatchDiscriminator([c * b.expansion for c in b.channels])
    for module, prefix in zip(nets, ("backbone", "ae", "discriminator")):
        fill(module, prefix)
    return nets
