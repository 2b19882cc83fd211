"""Which ways of running the networks in PyTorch are tried, by work, device and precision. Standard library only.

Lists are short on purpose: what the manuals recommend, alone and in the combinations that make sense. "eager" is
PyTorch as one writes it down first: contiguous, batch norms apart, autocast for 16-bit precisions, nothing tuned.
"""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    layout: str = "channels_last"
    fold: bool = True  # batch norms folded into the convolutions, cudnn.benchmark, fused Adam
    convert: bool = False  # parameters themselves in 16 bits; without it 16-bit precisions run under autocast
    group_norm: bool = False  # instance norms as group norms
    jit: bool = False  # torch.jit.trace, freeze and optimize_for_inference
    compile: str = ""  # torch.compile mode; "freezing" is the default mode with inductor's freezing
    graph: bool = False  # the whole work, copies included, captured as one CUDA graph

    def name(self, work: str, precision: str) -> str:
        if not self.fold:
            return "eager" if self.layout == "contiguous" else f"eager {self.layout}"
        cast = ("converted" if self.convert else "autocast") if precision in ("bf16", "f16") else ""
        words = [self.layout, cast, "folded" if work == "score" else "tuned", "group_norm" * self.group_norm]
        words += ["jit" * self.jit, f"compile={self.compile}" * bool(self.compile), "graph" * self.graph]
        return " ".join(w for w in words if w)


EAGER = [Variant("contiguous", fold=False), Variant(fold=False)]


def variants(work: str, device: str, precision: str) -> dict[str, Variant]:
    """Variants by name, in the order in which they are tried."""
    if device.startswith("cuda"):
        alone = "max-autotune-no-cudagraphs"
        tuned = [Variant(), Variant("contiguous", graph=True), Variant(graph=True)]
        tuned += [Variant(group_norm=True, graph=True)]
        if work == "score":
            tuned += [Variant(jit=True, graph=True)]
        tuned += [Variant("contiguous", compile="default", graph=True), Variant(compile="default", graph=True)]
        tuned += [Variant(compile="reduce-overhead"), Variant(compile="max-autotune")]
        tuned += [Variant(compile=alone, graph=True)]
        if work == "score" and precision in ("bf16", "f16"):
            # Converted for all, and autocast where it may win: autocast also casts around the norms.
            tuned = [Variant(**{**v.__dict__, "convert": True}) for v in tuned]
            tuned += [Variant(), Variant(compile=alone, graph=True)]
    else:
        tuned = [Variant("contiguous"), Variant(), Variant(compile="default"), Variant("contiguous", compile="default")]
        if work == "score":
            tuned += [Variant(group_norm=True), Variant(jit=True), Variant("contiguous", jit=True),
                      Variant(compile="freezing"), Variant("contiguous", compile="freezing")]
    return {v.name(work, precision): v for v in EAGER + tuned}
