"""What the lines of measurements hold, and what `compare` makes of them. Standard library only."""
from __future__ import annotations

import math
import statistics


def summary(times: list[float]) -> dict:
    """The fields of a line that times give: nearest-rank percentiles, and whether they vary too much to be believed."""
    t = sorted(times)
    rank = lambda q: t[min(len(t) - 1, math.ceil(q * len(t)) - 1)]  # noqa: E731
    total = {"median_s": rank(0.5), "p95_s": rank(0.95), "p99_s": rank(0.99), "min_s": t[0]}
    return {"repetitions": len(times), "stages": {"total": total},
            "noisy": total["p95_s"] > 1.2 * total["median_s"] or total["median_s"] > 1.2 * total["min_s"]}


def seconds(line: dict) -> float:
    return line["stages"]["total"]["median_s"]


def median_of(lines: list[dict]) -> float:
    return statistics.median(map(seconds, lines))


def usable(line: dict, limits: dict[str, float]) -> bool:
    """Whether a line holds a time, and one of right results (null is a NaN among them)."""
    difference = line.get("difference", 0.0)
    return "error" not in line and difference is not None and difference <= limits[line["precision"]]


def noisy(sides: dict[str, list[dict]]) -> list[str]:
    return [who for who, lines in sides.items() if any(line.get("noisy") for line in lines)]


def ms(s: float) -> str:
    return "-" if math.isnan(s) else f"{1e3 * s:.3f} ms"


def ratio(s: float, of: float) -> str:
    return "-" if math.isnan(s / of) else f"{s / of:.2f}"
