"""Scores pictures with what `ckaad export` wrote, by ONNX Runtime alone; nothing of ckaad is needed for that.

    pip install onnxruntime numpy pillow
    ckaad export --model part.safetensors --out part.onnx
    python onnx_runtime.py part.onnx photos/*.jpg

With `--against part.safetensors` it says how far scores and maps are from the package's.
"""

import argparse
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--against", metavar="MODEL")
    args = parser.parse_args()
    session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
    if session.get_inputs()[0].name != "pixels":
        sys.exit(f"{args.model}: expected an export with the input `pixels`, without --input normalized")
    told = session.get_modelmeta().custom_metadata_map
    size, threshold = int(told["image_size"]), told.get("threshold")
    found = []
    for path in args.pictures:
        picture = ImageOps.exif_transpose(Image.open(path))
        if picture.mode.startswith("I"):
            # Of 16 bits the high byte, as ckaad; Pillow would cut what is above 255.
            picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
        # As the networks were trained: engines differ in how they resize, Pillow does not.
        pixels = np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
        score, map_ = session.run(["score", "map"], {"pixels": pixels[None]})
        found.append((float(score[0]), map_[0]))
        verdict = "" if threshold is None else "anomalous" if score[0] >= float(threshold) else "normal"
        print(f"{score[0]:.5f} {verdict} {path}")
    if args.against:
        compare(found, args.against, args.pictures)


def compare(found, model, pictures):
    import ckaad

    expected = ckaad.Detector.load(model, "cpu").score(pictures)
    # A memory bank that holds a picture gives it 0.
    relative = lambda difference, of: difference / of if of > 0 else difference
    scores = max(relative(abs(score - e.score), e.score) for (score, _), e in zip(found, expected))
    maps = max(relative(np.abs(map_ - e.map).max(), e.map.max()) for (_, map_), e in zip(found, expected))
    print(f"largest relative differences: scores {scores:.1e}, maps {maps:.1e} of their peak")


if __name__ == "__main__":
    main()
