"""numba-cuda's test suite, out of its wheel."""

import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess

from common import WORK, environment, reports, venv, write

CUDA = "13.5"
# Without nvidia-nvjitlink, which links to machine code: cuda-core then links through the driver.
PACKAGES = [
    "numba-cuda==0.30.4", "numba==0.68.1", "cuda-bindings==13.5.0", "cuda-core==1.2.2", "nvidia-cuda-nvrtc==13.5.37",
    "nvidia-nvvm==13.5.37", "nvidia-cuda-runtime==13.5.37", "nvidia-cuda-cccl==13.3.5.0.6", "numpy==2.4.6",
    "cffi", "filecheck", "ml_dtypes", "psutil", "pytest==9.2.0", "pytest-timeout==2.4.0",
]
# Of one test, and of a module.
SECONDS, MODULE_SECONDS = 120, 1800
HERE = pathlib.Path(__file__).parent
# As numba_module.py marks the tests.
BEGIN = "test that begins: "


def process(python, module, env, results, chosen):
    """One process: from the first test that is not done yet to the end, or to what it breaks. Its exit code and what it printed."""
    command = [python, HERE / "numba_module.py", "-q", "-s", "-p", "no:cacheprovider", "--tb=short"]
    command += [f"--timeout={SECONDS}", "--timeout-method=thread", "--rootdir", HERE, *chosen]
    env = {**env, "NUMBA_TESTS": f"numba.cuda.tests.{module.removesuffix('.py').replace('/', '.')}"}
    env |= {"NUMBA_RESULTS": str(results)}
    try:
        done = subprocess.run(command, env=env, cwd=WORK, capture_output=True, text=True, timeout=MODULE_SECONDS)
        return done.returncode, done.stderr or done.stdout
    except subprocess.TimeoutExpired:
        return None, f"not done in {MODULE_SECONDS} s"


def module_results(python, module, env):
    """What comes of each test of a module: entries with test, outcome, text, reports."""
    log = WORK / "numba" / f"{module.replace('/', '.')}.log"
    log.parent.mkdir(exist_ok=True)
    found = {}
    while True:
        log.unlink(missing_ok=True)
        chosen = [flag for test in found for flag in ("--deselect", test)]
        code, text = process(python, module, env, log, chosen)
        entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        said = {part.split("\n", 1)[0]: part for part in text.split(BEGIN)[1:]}
        new = {}
        for entry in entries:
            test = entry.get("begin") or entry["test"]
            was = new.setdefault(test, {"test": test, "outcome": None, "text": f"ends its process, code {code}"})
            # A test has as many outcomes as it has subtests: a failure counts before all others.
            if "outcome" in entry and was["outcome"] != "failed":
                was |= entry
        for entry in new.values():
            entry["outcome"] = entry["outcome"] or "failed"
            entry |= {"module": module, "reports": reports(said.get(entry["test"], ""))}
        found |= new
        if code in (0, 5) or not new or code == 1 and "ends its process" not in [*new.values()][-1]["text"]:
            break
    log.unlink(missing_ok=True)
    if not found and code not in (0, 5):
        return [{"module": module, "test": module, "outcome": "failed", "text": text[-2000:], "reports": reports(text)}]
    return list(found.values())


def again(python, module, env, results):
    """Runs what failed once more, each by itself, as a card would."""
    names = sorted({e["test"] for e in results if e["outcome"] == "failed" and "::" in e["test"]})
    log = WORK / "numba" / f"{module.replace('/', '.')}.again"
    passed = []
    for name in names:
        log.unlink(missing_ok=True)
        keyword = ["-k", name.split("::")[-1].split("[")[0]]
        process(python, module, {**env, "PTXSIM_UNWRITTEN": "allow"}, log, keyword)
        entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        outcomes = {e["outcome"] for e in entries if e.get("test") == name}
        passed += [name] if outcomes and "failed" not in outcomes else []
    log.unlink(missing_ok=True)
    return [{**e, "outcome": "reported"} if e["outcome"] == "failed" and e["test"] in passed else e for e in results]


def run(library, only):
    packages = venv("numba-venv", PACKAGES)
    python = packages.parents[2] / "bin/python"
    tests = packages / "numba_cuda/numba/cuda/tests"
    modules = sorted(str(p.relative_to(tests)) for p in tests.glob("*/test_*.py"))
    # The simulator's tests run without a driver; benchmarks measure.
    modules = [m for m in modules if m.split("/")[0] not in ("cudasim", "benchmarks")]
    modules = [m for m in modules if not only or m in only]
    env = environment(library, CUDA)

    def one(module):
        results = again(python, module, env, module_results(python, module, env))
        counts = collections.Counter(e["outcome"] for e in results)
        print(module, dict(counts), flush=True)
        return results

    with concurrent.futures.ThreadPoolExecutor(max(1, (os.cpu_count() or 2))) as pool:
        results = [entry for found in pool.map(one, modules) for entry in found]
    write(WORK / ("numba-only.jsonl" if only else "numba.jsonl"), results)
