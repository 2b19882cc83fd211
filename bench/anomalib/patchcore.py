#!/usr/bin/env python3
"""anomalib's PatchCore on a dataset folder, beside `ckaad train --detector patchcore` and `ckaad eval`.

    pip install anomalib==2.7.0 safetensors
    bench/anomalib/patchcore.py --data hazelnut --weights resnet18.safetensors --image-size 256 --coreset 0.1 --threads 2

The same pictures, resizing (Pillow's bilinear), normalisation, backbone weights and layers as ckaad's; the model, its coreset and its
maps are anomalib's own (`anomalib.models.image.patchcore.torch_model`). One JSON line: seconds to compute features, to select
the bank and to score, peak memory, and the metrics of `ckaad eval`: AUROC of pictures and pixels, AUPRO up to 0.3.
Masks count as `ckaad eval` counts them: resized to the network's size by the nearest pixel.
"""
import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from anomalib.metrics.aupro import _AUPRO as AUPRO
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from PIL import Image
from safetensors.torch import load_file
from torchmetrics.classification import BinaryAUROC

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)


def load(paths: list[Path], size: int) -> torch.Tensor:
    images = [np.asarray(Image.open(p).convert("RGB").resize((size, size), Image.BILINEAR)) for p in paths]
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def mask(data: Path, picture: Path, size: int) -> np.ndarray:
    kind = picture.parent.name
    path = data / "ground_truth" / kind / f"{picture.stem}_mask.png"
    if kind == "good" or not path.exists():
        return np.zeros((size, size), dtype=np.uint8)
    return (np.asarray(Image.open(path).convert("L").resize((size, size), Image.NEAREST)) > 0).astype(np.uint8)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--weights", type=Path, required=True, help="torchvision's ResNet-18 as .safetensors")
    p.add_argument("--image-size", type=int, default=256)
    p.add_argument("--coreset", type=float, default=0.1, help="share of the patches that is kept")
    p.add_argument("--batch-size", type=int, default=8)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)

    backbone = torchvision.models.resnet18(weights=None)
    backbone.load_state_dict(load_file(a.weights), strict=False)
    model = PatchcoreModel(layers=["layer2", "layer3"], backbone=backbone, pre_trained=False)
    good = pictures(a.data / "train/good")
    out = {"implementation": "anomalib 2.7.0", "data": a.data.name, "image_size": a.image_size, "coreset": a.coreset,
           "threads": a.threads, "seed": a.seed}

    start = time.perf_counter()
    model.train()
    model.feature_extractor.eval()
    with torch.no_grad():
        for i in range(0, len(good), a.batch_size):
            model(load(good[i:i + a.batch_size], a.image_size))
    out["features_s"] = time.perf_counter() - start
    start = time.perf_counter()
    model.subsample_embedding(a.coreset)
    out["coreset_s"] = time.perf_counter() - start
    out["bank_rows"] = model.memory_bank.shape[0]

    model.eval()
    test = [q for kind in sorted((a.data / "test").iterdir()) if kind.is_dir() for q in pictures(kind)]
    scores, maps = [], []
    start = time.perf_counter()
    with torch.no_grad():
        for i in range(0, len(test), a.batch_size):
            found = model(load(test[i:i + a.batch_size], a.image_size))
            scores += found.pred_score.flatten().tolist()
            maps.append(found.anomaly_map[:, 0])
    out["ms_per_image"] = 1e3 * (time.perf_counter() - start) / len(test)
    out["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    labels = torch.tensor([q.parent.name != "good" for q in test]).int()
    masks = torch.from_numpy(np.stack([mask(a.data, q, a.image_size) for q in test])).int()
    maps = torch.cat(maps)
    # Thresholds at every value, where torchmetrics would squash what is outside of 0 to 1.
    squash = lambda v: (v - v.min()) / (v.max() - v.min())
    out["image_auroc"] = BinaryAUROC()(squash(torch.tensor(scores)), labels).item()
    if masks.any():
        out["pixel_auroc"] = BinaryAUROC()(squash(maps).flatten(), masks.flatten()).item()
        aupro = AUPRO(fpr_limit=0.3)
        aupro.update(squash(maps), masks)
        out["aupro30"] = aupro.compute().item()
    print(json.dumps(out))


if __name__ == "__main__":
    main()
