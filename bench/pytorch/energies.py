"""What a trained patch-level discriminator says of features: energies |E| of normal and of anomalous pictures, held against the margin.

    python bench/pytorch/energies.py REFERENCE DATA MODEL [MODEL ...]

DATA is as for strategies.py; a MODEL is a file of `ckaad train --strategy ckapatch` with layers 2,3 of resnet18, or of the reference's
train_torch.py --save. REFERENCE is the folder of ckaad_torch.py, whose networks compute. One JSON line a model: per layer the mean energy
of pictures to train on, normal and labelled ones (`most`: what one position in a thousand is above), of what the auto-encoder makes of both, and of test
pictures: normal ones, anomalous ones where they are marked and beside.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

sys.path.insert(0, sys.argv[1])
sys.path.insert(0, str(Path(__file__).parent))
import ckaad_torch as R
import train_torch as T
from strategies import features, of_csv, of_folder


def model(path):
    with safe_open(path, "pt") as file:
        state, size = {k: file.get_tensor(k) for k in file.keys()}, int(file.metadata()["image_size"])
    backbone = R.Backbone("resnet18", (2, 3))
    parts = {"backbone": backbone, "ae": R.AutoEncoder("resnet18", backbone.channels), "discriminator": R.PatchDiscriminator(backbone.channels)}
    for name, part in parts.items():
        own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
        part.load_state_dict(own, strict=name != "backbone")
        part.eval()
    return *parts.values(), size


def main():
    data = Path(sys.argv[2])
    normal, labelled, test = of_csv(data) if data.is_file() else of_folder(data)
    good = [picture for picture, _, mask in test if mask is None]
    marked = [(picture, mask) for picture, _, mask in test if mask is not None]
    for path in sys.argv[3:]:
        backbone, ae, discriminator, size = model(path)

        def energies(maps):
            with torch.no_grad():
                return [e.abs() for e in discriminator(maps)]

        def told(of_layers):
            return [round(float(e.mean()), 4) for e in of_layers]

        def generated(maps):
            with torch.no_grad():
                return [torch.cat(layer) for layer in zip(*(ae([m[i : i + 16] for m in maps]) for i in range(0, len(maps[0]), 16)))]

        found = {"model": Path(path).stem, "data": data.name}
        for name, pictures in (("normal", normal), ("labelled", labelled)):
            if pictures:
                maps = features(backbone, T.load(pictures, size), "cpu")
                of = energies(maps)
                found |= {name: told(of), f"{name}_most": [round(float(np.quantile(e.numpy(), 0.999)), 4) for e in of]}
                found[f"{name}_reconstructed"] = told(energies(generated(maps)))
        found["test_normal"] = told(energies(features(backbone, T.load(good, size), "cpu")))
        of = energies(features(backbone, T.load([picture for picture, _ in marked], size), "cpu"))
        for name, wanted in (("test_marked", True), ("test_beside", False)):
            means = []
            for e in of:
                side = int(e.shape[1] ** 0.5)
                masks = [np.asarray(Image.open(mask).convert("L").resize((side, side), Image.BOX)) > 0 for _, mask in marked]
                means.append(e[torch.from_numpy(np.stack(masks).reshape(len(marked), -1)) == wanted].mean())
            found[name] = [round(float(m), 4) for m in means]
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
