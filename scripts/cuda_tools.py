"""The pinned CUDA compiler from PyPI, in a virtual environment of its own: for compile-kernels and check-kernels.

NVRTC 12.1 writes PTX ISA 8.1, which drivers from 530 on accept; newer compilers stamp versions that they reject.
No GPU, driver or toolkit is needed, only Python with venv and, the first time, PyPI.
"""

import ctypes
import hashlib
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
KERNELS = ROOT / "kernels"
PTX = KERNELS / "ptx"
VENV = ROOT / "target" / "cuda-tools"
VERSION = "12.1.105"
PACKAGES = ["nvidia-cuda-nvrtc-cu12", "nvidia-cuda-runtime-cu12", "nvidia-cuda-nvcc-cu12"]


def nvidia():
    """The folder of the wheels' files; installs them the first time."""
    found = sorted(VENV.glob("lib/python3*/site-packages/nvidia/cuda_nvcc/bin/ptxas"))
    if not found:
        print(f"installing CUDA compiler {VERSION} from PyPI into {VENV}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        pinned = [f"{p}=={VERSION}" for p in PACKAGES]
        subprocess.run([VENV / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *pinned], check=True)
        found = sorted(VENV.glob("lib/python3*/site-packages/nvidia/cuda_nvcc/bin/ptxas"))
    return found[0].parents[2]


def sources(names):
    """`kernels/<name>.cu` for each name, or all."""
    if names:
        return [KERNELS / f"{n.removesuffix('.cu')}.cu" for n in names]
    return sorted(KERNELS.glob("*.cu"))


def source_hash(path):
    """SHA-256 over a source and the project's headers it includes, in the order they are met. build.rs does the same."""
    seen, digest = [], hashlib.sha256()

    def visit(p):
        if p in seen:
            return
        seen.append(p)
        text = p.read_bytes()
        digest.update(text)
        for name in re.findall(rb'^#include "([^"]+)"', text, re.M):
            visit(KERNELS / name.decode())

    visit(path)
    return digest.hexdigest()


class Nvrtc:
    """NVRTC through ctypes."""

    def __init__(self):
        root = nvidia()
        ctypes.CDLL(str(next(root.glob("cuda_nvrtc/lib/libnvrtc-builtins.so*"))), mode=ctypes.RTLD_GLOBAL)
        self.lib = ctypes.CDLL(str(next(root.glob("cuda_nvrtc/lib/libnvrtc.so*"))))
        self.include = root / "cuda_runtime/include"

    def text(self, program, what):
        size = ctypes.c_size_t()
        getattr(self.lib, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self.lib, f"nvrtcGet{what}")(program, buffer)
        return buffer.value.decode()

    def compile(self, path, target):
        """PTX of one source; exits with the compiler's log where it does not compile."""
        program = ctypes.c_void_p()
        name = path.name.encode()
        self.lib.nvrtcCreateProgram(ctypes.byref(program), path.read_bytes(), name, 0, None, None)
        options = [f"--gpu-architecture={target}", "--std=c++17", f"-I{KERNELS}", f"-I{self.include}"]
        array = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
        failed = self.lib.nvrtcCompileProgram(program, len(options), array)
        log = self.text(program, "ProgramLog").strip()
        if log:
            print(log, file=sys.stderr)
        if failed:
            sys.exit(f"{path}: does not compile")
        return self.text(program, "PTX")
