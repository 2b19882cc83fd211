"""Writes patchcore.safetensors beside this script: PatchCore as anomalib computes it, in float64, from given features.

    pip install anomalib==2.7.0 scipy safetensors && python tests/golden/patchcore.py

No backbone runs: feature maps of two layers are drawn here and stored. Everything behind them is anomalib's own code, but for
`map.*`, the anomaly map as this project defines it (patch distances upsampled with corners aligned, then scipy's blur).
"""

from pathlib import Path

import numpy as np
import scipy.ndimage
import torch
from anomalib.models.components.sampling import KCenterGreedy
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from safetensors.torch import save_file

RATIO = 0.25
NEIGHBOURS = 9
FEW = 5
MAP, SIGMA = 40, 4
SEEDS = 20


def features(images: int, shift: float) -> dict[str, torch.Tensor]:
    """Two layers of smooth random maps, as float32 holds them; `shift` moves one place of the last image."""
    maps = {}
    for name, channels, side in (("a", 12, 8), ("b", 20, 5)):
        x = torch.randn(images, channels, side, side) + 2 * torch.randn(1, channels, side, side)
        x[-1, :, side // 2 :, : side // 2] += shift
        maps[name] = x.float()
    return maps


def distances(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return torch.cdist(x, rows, compute_mode="donot_use_mm_for_euclid_dist").min(1).values


def select(rows: torch.Tensor, ratio: float, seed: int) -> tuple[list[int], torch.Tensor]:
    torch.manual_seed(seed)
    np.random.seed(seed)
    sampler = KCenterGreedy(rows, ratio)
    return sampler.select_coreset_idxs(), sampler.model.sparse_random_matrix


torch.manual_seed(0)
model = PatchcoreModel(layers=["a", "b"], backbone="resnet18", pre_trained=False, num_neighbors=NEIGHBOURS)
train, test = features(4, 0.0), features(3, 1.5)
out = {f"{kind}.{name}": x for kind, maps in (("train", train), ("test", test)) for name, x in maps.items()}


def embed(maps: dict[str, torch.Tensor]) -> torch.Tensor:
    """(n, c, h, w)"""
    return model.generate_embedding({name: model.feature_pooler(x.double()) for name, x in maps.items()})


rows = model.reshape_embedding(embed(train))
chosen, projection = select(rows, RATIO, 1)
out["projection"], out["coreset"] = projection, torch.tensor(chosen)
out["coreset.radius"] = distances(rows, rows[chosen]).max().reshape(1)

maps = embed(test)
patches = model.reshape_embedding(maps)
out["patches"] = patches
n, _, h, w = maps.shape
for tag, bank in (("", rows[chosen]), (".few", rows[chosen[:FEW]])):
    model.memory_bank = bank
    scores, locations = (v.reshape(n, -1) for v in model.nearest_neighbors(patches, n_neighbors=1))
    out[f"distances{tag}"], out[f"nearest{tag}"] = scores, locations
    model.num_neighbors = NEIGHBOURS
    out[f"images{tag}"] = model.compute_anomaly_score(scores, locations, patches)
    model.num_neighbors = 1
    out[f"images.alone{tag}"] = model.compute_anomaly_score(scores, locations, patches)
    large = torch.nn.functional.interpolate(scores.reshape(n, 1, h, w), (MAP, MAP), mode="bilinear", align_corners=True)
    out[f"map{tag}"] = torch.stack([torch.from_numpy(scipy.ndimage.gaussian_filter(m[0].numpy(), SIGMA)) for m in large])

# More channels than the projection has dimensions: how well coresets cover, with anomalib's own random projections.
centres = torch.randn(6, 160)
wide = (centres[torch.arange(60) % 6] + 0.5 * torch.randn(60, 160)).float()
out["wide"] = wide
out["wide.radii"] = torch.stack([
    distances(wide.double(), wide[select(wide, RATIO, seed)[0]].double()).max() for seed in range(SEEDS)
])

meta = dict(ratio=str(RATIO), neighbours=str(NEIGHBOURS), few=str(FEW), map=str(MAP), sigma=str(SIGMA), anomalib="2.7.0")
path = Path(__file__).with_suffix(".safetensors")
save_file({k: v.detach().contiguous() for k, v in out.items()}, path, metadata=meta)
print(path.name, path.stat().st_size // 1024, "KiB", {k: tuple(v.shape) for k, v in out.items()}, out["images"], out["images.few"], out["wide.radii"])
