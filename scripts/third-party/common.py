"""Where things are, the stand-in, virtual environments, results as JSON lines."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "third-party"
CARGO_TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def stand_in():
    """Builds the stand-in; a folder in which it has the driver's names."""
    subprocess.run(["cargo", "build", "--release", "-p", "ptxsim-cuda"], cwd=ROOT, check=True)
    folder = WORK / "stand-in"
    folder.mkdir(parents=True, exist_ok=True)
    # A copy: what is built meanwhile changes nothing here.
    (folder / "libcuda.so.1").unlink(missing_ok=True)
    (folder / "libcuda.so.1").write_bytes((CARGO_TARGET / "release" / "libptxsim_cuda.so").read_bytes())
    if not (folder / "libcuda.so").is_symlink():
        (folder / "libcuda.so").symlink_to("libcuda.so.1")
    return folder


def venv(name, packages):
    """A virtual environment with these packages; its folder of packages. Made anew if they are others than last time."""
    folder = WORK / name
    wanted, known = "\n".join(packages), folder / "packages.txt"
    if not known.exists() or known.read_text() != wanted:
        print(f"installing {' '.join(packages)} from PyPI into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        quiet = ["--quiet", "--disable-pip-version-check"]
        subprocess.run([folder / "bin/pip", "install", *quiet, *packages], check=True)
        known.write_text(wanted)
    return next(folder.glob("lib/python3*/site-packages"))


def environment(library, driver, folders=(), **more):
    """Variables of a process on the stand-in; `driver` is the CUDA that it supports."""
    path = ":".join(str(f) for f in (library, *folders))
    # Reports are counted by what is printed; what tests leave behind at their end is their own.
    ours = {"LD_LIBRARY_PATH": path, "PTXSIM_DRIVER": driver, "PTXSIM_EXIT": "0", "PTXSIM_LEAKS": "ignore"}
    return {**os.environ, **ours, **more}


def reports(text):
    """What the stand-in found, by the lines that it prints."""
    lines = [l.removeprefix("ptxsim-cuda: ") for l in text.splitlines() if l.startswith("ptxsim-cuda: ")]
    return [l for l in lines if "found; exit code" not in l]


def write(path, results):
    path.write_text("".join(json.dumps(r) + "\n" for r in results))


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
