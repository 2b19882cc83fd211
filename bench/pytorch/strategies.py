"""Trains the PyTorch reference by each strategy and evaluates it, beside `ckaad experiment` at equal settings.

    python bench/pytorch/strategies.py REFERENCE DATA WEIGHTS --out runs.jsonl --strategies recon,ckapatch --seeds 1,2,3

DATA is a folder of train/good, train/anomalous, test and ground_truth, or a CSV file of `ckaad data split`. Where no anomalies are to be trained on,
the normal pictures of a step are distorted elastically in their place. REFERENCE is the folder of ckaad_torch.py and train_torch.py, whose networks,
pictures, order of batches and metrics these are; losses of the strategies that it lacks are those of tests/golden/losses.py. Features of a frozen
backbone are computed once, but of distorted pictures. One JSON line a run, with AUROC of each kind of anomaly; runs that the file already has are not
run again.
"""

import argparse
import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import precision_recall_curve, roc_auc_score
from torch import nn

sys.path.insert(0, sys.argv[1])
sys.path.insert(0, str(Path(__file__).parents[2] / "tests/golden"))
import ckaad_torch as R
import train_torch as T
from losses import step


def features(backbone, pictures, device):
    with torch.no_grad():
        parts = [backbone(T.tensor(pictures[i : i + 16]).to(device)) for i in range(0, len(pictures), 16)]
    return [torch.cat(layer) for layer in zip(*parts)]


def of_folder(root):
    """Normal and anomalous pictures to train on, and those to test on with their kinds and masks."""
    test = []
    for kind in sorted((root / "test").iterdir()):
        for picture in T.pictures(kind):
            mask = root / "ground_truth" / kind.name / f"{picture.stem}_mask.png"
            test.append((picture, kind.name, mask if mask.exists() else None))
    return T.pictures(root / "train/good"), T.pictures(root / "train/anomalous"), test


def of_csv(path):
    """The same of path,label,split,mask."""
    with path.open(newline="") as f:
        rows = list(csv.DictReader(f))
    train = lambda good: [path.parent / r["path"] for r in rows if r["split"] == "train" and (r["label"] == "good") == good]
    test = [(path.parent / r["path"], r["label"], path.parent / r["mask"] if r["mask"] else None) for r in rows if r["split"] == "test"]
    return train(True), train(False), test


def train(a, strategy, norm, seed, backbone, pictures, normal, bad, log):
    R.norm2d = nn.BatchNorm2d if norm == "batch" else lambda c: nn.InstanceNorm2d(c, affine=True)
    torch.manual_seed(seed)
    g = np.random.default_rng(seed)
    channels, sizes = [m.shape[1] for m in normal], [m.shape[2] for m in normal]
    ae = R.AutoEncoder("resnet18", backbone.channels)
    d = R.ImageDiscriminator(channels, sizes) if strategy in ("gan", "ckaimg") else R.PatchDiscriminator(channels)
    ae.to(a.device), d.to(a.device)
    opt_ae = torch.optim.Adam(ae.parameters(), lr=a.lr, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(d.parameters(), lr=a.d_lr, betas=(0.5, 0.999))

    def update(d_loss):
        opt_d.zero_grad()
        d_loss.backward()
        nn.utils.clip_grad_norm_(d.parameters(), 1.0)
        opt_d.step()

    for epoch in range(a.epochs):
        start, logs, order = time.perf_counter(), [], g.permutation(len(normal[0]))
        for s in range(0, len(order) - a.batch + 1, a.batch):
            batch = order[s : s + a.batch]
            real = [m[batch] for m in normal]
            recon, fake, recon_bad = ae(real), None, None
            if strategy != "recon":
                if bad is None:
                    fake = features(backbone, T.elastic(pictures[batch], g), a.device)
                else:
                    chosen = g.integers(0, len(bad[0]), min(a.batch, len(bad[0])))
                    fake = [m[chosen] for m in bad]
                recon_bad = ae(fake)
            losses = step(strategy, d, real, fake, recon, recon_bad, update, a.sub, a.adv, a.margin)
            opt_ae.zero_grad()
            losses["loss"].backward()
            opt_ae.step()
            logs.append({k: float(v.detach()) for k, v in losses.items()})
        log({"epoch": epoch + 1, "seconds": round(time.perf_counter() - start, 2)} | {f"mean_{k}": round(float(np.mean([l[k] for l in logs])), 5) for k in logs[0]})
    return ae.eval()


def evaluate(a, ae, test, kinds, masks):
    maps = []
    with torch.no_grad():
        for s in range(0, len(kinds), 16):
            f = [m[s : s + 16] for m in test]
            maps.append(R.anomaly_maps(f, ae(f), a.size).cpu().numpy())
    maps, labels = np.concatenate(maps), kinds != "good"
    scores = R.image_scores(torch.from_numpy(maps)).numpy()
    pr, rc, th = precision_recall_curve(labels, scores)
    f1 = 2 * pr * rc / np.maximum(pr + rc, 1e-16)
    out = {"image_auroc": roc_auc_score(labels, scores), "best_f1": f1.max(), "accuracy": ((scores >= th[f1[:-1].argmax()]) == labels).mean()}
    for kind in sorted(set(kinds[labels])):
        of = ~labels | (kinds == kind)
        out[f"image_auroc.{kind}"] = roc_auc_score(labels[of], scores[of])
    if masks.any():
        out |= {"pixel_auroc": roc_auc_score(masks.ravel(), maps.ravel()), "aupro30": T.aupro(maps, masks)}
    return {k: round(float(v), 5) for k, v in out.items()}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("reference", type=Path)
    p.add_argument("data", type=Path)
    p.add_argument("weights", type=Path)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--strategies", default="recon,reconsub,gan,ckaimg,ckapatch")
    p.add_argument("--norm", default="instance", choices=["instance", "batch"])
    p.add_argument("--seeds", default="1,2,3")
    p.add_argument("--size", type=int, default=128)
    p.add_argument("--epochs", type=int, default=10)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--d-lr", type=float, default=1e-4)
    p.add_argument("--sub", type=float, default=0.02)
    p.add_argument("--adv", type=float, default=R.Hyper.adv)
    p.add_argument("--margin", type=float, default=R.MARGIN)
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    backbone = R.Backbone("resnet18", (2, 3))
    backbone.load_state_dict({k: v for k, v in T.load_file(a.weights).items() if k in backbone.state_dict()}, strict=False)
    backbone.eval().to(a.device)
    normal, bad, test = of_csv(a.data) if a.data.is_file() else of_folder(a.data)
    pictures = T.load(normal, a.size)
    normal = features(backbone, pictures, a.device)
    bad = features(backbone, T.load(bad, a.size), a.device) if bad else None
    kinds = np.array([kind for _, kind, _ in test])
    masks = []
    for _, _, m in test:
        masks.append(np.asarray(Image.open(m).convert("L").resize((a.size, a.size), Image.BILINEAR)) > 127 if m else np.zeros((a.size, a.size), bool))
    test = features(backbone, T.load([picture for picture, _, _ in test], a.size), a.device)
    masks = np.stack(masks).astype(np.uint8)
    same = ("strategy", "norm", "seed", "epochs", "size", "batch", "lr", "d_lr", "data", "sub", "adv", "margin")
    usual = {"d_lr": 1e-4, "adv": R.Hyper.adv, "margin": R.MARGIN}
    done = {tuple((usual | json.loads(line))[k] for k in same) for line in a.out.read_text().splitlines()} if a.out.exists() else set()
    for seed in map(int, a.seeds.split(",")):
        for strategy in a.strategies.split(","):
            run = dict(data=a.data.resolve().name, strategy=strategy, norm=a.norm, seed=seed, epochs=a.epochs, size=a.size, batch=a.batch, lr=a.lr, d_lr=a.d_lr, sub=a.sub, adv=a.adv, margin=a.margin)
            if tuple(run[k] for k in same) in done:
                continue
            start = time.perf_counter()
            ae = train(a, strategy, a.norm, seed, backbone, pictures, normal, bad, lambda line: print(json.dumps(run | line), file=sys.stderr, flush=True))
            line = json.dumps(run | evaluate(a, ae, test, kinds, masks) | {"seconds": round(time.perf_counter() - start, 1)})
            with a.out.open("a") as out:
                out.write(line + "\n")
            print(line, flush=True)


if __name__ == "__main__":
    main()
