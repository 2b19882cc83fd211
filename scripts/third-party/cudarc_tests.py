"""cudarc's own tests and examples, out of its crate."""

import json
import pathlib
import shutil
import subprocess

from common import ROOT, WORK, environment, reports, venv, write

CUDA, VERSION = "12.9", "12.9.86"
# The compiler, and the headers that one of the tests includes.
PACKAGES = [f"nvidia-cuda-nvrtc-cu12=={VERSION}", "nvidia-cuda-runtime-cu12==12.9.79"]
FEATURES = "std,driver,nvrtc,f16,f8,f4,dynamic-loading,cuda-12090"
# cuFile, CUPTI and the rest are libraries of NVIDIA's own.
EXAMPLES = [
    "01-allocate", "02-copy", "03-launch-kernel", "04-streams", "05-device-repr", "06-threading", "09-constant-memory",
    "10-function-attributes", "12-context-config", "13-copy-multi-gpu", "matmul-kernel", "nvrtc-compile",
]
SECONDS = 600


def source():
    """The crate in the version of Cargo.lock, copied to be built by itself."""
    metadata = subprocess.run(["cargo", "metadata", "--format-version", "1"], cwd=ROOT, check=True, capture_output=True)
    crate = next(p for p in json.loads(metadata.stdout)["packages"] if p["name"] == "cudarc")
    folder = WORK / f"cudarc-{crate['version']}"
    if not folder.exists():
        shutil.copytree(pathlib.Path(crate["manifest_path"]).parent, folder)
        for name in ["Cargo.lock", "Cargo.toml.orig"]:
            (folder / name).unlink(missing_ok=True)
        # It lies in this project's folder and is none of its packages.
        with open(folder / "Cargo.toml", "a") as manifest:
            manifest.write("\n[workspace]\n")
    return folder


def one(name, command, env, folder):
    try:
        done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
        code, text = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        code, text = None, f"not done in {SECONDS} s"
    said = [l for l in text.splitlines() if l.strip()]
    panic = next((said[i + 1] for i, l in enumerate(said[:-1]) if "panicked at" in l), said[-1] if said else "")
    result = {"test": name, "outcome": "passed" if code == 0 else "failed", "reports": reports(text)}
    print(f"{result['outcome']} {name}", flush=True)
    return result if code == 0 else {**result, "reason": panic[:300]}


def run(library):
    folder, packages = source(), venv("cudarc-venv", PACKAGES)
    # One test includes a header from the system's folder of a toolkit.
    launch = folder / "src/driver/safe/launch.rs"
    headers = packages / "nvidia/cuda_runtime/include"
    launch.write_text(launch.read_text().replace('"/usr/include".into()', f'"{headers}".into()'))
    target = WORK / "cudarc-target"
    flags = ["--no-default-features", "--features", FEATURES, "--target-dir", str(target)]
    subprocess.run(["cargo", "test", "--lib", "--no-run", *flags], cwd=folder, check=True)
    for example in EXAMPLES:
        subprocess.run(["cargo", "build", "--quiet", "--example", example, *flags], cwd=folder, check=True)
    tests = max(
        (p for p in (target / "debug/deps").glob("cudarc-*") if p.suffix == ""), key=lambda p: p.stat().st_mtime
    )
    env = environment(library, CUDA, [packages / "nvidia/cuda_nvrtc/lib"], PTXSIM_CARD="a100,a100")
    listed = subprocess.run([tests, "--list"], env=env, cwd=folder, check=True, capture_output=True, text=True).stdout
    names = [l.removesuffix(": test") for l in listed.splitlines() if l.endswith(": test")]
    names = [n for n in names if n.split("::")[0] in ("driver", "nvrtc")]
    results = [one(n, [tests, "--exact", n, "--include-ignored"], env, folder) for n in names]
    results += [one(f"example {e}", [target / "debug/examples" / e], env, folder) for e in EXAMPLES]
    write(WORK / "cudarc.jsonl", results)
