"""Training has the bits of the command line's, and tells how far it is."""

import collections
import warnings

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
        (dict(layers="two"), ckaad.UsageError, "layers='two': .*expected a sequence"),
        (dict(layers={1, 2}), ckaad.UsageError, "layers={1, 2}: expected"),
        (dict(layers="12"), ckaad.UsageError, "layers='12': .*expected a sequence"),
        (dict(layers=b"12"), ckaad.UsageError, "layers=b'12': expected"),
        (dict(layers=range(10**12)), ckaad.UsageError, r"layers=range\(0, 1000000000000\): expected"),
        (dict(layers=[[1], [2]]), ckaad.UsageError, "layers="),
        (dict(layers=[1.5, 2]), ckaad.UsageError, "layers="),
        (dict(layers=(n for n in (1, 2))), ckaad.UsageError, "layers=.*: expected"),
        (dict(image_size=2**70), ckaad.UsageError, "image_size=1180591620717411303424"),
        (dict(epochs=-1), ckaad.UsageError, "epochs=-1: .*whole number of 0 or more"),
        (dict(epochs=2.5), ckaad.UsageError, "epochs=2.5"),
        (dict(batch_size=0), ckaad.UsageError, "batch_size=0: expected 1 or more"),
        (dict(lr=float("nan")), ckaad.UsageError, "lr=nan: expected a finite number"),
        (dict(lr=True), ckaad.UsageError, "lr=True: expected a number or a text"),
        (dict(seed=-1), ckaad.UsageError, "seed=-1: expected a whole number"),
        (dict(seed="x"), ckaad.UsageError, "seed='x': expected a whole number"),
        (dict(folds=1), ckaad.UsageError, "1 fold"),
        (dict(holdout=1.5), ckaad.UsageError, "holdout=1.5: expected 0 to 1"),
        (dict(max_false_alarms="few"), ckaad.UsageError, "max_false_alarms='few': expected 0 to 1"),
        (dict(coreset=0.1), ckaad.UsageError, "coreset is not a setting of ckaad"),
        (dict(detector="patchcore", strategy=None), ckaad.UsageError, "epochs: patchcore is fitted in one go"),
        (dict(resume=True), ckaad.UsageError, "resume .*beside out"),
        (dict(holdout=0.1, folds=3), ckaad.UsageError, "one of them"),
        (dict(device="tpu"), ckaad.UsageError, "tpu"),
        (dict(precision="f12"), ckaad.UsageError, "f12"),
        (dict(precision="bf16"), ckaad.UsageError, "f32 or int8"),
        (dict(weights="nowhere.pth"), (OSError, ckaad.CkaadError), "nowhere"),
    ],
)
def test_wrong_settings(data, settings, wrong, error, text):
    with pytest.raises(error, match=text):
        ckaad.Detector.fit(data / "train/good", **{"device": "cpu", **settings, **wrong})


@pytest.mark.parametrize("detector", ["ckaad", "patchcore"])
def test_progress_counts_up_to_its_end(data, settings, detector):
    heard = {}
    told = lambda stage, done, of, losses: heard.setdefault(stage, []).append((done, of))
    of_bank = {k: v for k, v in settings.items() if k not in ("epochs", "strategy")}
    settings = dict(of_bank, coreset=0.1) if detector == "patchcore" else settings
    # 12 pictures in 5 parts, of 3, 3, 2, 2 and 2: without them there are 1, 1, 2, 2 and 2 steps of 5 pictures.
    settings = {**settings, "batch_size": 5}
    ckaad.Detector.fit(data / "train/good", detector=detector, folds=5, progress=told, device="cpu", **settings)
    for stage, counts in heard.items():
        assert {of for _, of in counts} == {counts[0][1]}, stage
        assert counts == sorted(counts) and counts[-1] == (counts[0][1],) * 2, stage
    own = {"patchcore": {"projecting patches", "choosing the coreset"}, "ckaad": {"training"}}[detector]
    assert heard.keys() == {"pictures", "features", "validation", *own}
    assert [done for done, _ in heard["pictures"]] == list(range(1, 13))
    # Each part's learning in 3 epochs, and its scores; that it begins is told, too.
    steps = {"patchcore": 0, "ckaad": 3 * 8}[detector]
    assert heard["validation"][-1] == (steps + 5,) * 2 and len(heard["validation"]) == steps + 10


def test_numbers_of_numpy(data, settings, pictures):
    of_numpy = {
        **settings,
        "epochs": np.int64(3),
        "layers": np.array([1, 2]),
        "seed": np.uint8(1),
        "batch_size": np.int32(4),
    }
    fit = lambda settings: ckaad.Detector.fit(data / "train/good", device="cpu", **settings).score(pictures[0]).score
    expected = fit(settings)
    assert fit(of_numpy) == expected
    for layers in (range(1, 3), [1, 2], [np.int64(1), 2], tuple(np.arange(1, 3)), collections.deque((1, 2))):
        assert fit({**settings, "epochs": 3, "layers": layers}) == expected


def test_what_is_given_in_vain(data, settings, pictures):
    with pytest.warns(UserWarning, match="anomalous pictures are not used"):
        ckaad.Detector.fit(data / "train/good", pictures, device="cpu", **settings)
    with pytest.warns(UserWarning, match="adv changes nothing"):
        ckaad.Detector.fit(data / "train/good", adv=0.1, device="cpu", **settings)
    # A warning that somebody made an error of ends the training.
    with warnings.catch_warnings(), pytest.raises(UserWarning, match="adv"):
        warnings.simplefilter("error")
        ckaad.Detector.fit(data / "train/good", adv=0.1, device="cpu", **settings)


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
