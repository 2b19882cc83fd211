"""Where a model's map is high: on normal pictures, beside the marks of anomalous ones, and on the marks.

    ckaad score --model m.safetensors --maps maps DATA/test
    python bench/localisation.py maps DATA

DATA has test/<type> and ground_truth/<type>/<stem>_mask.png. Needs numpy, pillow, scikit-learn. Prints one JSON line: means of the
map, in units of its mean on normal pictures, and pixel AUROC of all pictures, of the anomalous ones alone, and of those with
every map divided by its own mean.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score


def main():
    maps_folder, data = Path(sys.argv[1]), Path(sys.argv[2])
    maps, masks, normal = [], [], []
    for file in sorted(maps_folder.rglob("*.npy")):
        kind, stem = file.parent.name, file.stem.split(".")[0]
        m = np.load(file)
        mask = data / "ground_truth" / kind / f"{stem}_mask.png"
        if kind != "good" and not mask.exists():
            continue
        size = (m.shape[1], m.shape[0])
        marked = np.asarray(Image.open(mask).convert("L").resize(size, Image.BILINEAR)) > 127 if mask.exists() else np.zeros(m.shape, bool)
        maps.append(m), masks.append(marked), normal.append(kind == "good")
    maps, masks, normal = np.stack(maps), np.stack(masks), np.array(normal)
    unit = maps[normal].mean()
    bad, marks = maps[~normal], masks[~normal]
    own = bad / bad.mean(axis=(1, 2), keepdims=True)
    auroc = lambda of, m: round(float(roc_auc_score(of.ravel(), m.ravel())), 4)
    print(json.dumps({
        "normal": 1.0,
        "beside": round(float(bad[~marks].mean() / unit), 3),
        "marked": round(float(bad[marks].mean() / unit), 3),
        "pixel_auroc": auroc(masks, maps),
        "anomalous_alone": auroc(marks, bad),
        "of_own_mean": auroc(marks, own),
    }))


if __name__ == "__main__":
    main()
