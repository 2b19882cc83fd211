"""Training has the bits of the command line's; it tells how far it is, and can be stopped."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from PIL import Image

import ckaad
from conftest import scored


def test_equal_bits(data, model, settings, pictures, tmp_path):
    out = tmp_path / "m.safetensors"
    detector = ckaad.Detector.fit(data / "train/good", device="cpu", out=out, **settings)
    lines = scored("--model", model, *pictures)
    assert [f.score for f in detector.score(pictures)] == [line["score"] for line in lines]
    assert detector.threshold.value == lines[0]["threshold"]
    with pytest.raises(ckaad.UsageError, match="already there"):
        ckaad.Detector.fit(data / "train/good", device="cpu", out=out, **settings)
    longer = {**settings, "epochs": 4}
    resumed = ckaad.Detector.fit(data / "train/good", device="cpu", out=out, resume=True, **longer)
    whole = ckaad.Detector.fit(data / "train/good", device="cpu", **longer)
    assert resumed.score(pictures[0]).score == whole.score(pictures[0]).score


def test_arrays_and_labelled_pictures(data, settings, pictures):
    normal = [np.asarray(Image.open(p)) for p in sorted((data / "train/good").iterdir())]
    anomalous = [np.asarray(Image.open(p)) for p in pictures if "hole" in str(p)]
    heard = []
    told = lambda stage, done, of, losses: heard.append((stage, done, of, losses))
    of_arrays = {**settings, "strategy": "ckapatch"}
    detector = ckaad.Detector.fit(normal, anomalous, progress=told, device="cpu", **of_arrays)
    assert detector.training["anomalous"] == 5
    stages = [h[0] for h in heard]
    assert stages.count("pictures") == 17 and stages.index("pictures") < stages.index("training")
    last = [h for h in heard if h[0] == "training"][-1]
    assert last[1] == last[2] and set(last[3]) >= {"recon", "d_loss"}


def test_what_fails_in_a_callback_ends_the_training(data, settings):
    def progress(stage, done, of, losses):
        if stage == "training":
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        ckaad.Detector.fit(data / "train/good", progress=progress, device="cpu", **{**settings, "epochs": 500})


def test_ctrl_c(data, settings, tmp_path):
    script = textwrap.dedent(
        f"""
        import ckaad
        settings = {settings!r} | {{"epochs": 100000}}
        try:
            ckaad.Detector.fit({str(data / "train/good")!r}, device="cpu", out={str(tmp_path / "m.safetensors")!r},
                               progress=lambda stage, *_: print(stage, flush=True), **settings)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    while child.stdout.readline().strip() != "training":
        assert child.poll() is None
    started = time.monotonic()
    os.kill(child.pid, signal.SIGINT)
    out, _ = child.communicate(timeout=60)
    assert out.endswith("interrupted\n") and child.returncode == 0
    assert time.monotonic() - started < 30
    # It can be gone on from.
    assert (tmp_path / "m.checkpoint.safetensors").exists() and not (tmp_path / "m.safetensors").exists()


def test_patchcore(data, settings, pictures):
    of_bank = {k: v for k, v in settings.items() if k not in ("epochs", "strategy")}
    detector = ckaad.Detector.fit(data / "train/good", detector="patchcore", coreset=0.5, device="cpu", **of_bank)
    assert detector.method == "patchcore" and detector.score(pictures[0]).score > 0


@pytest.mark.parametrize(
    "wrong, error, text",
    [
        (dict(epcohs=3), TypeError, "did you mean 'epochs'"),
        (dict(strategy="best"), ckaad.UsageError, "best"),
        (dict(image_size=65), ckaad.UsageError, "65"),
        (dict(layers="two"), TypeError, "invalid type"),
        (dict(epochs=-1), TypeError, "-1"),
        (dict(holdout=1.5), ckaad.UsageError, "1.5"),
        (dict(holdout=0.1, folds=3), ckaad.UsageError, "one of them"),
        (dict(device="tpu"), ckaad.UsageError, "tpu"),
        (dict(precision="f12"), ckaad.UsageError, "f12"),
        (dict(precision="bf16"), ckaad.UsageError, "f32 only"),
        (dict(weights="nowhere.pth"), (OSError, ckaad.CkaadError), "nowhere"),
    ],
)
def test_wrong_settings(data, settings, wrong, error, text):
    with pytest.raises(error, match=text):
        ckaad.Detector.fit(data / "train/good", **{"device": "cpu", **settings, **wrong})


def test_wrong_pictures(data, settings, tmp_path):
    fit = lambda normal, *more: ckaad.Detector.fit(normal, *more, device="cpu", **settings)
    with pytest.raises(ckaad.UsageError, match="no normal picture"):
        fit([])
    with pytest.raises(ckaad.CkaadError, match="no pictures"):
        fit(tmp_path)
    with pytest.raises(OSError, match="nowhere"):
        fit([tmp_path / "nowhere.png"])
    with pytest.raises(ckaad.DataError, match="image 1"):
        fit([np.zeros((64, 64), np.uint8), np.full((64, 64), np.nan)])
