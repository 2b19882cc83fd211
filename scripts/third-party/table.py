"""The page with what passes, out of the results of single tests."""

import collections
import re

import cudarc_tests
import numba_tests
from common import WORK, read

# Why a test fails or is reported: what its error or the stand-in's report says, and what that means. The first that fits counts.
REASONS = [
    (r"mbarrier", "`mbarrier`, which is not emulated"),
    (r"cuIpc", "IPC: another process on the card's memory"),
    (r"is recursive", "recursive functions on the device"),
    (r"cudaCG", "a grid that waits for all its blocks (cooperative launch)"),
    (r"test_cpu_and_cuda|cupy", "numba's cache of CPU code, or a package that is not installed: none of the card's"),
    (r"no default __reduce__", "pickling, which the suite's own bindings refuse"),
    (r"test_warning.*AssertionError|AssertionError: 1 != 0", "a warning that nvJitLink is not installed"),
    (r"shared memory race", "race in shared memory"),
    (r"uninitialised read|was never written", "memory read that nobody wrote"),
    (r"bad member mask", "a mask that names lanes which are not there"),
    (r"out of bounds", "access beyond an array"),
    (r"in no allocation, it was freed|cuMemFree.* uses .* nobody has waited", "memory freed before the work that uses it"),
    (r"cuModuleUnload: .* nobody has waited", "a module unloaded before its kernel was waited for"),
    (r"race on", "work on the same bytes in no order"),
    (r"is of another context", "a stream of another context than the current one"),
    (r"context .* was destroyed|no context is current", "a call with no context current, or a destroyed one"),
    (r"flags 0x|the event was last recorded in a capture|a pool that", "a wrong call that the test makes on purpose"),
    (r"does not hold in", "an assertion in a kernel that fails on purpose"),
    (r"ends its process|ended its process|not done in", "slower than the time limit, or a crash"),
    (r"not greater than|registers", "numbers of the compiler (registers) that an emulator does not have"),
    (r"faster|vs \d|par=", "speeds of a card"),
    (r"instruction `([^`]*)`|`([^`]*)`: modifier", "an instruction that is not emulated"),
]


def reason(entry):
    text = "\n".join([*entry.get("reports", []), entry["test"], entry.get("reason", ""), entry.get("text", "")])
    for pattern, meaning in REASONS:
        if re.search(pattern, text):
            return meaning
    errors = re.findall(r"^E\s+(.*)$", text, re.M)
    last = errors[-1] if errors else text.strip().splitlines()[-1] if text.strip() else "no message"
    return last[:100].replace("|", "\\|")


def rows(header, lines):
    return "\n".join([f"| {' | '.join(header)} |", "|---" * len(header) + "|", *(f"| {' | '.join(map(str, l))} |" for l in lines)])


def grouped(entries):
    """Reasons with counts and the first test of each."""
    kinds = collections.defaultdict(list)
    for entry in entries:
        kinds[reason(entry)].append(entry["test"].removeprefix("numba_module.py::"))
    ordered = sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    return [(len(tests), why, f"`{tests[0]}`") for why, tests in ordered]


def cudarc():
    results = read(WORK / "cudarc.jsonl")
    count = collections.Counter(r["outcome"] for r in results)
    told = [r for r in results if r["outcome"] == "passed" and r["reports"]]
    parts = collections.defaultdict(collections.Counter)
    for r in results:
        parts[" ".join(r["test"].split("::tests::")[0].split()[:1])][r["outcome"]] += 1
    table = rows(("part", "passed", "failed"), [(f"`{p}`", c["passed"], c["failed"]) for p, c in sorted(parts.items())])
    failed = rows(("", "why it fails", "test"), grouped(r for r in results if r["outcome"] == "failed"))
    reported = rows(("", "what is reported where the test passes", "test"), grouped(told))
    version = next(WORK.glob("cudarc-[0-9]*")).name.removeprefix("cudarc-")
    return f"""## cudarc {version}

Features `{cudarc_tests.FEATURES}`, NVRTC {cudarc_tests.VERSION}, two cards, tests that the crate ignores by default among them:
**{count['passed']} of {len(results)} pass**.

{table}

{failed}

{reported}
"""


def numba():
    results = read(WORK / "numba.jsonl")
    modules = collections.defaultdict(collections.Counter)
    for r in results:
        modules[r["module"]][r["outcome"]] += 1
    count = collections.Counter(r["outcome"] for r in results)
    as_card = count["passed"] + count["xfailed"] + count["reported"]
    ran = as_card + count["failed"]
    columns = ("passed", "reported", "failed", "skipped")
    lines = [
        (f"`{m}`", c["passed"] + c["xfailed"], *(c[k] or "" for k in columns[1:])) for m, c in sorted(modules.items())
    ]
    failed = rows(("", "why it fails", "test"), grouped(r for r in results if r["outcome"] == "failed"))
    told = rows(("", "what is reported", "test"), grouped(r for r in results if r["outcome"] == "reported"))
    packages = ", ".join(p for p in numba_tests.PACKAGES if "==" in p)
    return f"""## numba-cuda {numba_tests.PACKAGES[0].split('==')[1]}

With {packages}: **{as_card} of {ran} that are not skipped pass as on a card ({100 * as_card / ran:.1f} %)**, {count['reported']} of them
only with the stand-in's checks off: it reports what a card lets pass. {count['skipped']} are skipped by the suite itself.

numba-cuda links by nvJitLink, whose output is machine code. Where that is not installed it links through the driver, and the stand-in links PTX to
PTX. Tests of nvJitLink and of link-time optimisation are among the skipped ones for that reason.

{failed}

{told}

{rows(("module", *columns), lines)}
"""


def text():
    page = """# Other projects' tests on the stand-in

Written by `scripts/third-party/run`, which fetches what is tested from its registry; do not edit. On a card of no kind: an emulator.

"""
    parts = [part() for part, name in ((cudarc, "cudarc"), (numba, "numba")) if (WORK / f"{name}.jsonl").exists()]
    return page + "\n".join(parts)
