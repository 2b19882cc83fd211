#!/usr/bin/env python3
"""A dataset of folders as a CSV file in which some of its anomalous test pictures are labelled ones to train on.

    python bench/labelled.py mvtec/screw 4 --apart 10 > screw-20.csv

Of each type of anomaly the first N by name go to training. The test pictures are those after the first --apart of each type (as many
as N if it is left out), and all normal ones: so files with different N and equal --apart test on the same pictures.
"""
import argparse
import csv
import sys
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("dataset", type=Path)
parser.add_argument("n", type=int)
parser.add_argument("--apart", type=int)
a = parser.parse_args()
apart = a.n if a.apart is None else a.apart
root = a.dataset.resolve()
out = csv.writer(sys.stdout, lineterminator="\n")
out.writerow(["path", "label", "split", "mask"])
out.writerows([p, "good", "train", ""] for p in sorted((root / "train/good").iterdir()))
for kind in sorted((root / "test").iterdir()):
    for i, p in enumerate(sorted(kind.iterdir())):
        mask = root / "ground_truth" / kind.name / f"{p.stem}_mask.png"
        if kind.name == "good" or i >= apart:
            out.writerow([p, kind.name, "test", mask if mask.exists() else ""])
        elif i < a.n:
            out.writerow([p, kind.name, "train", ""])
