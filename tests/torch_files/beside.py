"""Writes `beside/`: weights with other things beside them, as training scripts save them, by PyTorch 2.x. In each file `w` is
[1, 2, 3] (in `state_dict` where there is one).

    python3 tests/torch_files/beside.py
"""
import argparse, collections, io, pathlib, zipfile
import numpy as np
import torch

here = pathlib.Path(__file__).parent / "beside"
here.mkdir(exist_ok=True)
w = torch.tensor([1.0, 2.0, 3.0])


class Thing(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(1, 1)


beside = {
    "counter": collections.Counter(a=2),
    "numpy_scalar": np.float64(0.5),
    "numpy_array": np.arange(3.0),
    "namespace": argparse.Namespace(lr=0.1, layers=[1, 2]),
    "set": {1, 2},
    "frozenset": frozenset([3]),
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"\x00\xff"),
    "dtype": torch.float16,
    "device": torch.device("cpu"),
    "ordered": collections.OrderedDict(a=1),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "path": pathlib.PurePosixPath("a/b"),
    "uint16": torch.tensor([1, 2], dtype=torch.uint16),
    "complex": torch.tensor([1 + 2j]),
    "expanded": torch.ones(1).expand(3),
    "sparse": torch.eye(2).to_sparse(),
    "module": Thing(),
}
for name, value in beside.items():
    torch.save({"epoch": 3, name: value, "state_dict": {"w": w, "x": w * 2}}, here / f"{name}.pth")
for protocol in (3, 4, 5):
    torch.save({"state_dict": {"w": w, "x": w * 2}, **beside}, here / f"protocol{protocol}.pth", pickle_protocol=protocol)
# Old files hold their storages one behind the other: everything of a known type.
old = {k: v for k, v in beside.items() if k not in ("uint16", "complex", "sparse", "module")}
torch.save({"state_dict": {"w": w, "x": w * 2}, **old}, here / "stream.pth", _use_new_zipfile_serialization=False)

stored = io.BytesIO()
torch.save({"w": w, "x": w * 2}, stored)
with zipfile.ZipFile(stored) as source, zipfile.ZipFile(here / "deflated.pth", "w", zipfile.ZIP_DEFLATED) as target:
    for item in source.infolist():
        target.writestr(item.filename, source.read(item.filename))
