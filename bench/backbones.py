#!/usr/bin/env python3
"""What a backbone is worth: tables of `ckaad experiment experiments/backbones.toml` with several `--weights`.

    python bench/backbones.py random=runs/random/results.jsonl formula=runs/formula/results.jsonl imagenet=runs/imagenet/results.jsonl

Prints, as Markdown, mean and deviation over seeds of each metric in percent, and which share of the way from the first backbone to the
last one the one between goes: that of the means, and from which to which it goes seed by seed; nothing where first and last are less than
a point apart, since that would be a share of noise."""
import json
import statistics
import sys

METRICS = [("image_auroc", "image AUROC"), ("pixel_auroc", "pixel AUROC"), ("aupro30", "AUPRO@0.3")]


def read(path):
    """Dataset, strategy -> metric -> percents of the seeds."""
    found = {}
    for line in open(path):
        row = json.loads(line)
        of = found.setdefault((row["dataset"], row["strategy"]), {})
        for metric, value in row["results"][0]["metrics"].items():
            if value is not None:
                of.setdefault(metric, {})[row["seed"]] = 100 * value
    return found


def cell(values):
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values.values()):.1f}" if len(values) > 1 else " (one seed)"
    return f"{statistics.mean(values.values()):.1f}{spread}"


def share(first, between, last):
    return 100 * (between - first) / (last - first)


def main():
    named = [argument.split("=", 1) for argument in sys.argv[1:]]
    if len(named) != 3 or any(len(pair) != 2 for pair in named):
        sys.exit(__doc__)
    runs = [(name, read(path)) for name, path in named]
    print(f"| data | strategy | metric | {' | '.join(name for name, _ in runs)} | share |")
    print("|---" * 7 + "|")
    for key in dict.fromkeys(key for _, run in runs for key in run):
        for metric, title in METRICS:
            values = [run.get(key, {}).get(metric, {}) for _, run in runs]
            if not any(values):
                continue
            told = "-"
            if all(values):
                first, between, last = (statistics.mean(v.values()) for v in values)
                if last - first >= 1:
                    seeds = set.intersection(*(set(v) for v in values))
                    shares = [share(*(v[seed] for v in values)) for seed in seeds]
                    told = f"{share(first, between, last):.0f} % ({min(shares):.0f} to {max(shares):.0f})"
            print(f"| {key[0]} | {key[1]} | {title} | {' | '.join(map(cell, values))} | {told} |")


main()
