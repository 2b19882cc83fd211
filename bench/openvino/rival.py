"""OpenVINO and ONNX Runtime as `compare`'s other side: models, commands, the table. Standard library only.

All compute the same networks of random weights: `ckaad train` makes them, `ckaad quantize` and `ckaad export` what each side
takes, with the same pictures. ckaad's own int8 is held against its f32 as the engines are.
"""
from __future__ import annotations

import argparse
import array
import fnmatch
import json
import math
import operator
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from engines import ENGINES
from lines import median_of, ms, noisy, ratio, usable

HERE = Path(__file__).resolve().parent
PRECISIONS = ["f32", "bf16", "int8"]
# Relative to ckaad's f32, of maps.
DIFFERENCE_LIMIT = {"f32": 1e-3, "bf16": 1e-1, "int8": 1e-1}
# Pictures to train and quantise with, and to compare results of: multiples of every batch size.
NORMAL, COMPARED = 32, 8


class OpenVino:
    about = {"against": "openvino"}
    prefix = ""

    def __init__(self, a: argparse.Namespace):
        self.a = a
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = (a.models or Path(self.temporary.name)).resolve()
        self.differences: dict[str, dict] = {}

    def variants(self, case, precision: str) -> list[str]:
        return [name for name, engine in ENGINES.items()
                if engine.precision == precision and not any(fnmatch.fnmatch(name, s) for s in self.a.skip)]

    def kept(self, lines: list[dict]) -> list[str]:
        """What later rounds time again: all, unless its results are wrong."""
        return [line["implementation"] for line in lines if usable(line, DIFFERENCE_LIMIT)]

    def command(self, case, precision: str) -> list[str]:
        onnx = self.folder / f"{stem(case)}-b{case.batch}.onnx"
        model = self.model(case)
        self.make(onnx, "export", "--model", model, "--batch-size", case.batch, "--out", onnx)
        return [self.a.python, str(HERE / "bench.py"), "--onnx", str(onnx), "--normal", str(self.folder / "normal"),
                "--expected", str(self.scores(case, "f32")), "--precision", precision]

    def ours(self, case, precision: str) -> list[tuple[str, list[str], dict]]:
        """ckaad's lines: name, options of `ckaad bench`, and what is known of its results."""
        if precision == "bf16":
            return []
        model = self.model(case) if precision == "f32" else self.quantised(case)
        options = ["score", "--model", str(model), "--batch-size", str(case.batch), "--device", "cpu", "--precision", precision]
        return [("ckaad", options, {} if precision == "f32" else self.difference(case))]

    def model(self, case) -> Path:
        file = self.folder / f"{stem(case)}.safetensors"
        if not file.exists():
            self.pictures()
            layers = ",".join(map(str, case.layers))
            self.make(file, "train", "--normal", self.folder / "normal", "--weights", "random", "--strategy", "recon", "--epochs", 1,
                      "--backbone", case.backbone, "--layers", layers, "--image-size", case.size, "--batch-size", 2, "--out", file)
            self.folder.joinpath(f"{stem(case)}.checkpoint.safetensors").unlink()
        return file

    def quantised(self, case) -> Path:
        file = self.folder / f"{stem(case)}-int8.safetensors"
        self.make(file, "quantize", "--model", self.model(case), "--normal", self.folder / "normal", "--out", file)
        return file

    def scores(self, case, precision: str) -> Path:
        """Scores and maps by ckaad of the pictures that results are compared of."""
        file = self.folder / f"{stem(case)}-{precision}.jsonl"
        if not file.exists():
            model = self.model(case) if precision == "f32" else self.quantised(case)
            told = self.make(file, "score", "--model", model, "--maps", self.folder / file.stem, "--format", "json", "--device", "cpu",
                             "--precision", precision, self.folder / "compared")
            file.write_text(told)
        return file

    def difference(self, case) -> dict:
        """How far ckaad's int8 is from its f32."""
        if stem(case) not in self.differences:
            off = norm = 0.0
            scores = []
            for f32, int8 in zip(*(map(json.loads, self.scores(case, p).read_text().splitlines()) for p in ("f32", "int8"))):
                x, y = numbers(Path(f32["map"])), numbers(Path(int8["map"]))
                off, norm = off + math.dist(x, y) ** 2, norm + sum(map(operator.mul, x, x))
                scores.append(abs(int8["score"] / f32["score"] - 1))
            self.differences[stem(case)] = {"difference": math.sqrt(off / norm), "score_difference": statistics.median(scores)}
        return self.differences[stem(case)]

    def pictures(self):
        """Copies the pictures that are used out of a dataset: train/good, and test/*."""
        if (self.folder / "compared").exists():
            return
        data = self.a.data
        if data is None:
            data = Path(self.temporary.name) / "demo/data"
            self.make(data, "demo", "--epochs", 1, "--out", data.parent)
        for name, pattern, count in ("normal", "train/good/*", NORMAL), ("compared", "test/*/*", COMPARED):
            found = sorted(data.glob(pattern))
            if len(found) < count:
                sys.exit(f"--data {data}: {len(found)} pictures {pattern}, {count} are needed")
            (self.folder / name).mkdir(parents=True)
            for i in range(count):
                path = found[i * len(found) // count]
                shutil.copyfile(path, self.folder / name / f"{i:02}{path.suffix}")

    def make(self, file: Path, *command) -> str:
        """Calls ckaad unless the file is there; returns what it said."""
        if file.exists():
            return ""
        print(f"  making {file.name}", file=sys.stderr)
        done = subprocess.run([self.a.ckaad, *map(str, command), "--threads", str(self.a.threads)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"ckaad {command[0]} failed: {done.stderr.strip()}")
        return done.stdout

    @staticmethod
    def print_header():
        print(f"{'case':<38} {'ckaad':>11} {'of f32':>6} {'OpenVINO':>11} {'ratio':>6} {'latency':>11} {'ratio':>6} "
              f"{'ONNX Runt.':>11} {'ratio':>6}  best of OpenVINO")

    @staticmethod
    def print_rows(lines: list[dict]):
        """One row for every case and precision: medians over the rounds. "latency" is OpenVINO's best at one batch at a time."""
        times: dict[str, dict[str, list[dict]]] = {}
        for line in lines:
            if usable(line, DIFFERENCE_LIMIT):
                times.setdefault(line["case"], {}).setdefault(line["implementation"], []).append(line)
        for case, found in times.items():
            rounds = max(map(len, found.values()))
            # One lucky measurement is no median: only what was timed in every round.
            medians = {who: median_of(ls) for who, ls in found.items() if len(ls) == rounds}

            def best(pattern: str) -> tuple[float, str]:
                return min(((s, who) for who, s in medians.items() if fnmatch.fnmatch(who, pattern)), default=(math.nan, "-"))

            ours, _ = best("ckaad")
            f32 = times.get(f"{case.rsplit('-', 1)[0]}-f32", {}).get("ckaad", [])
            of_f32 = ratio(ours, median_of(f32)) if f32 else "-"
            (fastest, name), (latency, one), (ort, other) = map(best, ("openvino *", "openvino * latency", "onnxruntime *"))
            loud = noisy({who: found[who] for who in dict.fromkeys(("ckaad", name, one, other)) if who in found})
            print(f"{case:<38} {ms(ours):>11} {of_f32:>6} {ms(fastest):>11} {ratio(ours, fastest):>6} {ms(latency):>11} "
                  f"{ratio(ours, latency):>6} {ms(ort):>11} {ratio(ours, ort):>6}  {name.removeprefix('openvino ')}"
                  f"{'  noisy: ' + ', '.join(loud) if loud else ''}", flush=True)


def stem(case) -> str:
    return f"{case.backbone}-{case.size}"


def numbers(file: Path) -> array.array:
    """The f32 numbers of a .npy file."""
    data = file.read_bytes()
    out = array.array("f")
    out.frombytes(data[10 + int.from_bytes(data[8:10], "little"):])
    return out
