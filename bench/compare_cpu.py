#!/usr/bin/env python3
"""Our CPU device beside PyTorch, case by case in one run: bench/compare_cpu.py REFERENCE_DIR [--threads 2] [--rounds 3]

REFERENCE_DIR holds `ckaad_torch.py`, the method in PyTorch. Needs torch and numpy. For every case PyTorch and `cargo bench
--bench networks` take turns, `rounds` times each; the table shows the median of each side's medians and their ratio.
PyTorch is given the better of its contiguous and channels-last layouts, with random weights and pixels on both sides.

It also measures, with a ResNet-18 model at 256 px: process start to printed score (median of 20, files in the cache),
and peak memory of scoring and of training. Everything is written as JSON to bench/results/cpu.json.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def median(f, n, warm):
    times = []
    for _ in range(n + warm):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return statistics.median(times[warm:])


def torch_case(torch, R, name):
    """Median seconds of one case, the better of two memory layouts."""
    kind, net, size, batch = name.split("-")[:4]
    size = int(size)
    layers = (2, 3) if net == "resnet18" else (1, 2, 3)
    best = float("inf")
    for layout in (torch.contiguous_format, torch.channels_last):
        nets = [m.to(memory_format=layout) for m in R.build(net, layers, size)]
        if kind == "score":
            b, ae, _ = nets
            x = torch.randn(int(batch[1:]), 3, size, size).contiguous(memory_format=layout)

            def work():
                with torch.inference_mode():
                    f = b(x)
                    return R.image_scores(R.anomaly_maps(f, ae(f), size))

            best = min(best, median(work, 9, 2))
        else:
            trainer = R.Trainer(*nets)
            x, y = (torch.randn(8, 3, size, size).contiguous(memory_format=layout) for _ in range(2))
            best = min(best, median(lambda: trainer.step(x, y), 5, 1))
    return best


def run_with_peak(command):
    """Runs a command; returns its seconds and its peak resident memory in MB."""
    start = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=[
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0), (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0)])
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return seconds, usage.ru_maxrss / 1024


def program(threads):
    """Start-up time and memory of the program itself, on pictures of the demo."""
    subprocess.run(["cargo", "build", "--release"], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    ckaad = str(ROOT / "target/release/ckaad")
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        t = ["--threads", str(threads)]
        subprocess.run([ckaad, "demo", "--epochs", "1", "--out", f"{folder}/demo", *t], check=True, capture_output=True)
        data = f"{folder}/demo/data"
        train = [ckaad, "train", "--data", data, "--weights", "random", "--epochs", "1", *t, "--out"]
        run_with_peak([*train, f"{folder}/m.safetensors", "--image-size", "256", "--batch-size", "2"])
        picture = f"{data}/test/good/000.png"
        score = [ckaad, "score", "--model", f"{folder}/m.safetensors", picture, *t]
        runs = [run_with_peak(score) for _ in range(23)][3:]
        out["start_to_score_ms"] = 1e3 * statistics.median(r[0] for r in runs)
        out["score_peak_mb"] = max(r[1] for r in runs)
        big = ["--image-size", "128", "--batch-size", "16", "--feature-cache", "off", "--strategy", "ckapatch"]
        # Elastic pseudo-anomalies, so that 16 + 16 pictures run in every step.
        subprocess.run(["rm", "-r", f"{data}/train/anomalous"], check=True)
        out["train_128_16+16_peak_mb"] = run_with_peak([*train, f"{folder}/n.safetensors", *big])[1]
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("reference", type=Path)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--program-only", action="store_true", help="print start-up time and memory as JSON, nothing else")
    a = p.parse_args()
    if a.program_only:
        print(json.dumps(program(a.threads)))
        return
    sys.path.insert(0, str(a.reference))
    import ckaad_torch as R
    import torch

    load_before = os.getloadavg()
    torch.set_num_threads(a.threads)
    bench = ["cargo", "bench", "--bench", "networks", "--", "--threads", str(a.threads), "--case"]
    names = ["score-resnet18-256-b1", "score-resnet18-256-b8", "score-resnet18-128-b8", "score-wide_resnet50_2-256-b1",
             "score-wide_resnet50_2-256-b8", "train-resnet18-128-8+8", "train-resnet18-256-8+8"]
    rows = []
    print(f"{'case':<34} {'PyTorch':>10} {'ckaad':>10} {'ratio':>6} {'cached':>10} {'ratio':>6}")
    for name in names:
        theirs, ours, cached = [], [], []
        for _ in range(a.rounds):
            theirs.append(torch_case(torch, R, name))
            for case, into in ((name, ours), (f"{name}-cached", cached)):
                if case.endswith("cached") and not name.startswith("train"):
                    continue
                done = subprocess.run([*bench, case], cwd=ROOT, check=True, capture_output=True, text=True)
                into.append(json.loads(done.stdout.strip().splitlines()[-1])["median_s"])
        t, o = statistics.median(theirs), statistics.median(ours)
        row = {"case": name, "pytorch_s": t, "ckaad_s": o, "ratio": o / t, "pytorch_rounds": theirs, "ckaad_rounds": ours}
        extra = ""
        if cached:
            c = statistics.median(cached)
            row |= {"ckaad_cached_s": c, "cached_ratio": c / t}
            extra = f" {1e3 * c:>7.1f} ms {c / t:>6.2f}"
        rows.append(row)
        print(f"{name:<34} {1e3 * t:>7.1f} ms {1e3 * o:>7.1f} ms {o / t:>6.2f}{extra}", flush=True)
    # In a process of its own: a child's peak memory starts at its parent's, and PyTorch is large.
    again = [sys.executable, __file__, str(a.reference), "--threads", str(a.threads), "--program-only"]
    alone = subprocess.run(again, check=True, capture_output=True, text=True).stdout
    result = {"machine": {"cpu": cpu_name(), "threads": a.threads, "load_before": load_before},
              "pytorch": torch.__version__, "cases": rows, "program": json.loads(alone)}
    for key, value in result["program"].items():
        print(f"{key:<34} {value:>10.1f}")
    (ROOT / "bench/results").mkdir(exist_ok=True)
    (ROOT / "bench/results/cpu.json").write_text(json.dumps(result, indent=1) + "\n")


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
