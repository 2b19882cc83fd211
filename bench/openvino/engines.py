"""Which engines are timed, and how they are told to compute. Standard library only: `compare` asks, too."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Engine:
    package: str
    precision: str
    # OpenVINO: LATENCY runs one request on all threads, THROUGHPUT several at a time.
    hint: str = ""
    # OpenVINO: what layers compute in that have no 8 bits.
    rest: str = "f32"


ENGINES = {f"openvino {name} {hint}": Engine("openvino", precision, hint.upper(), rest)
           for name, precision, rest in (("f32", "f32", "f32"), ("bf16", "bf16", "bf16"), ("int8", "int8", "f32"),
                                         ("int8-bf16", "int8", "bf16"))
           for hint in ("latency", "throughput")}
ENGINES |= {f"onnxruntime {p}": Engine("onnxruntime", p) for p in ("f32", "int8")}
