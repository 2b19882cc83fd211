"""What is said of the types agrees with what is there: the stub with the module, the docstrings with the signatures."""

import inspect
import subprocess
import sys
import textwrap

import pytest

import ckaad
import ckaad.sklearn
from ckaad import _ckaad

CLASSES = [ckaad.Detector, ckaad.Region, ckaad.Scored, ckaad.Threshold]


def mypy(*args, cwd):
    return subprocess.run([sys.executable, "-m", *args], cwd=cwd, capture_output=True, text=True, timeout=300)


def test_stub(tmp_path):
    done = mypy("mypy.stubtest", "ckaad._ckaad", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


USES = """
    from pathlib import Path
    from typing import List, Optional, Union

    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    import ckaad
    from ckaad.sklearn import OutlierDetector

    detector: ckaad.Detector = ckaad.Detector.load(Path("m"), precision="f32", batch_size=4)
    told = lambda stage, done, of, losses: None
    trained = ckaad.Detector.fit("good", ["a.png", b""], progress=told, layers=(2, 3), lr=0.1)
    one: ckaad.Scored = detector.score("a.png")
    also: ckaad.Scored = detector.score(Image.new("L", (8, 8)))
    many: List[ckaad.Scored] = detector.score(["a.png", Path("b.png"), np.zeros((8, 8), np.uint8)])
    some: List[Union[ckaad.Scored, Exception]] = detector.score(["a.png"], errors="return")
    array = detector.score(np.zeros((8, 8), np.uint8)).score
    map_: Optional[npt.NDArray[np.float32]] = one.map
    boxes = [region.box[0] + 1.0 for region in one.regions or []]
    threshold: ckaad.Threshold = ckaad.Threshold(0.5, pixel=0.1)
    moved: ckaad.Detector = trained.with_threshold(0.5).with_threshold(ckaad.Threshold.best_f1(many, [one]))
    auroc = detector.evaluate(normal=ckaad.list_pictures("good"), pro="paper")["image_auroc"]
    fitted: OutlierDetector = OutlierDetector("patchcore", layers=range(2, 4)).fit(["a.png", Path("b.png")])
    verdicts: npt.NDArray[np.int64] = fitted.predict(np.zeros((2, 8, 8, 3), np.uint8))
    x = one.scroe  # wrong
    x = many.score  # wrong
    one.score = 1.0  # wrong
    detector.score("a.png", errors="ignore")  # wrong
    ckaad.Detector.load("m", bach_size=4)  # wrong
    ckaad.Detector.fit("good", epochs="many")  # wrong
    OutlierDetector(epochs="many")  # wrong
    fitted.predict(3)  # wrong
"""


def test_uses(tmp_path):
    uses = textwrap.dedent(USES)
    (tmp_path / "uses.py").write_text(uses)
    done = mypy("mypy", "--strict", "--no-error-summary", "uses.py", cwd=tmp_path)
    wrong = {i for i, line in enumerate(uses.splitlines(), 1) if line.endswith("# wrong")}
    found = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error: " in line}
    assert found == wrong and len(wrong) == 8, done.stdout


def functions():
    yield from (ckaad.list_pictures, ckaad.set_threads)
    # Before that the signature of a class in C was not looked for.
    if sys.version_info >= (3, 10):
        yield ckaad.Threshold
    for one in [*CLASSES, ckaad.sklearn.OutlierDetector]:
        yield from (
            f for name, f in inspect.getmembers(one, callable) if name in vars(one) and not name.startswith("_")
        )


@pytest.mark.parametrize("function", list(functions()), ids=lambda f: f.__qualname__)
def test_every_parameter_is_described(function):
    words = inspect.getdoc(function)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "X")]
    for parameter in parameters:
        assert parameter.default is not ..., f"{function.__qualname__} hides the default of {parameter.name}"
        assert parameter.name in words, f"{function.__qualname__} says nothing of {parameter.name}"
    if parameters and not function.__qualname__.startswith("OutlierDetector"):
        assert "Parameters\n---" in words and "Raises\n---" in words


def test_every_class_and_property_is_described():
    for one in CLASSES:
        assert len(inspect.getdoc(one)) > 30
        properties = [name for name in vars(one) if inspect.isgetsetdescriptor(vars(one)[name])]
        assert properties
        for name in properties:
            kind, words = inspect.getdoc(vars(one)[name]).split(":", 1)
            known = ("str", "float", "bool", "int", "list", "tuple", "dict", "numpy.ndarray", "Threshold")
            assert kind.startswith(known) and len(words) > 10, f"{one.__name__}.{name}"


def test_what_is_exported():
    assert set(_ckaad.__all__) - set(ckaad.__all__) == {
        f"restore_{of}" for of in ("detector", "region", "scored", "threshold")
    }
    assert all(hasattr(ckaad, name) for name in ckaad.__all__)
    assert all(issubclass(e, ckaad.CkaadError) for e in (ckaad.DataError, ckaad.DeviceError, ckaad.UsageError))
