"""Evaluations have the numbers of `ckaad eval`, and of scikit-learn."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_curve, roc_auc_score

import ckaad
from conftest import SIZE
from conftest import ckaad as command


@pytest.fixture(scope="module")
def detector(model):
    return ckaad.Detector.load(model, "cpu", batch_size=8)


def without_time(found):
    return {k: v for k, v in found.items() if k != "ms_per_image"}


def test_equal_numbers(detector, model, data):
    printed = command("eval", "--device", "cpu", "--model", model, "--data", data, "--format", "json", "--scores")
    found = detector.evaluate(data, scores=True)
    assert without_time(found) == without_time(json.loads(printed))
    assert found["aupro30"] > 0


def test_numbers_are_those_of_scikit_learn(detector, data, pictures):
    found = detector.evaluate(data, scores=True)
    assert [s["path"] for s in found["scores"]] == list(map(str, pictures))
    labels = ["hole" in str(p) for p in pictures]
    scored = detector.score(pictures)
    scores = [s.score for s in scored]
    assert found["image_auroc"] == pytest.approx(roc_auc_score(labels, scores), rel=1e-12)
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert found["best_f1"] == pytest.approx(np.max(2 * precision * recall / (precision + recall)), rel=1e-12)
    called = np.array(scores) >= found["best_f1_threshold"]
    assert found["best_f1"] == pytest.approx(f1_score(labels, called), rel=1e-12)
    assert found["best_f1_accuracy"] == pytest.approx(accuracy_score(labels, called), rel=1e-12)
    point = found["operating_point"]
    counts = [point[k] for k in ("true_negatives", "false_positives", "false_negatives", "true_positives")]
    assert counts == confusion_matrix(labels, [s.anomalous for s in scored]).ravel().tolist()
    # Masks are resized as Pillow does.
    mask = lambda p: Image.open(data / f"ground_truth/hole/{p.stem}_mask.png").resize((SIZE, SIZE), Image.BILINEAR)
    masks = [np.asarray(mask(p)) > 127 if "hole" in str(p) else np.zeros((SIZE, SIZE), bool) for p in pictures]
    assert found["pixel_auroc"] == pytest.approx(
        roc_auc_score(np.ravel(masks), np.ravel([s.map for s in scored])), rel=1e-9
    )


def test_folders_and_lists(detector, data):
    of_data = detector.evaluate(data)
    folders = detector.evaluate(
        normal=data / "test/good", anomalous=data / "test/hole", masks=data / "ground_truth/hole"
    )
    assert (folders["image_auroc"], folders["pixel_auroc"]) == (of_data["image_auroc"], of_data["pixel_auroc"])
    lists = detector.evaluate(
        normal=ckaad.list_pictures(data / "test/good"), anomalous=[str(data / "test/hole/00.png")]
    )
    assert lists["pictures"]["anomalous"] == 1 and lists["pixel_auroc"] is None


def test_wrong_use(detector, model, data):
    with pytest.raises(ckaad.UsageError, match="which pictures"):
        detector.evaluate()
    with pytest.raises(ckaad.UsageError, match="which pictures"):
        detector.evaluate(data, normal=data)
    good, hole, masks = data / "test/good", data / "test/hole", data / "ground_truth/hole"
    for wrong, text in [
        (dict(normal=good, layout="mvtec"), "layout: says how to read a dataset"),
        (dict(normal=good, layout="nonsense"), "layout: says how to read a dataset"),
        (dict(anomalous=hole, category="screw"), "category: says how"),
        (dict(normal=[b""], normal_class="good"), "normal_class: says how"),
        (dict(normal=good, masks=masks), "masks: those of anomalous pictures"),
        (dict(normal=good, anomalous=list(hole.iterdir()), masks=masks), "masks: expected with folders"),
        (dict(data=data, masks=masks), "masks: a dataset .* has its own"),
        (dict(data=data, layout="nonsense"), "unknown layout 'nonsense': expected one of"),
        (dict(data=data, category="screw"), "category screw is not in"),
        (dict(normal=good, pro="fair"), "fair"),
    ]:
        with pytest.raises(ckaad.UsageError, match=text):
            detector.evaluate(**wrong)
    # An evaluation has maps of its own.
    assert ckaad.Detector.load(model, "cpu", maps=False, batch_size=8).evaluate(data)["pixel_auroc"] is not None
    with pytest.raises(FileNotFoundError, match="expected a dataset .*nowhere"):
        detector.evaluate("nowhere")


def test_thresholds(detector, data):
    normal = detector.score(ckaad.list_pictures(data / "test/good"))
    anomalous = detector.score(ckaad.list_pictures(data / "test/hole"))
    half = ckaad.Threshold.max_false_alarms(normal, 0.5)
    assert sum(s.score >= half.value for s in normal) == 2
    assert "5 normal pictures" in half.describe() and "5 scores say little" in half.doubt()
    best = ckaad.Threshold.best_f1(normal, anomalous)
    scores, labels = [s.score for s in normal + anomalous], [0] * 5 + [1] * 5
    precision, recall, _ = precision_recall_curve(labels, scores)
    found = np.array(scores) >= best.value
    f1 = 2 * np.sum(found & np.array(labels, bool)) / (np.sum(found) + 5)
    assert f1 == pytest.approx(np.max(2 * precision * recall / (precision + recall)), rel=1e-12)
    moved = detector.with_threshold(best)
    assert moved.threshold.value == best.value and moved.evaluate(data)["operating_point"]["threshold"] == best.value
    assert float(detector.with_threshold(0.5).threshold) == 0.5
    assert detector.with_threshold(0.0).score(np.zeros((64, 64), np.uint8)).anomalous
    for wrong in (float("nan"), float("inf"), 10**400):
        for door in (
            lambda: ckaad.Threshold(wrong),
            lambda: ckaad.Threshold(0.5, pixel=wrong),
            lambda: detector.with_threshold(wrong),
            lambda: ckaad.Threshold.max_false_alarms(normal, wrong),
        ):
            with pytest.raises(ckaad.UsageError):
                door()
    assert ckaad.Threshold(1.0) == ckaad.Threshold(1) != ckaad.Threshold(1.0, pixel=1.0)
    # Of one value, but not from the same pictures.
    assert best == ckaad.Threshold.best_f1(normal, anomalous) != ckaad.Threshold(best.value, best.pixel)
    assert len({ckaad.Threshold(0.0), ckaad.Threshold(-0.0), best, pickle.loads(pickle.dumps(best))}) == 2
    assert best != best.value
    with pytest.raises(ckaad.UsageError):
        ckaad.Threshold.max_false_alarms([])
    with pytest.raises(ckaad.CkaadError):
        ckaad.Threshold.best_f1(normal, [])
