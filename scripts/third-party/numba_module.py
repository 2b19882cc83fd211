"""The tests of the module that NUMBA_TESTS names, for pytest: it cannot import them by their path, since numba-cuda puts its modules
into numba's package. And a plugin that writes what comes of each test to NUMBA_RESULTS as it comes."""

import importlib
import json
import os
import unittest

import pytest

# Errors after which every later call of the process fails, too.
STICKY = ("CUDA_ERROR", "CudaAPIError", "CUDAError", "Call to cu")
BEGIN = "test that begins: "
_stop = False
_module = importlib.import_module(os.environ["NUMBA_TESTS"])


def _is_test(name, value):
    case = isinstance(value, type) and issubclass(value, unittest.TestCase)
    hook = name.lower().startswith(("test", "setup", "teardown"))
    return getattr(value, "__module__", None) == _module.__name__ and (case or hook)


globals().update({name: value for name, value in vars(_module).items() if _is_test(name, value)})


def _log(**entry):
    with open(os.environ["NUMBA_RESULTS"], "a") as file:
        file.write(json.dumps(entry) + "\n")


@pytest.fixture(scope="class")
def initialize_from_pytest_config(request):
    """What numba-cuda's conftest sets, which is not in its wheel."""
    request.cls._dump_failed_filechecks = False


class Plugin:
    def pytest_runtest_logstart(self, nodeid, location):
        _log(begin=nodeid)
        # Among what the stand-in reports there.
        os.write(2, f"\n{BEGIN}{nodeid}\n".encode())

    def pytest_runtest_logreport(self, report):
        global _stop
        if report.when != "call" and report.outcome == "passed" or report.when == "teardown":
            return
        text = str(report.longrepr or "")
        outcome = "xfailed" if report.skipped and hasattr(report, "wasxfail") else report.outcome
        _log(test=report.nodeid, outcome=outcome, text=text[-2000:])
        _stop |= outcome == "failed" and any(error in text for error in STICKY)

    def pytest_runtest_logfinish(self, nodeid, location):
        if _stop:
            os._exit(77)


if __name__ == "__main__":
    import sys

    sys.exit(pytest.main([__file__, *sys.argv[1:]], plugins=[Plugin()]))
