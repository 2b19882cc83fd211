"""Tiles, padding, crops and regions of interest against Pillow and numpy: squares are cut here, scored one by one by the model
without any of it, and their maps put together here."""

import json

import numpy as np
import pytest
from PIL import Image

import ckaad
from conftest import SIZE, cloth, flags
from conftest import ckaad as program
from conftest import scored

# The network's mean, which stands for what is no picture.
GROUND = tuple(int(255 * v + 0.5) for v in (0.485, 0.456, 0.406))
TOPK = 100


@pytest.fixture(scope="module")
def plain(model):
    return ckaad.Detector.load(model, "cpu")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """200 x 150 pixels, with a hole across the tiles' seams."""
    whole = np.concatenate([np.concatenate([cloth(i * 3 + j) for j in range(3)], axis=1) for i in range(2)], axis=0)
    whole = whole[:150, :200].copy()
    whole[60:80, 50:75] = 250
    path = tmp_path_factory.mktemp("large") / "large.png"
    Image.fromarray(whole).save(path)
    return path


def look(model, path, folder, *more):
    """Score and map of `ckaad score` with these flags."""
    maps = folder / f"maps-of-{path.stem}"
    while maps.exists():
        maps = maps.with_name(maps.name + "-again")
    line = scored("--model", model, "--maps", maps, *more, path)[0]
    return line["score"], np.load(line["map"])


def square(plain, picture):
    """Map of a square picture, resized by Pillow."""
    picture = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR) if picture.size != (SIZE, SIZE) else picture
    return plain.score(np.asarray(picture))


def starts(length, tile, overlap):
    """Even distances, by the documentation: as few tiles as have the overlap."""
    count = -(-(length - overlap) // (tile - overlap))
    return [int(np.floor(i * (length - tile) / (count - 1) + 0.5)) for i in range(count)]


def ramps(starts, side):
    """One row per tile: rises over what it shares with the one before, falls over what it shares with the one after."""
    rows = []
    for i, start in enumerate(starts):
        at = np.arange(side) + 0.5
        row = np.ones(side)
        if i > 0:
            row = np.minimum(row, at / max(starts[i - 1] + side - start, 1e-9))
        if i + 1 < len(starts):
            row = np.minimum(row, (side - at) / max(start + side - starts[i + 1], 1e-9))
        rows.append(row)
    return rows


def close(found, right):
    # Weighted sums of at most nine values in f32.
    assert np.allclose(found, right, rtol=1e-5, atol=1e-6), np.abs(found - right).max()


@pytest.mark.parametrize("tile, overlap", [(64, 16), (64, 32), (64, 0), (32, 8), (100, 25)])
def test_tiles_are_blended_without_seams(model, plain, large, tmp_path, tile, overlap):
    score, found = look(model, large, tmp_path, "--tile", tile, "--overlap", overlap)
    picture = Image.open(large)
    (width, height), scale = picture.size, SIZE / tile
    grid = round(height * scale), round(width * scale)
    sums, weights = np.zeros(grid), np.zeros(grid)
    xs, ys = starts(width, tile, overlap), starts(height, tile, overlap)
    gx, gy = ([min(int(v * scale + 0.5), g - SIZE) for v in s] for s, g in zip((xs, ys), grid[::-1]))
    for y, top, down in zip(ys, gy, ramps(gy, SIZE)):
        for x, left, across in zip(xs, gx, ramps(gx, SIZE)):
            one = square(plain, picture.crop((x, y, x + tile, y + tile)))
            weight = down[:, None] * across[None, :]
            sums[top : top + SIZE, left : left + SIZE] += one.map * weight
            weights[top : top + SIZE, left : left + SIZE] += weight
    right = sums / weights
    assert found.shape == grid
    close(found, right)
    close(score, np.sort(right.ravel())[-TOPK:].mean())


def test_a_picture_of_one_tile_is_that_of_no_tiles(model, plain, tmp_path):
    path = tmp_path / "one.png"
    Image.fromarray(cloth(5)[:SIZE, :SIZE]).save(path)
    score, found = look(model, path, tmp_path, "--tile", SIZE)
    one = plain.score(path)
    assert (score, found.tolist()) == (one.score, one.map.tolist())


def on_ground(plain, picture, looked):
    """Score and map are those of the picture, as wide as the square, in the middle of a plain ground that does not count."""
    score, found = looked
    top = (SIZE - picture.height) // 2
    ground = Image.new("RGB", (SIZE, SIZE), GROUND)
    ground.paste(picture, (0, top))
    right = square(plain, ground).map[top : top + picture.height]
    close(found, right)
    close(score, np.sort(right.ravel())[-TOPK:].mean())


def test_what_is_shorter_than_a_tile_is_padded(model, plain, tmp_path):
    path = tmp_path / "short.png"
    picture = Image.fromarray(cloth(6)[:40, :SIZE])
    picture.save(path)
    on_ground(plain, picture, look(model, path, tmp_path, "--tile", SIZE))


def test_padding_does_not_count(model, plain, large, tmp_path):
    picture = Image.open(large).resize((SIZE, 48), Image.Resampling.BILINEAR)
    on_ground(plain, picture, look(model, large, tmp_path, "--resize", "pad"))


def test_a_crop_is_the_middle(model, plain, large, tmp_path):
    score, found = look(model, large, tmp_path, "--resize", "crop")
    one = square(plain, Image.open(large).crop((25, 0, 175, 150)))
    assert found.shape == (64, 85)
    assert score == one.score
    close(found[:, 11:75], one.map)
    assert not found[:, :11].any() and not found[:, 75:].any()


@pytest.fixture(scope="module")
def roi(tmp_path_factory):
    mask = np.zeros((75, 100), np.uint8)
    mask[10:60, 20:90] = 255
    path = tmp_path_factory.mktemp("roi") / "roi.png"
    Image.fromarray(mask).save(path)
    return path


@pytest.mark.parametrize("more", [(), ("--tile", 64), ("--resize", "pad"), ("--resize", "crop")])
def test_what_lies_outside_of_the_region_changes_nothing(model, large, roi, tmp_path, more):
    """To the last bit; and the map is 0 there, and as it was of what is painted over."""
    score, found = look(model, large, tmp_path, "--roi", roi, *more)
    inside = np.asarray(Image.open(roi).resize((200, 150), Image.Resampling.NEAREST)) > 0
    painted = np.asarray(Image.open(large)).copy()
    painted[~inside] = np.random.default_rng(1).integers(0, 256, (int((~inside).sum()), 3))
    other = tmp_path / "painted.png"
    Image.fromarray(painted).save(other)
    again, same = look(model, other, tmp_path, "--roi", roi, *more)
    assert score == again and np.array_equal(found, same)
    painted[~inside] = GROUND
    Image.fromarray(painted).save(other)
    _, whole = look(model, other, tmp_path, *more)
    height, width = found.shape
    # A place is in it if any of the mask under it is.
    mask = np.asarray(Image.open(roi)) > 0
    under = lambda i, n, of: slice(i * of // n, -(-(i + 1) * of // n))
    rows = np.array([mask[under(y, height, 75)].any(axis=0) for y in range(height)])
    seen = np.array([rows[:, under(x, width, 100)].any(axis=1) for x in range(width)]).T
    assert not found[~seen].any()
    assert np.array_equal(found[seen], whole[seen])
    close(score, np.sort(found[seen & (whole > 0)].ravel())[-TOPK:].mean())


def test_a_model_keeps_it_and_its_threshold_rests_on_it(data, settings, roi, tmp_path):
    out = tmp_path / "tiled.safetensors"
    program(
        *("train", "--device", "cpu", "--normal", data / "train/good", "--out", out, *flags(settings)),
        *("--tile", 48, "--overlap", 12, "--roi", roi, "--folds", 3),
    )
    info = json.loads(program("info", out, "--format", "json"))
    assert (info["framing"]["tile"], info["framing"]["overlap"]) == (48, 12) and info["framing"]["roi"]
    fitted = ckaad.Detector.fit(
        data / "train/good", device="cpu", folds=3, tile=48, overlap=12, roi=str(roi), **settings
    )
    loaded = ckaad.Detector.load(out, "cpu")
    pictures = sorted((data / "test").glob("*/*.png"))
    line = scored("--model", out, *pictures)
    assert [s.score for s in loaded.score(pictures)] == [s["score"] for s in line]
    assert [s.score for s in fitted.score(pictures)] == [s["score"] for s in line]
    # The threshold of pictures that were scored in tiles: near their scores, which are those of no single tile.
    normal = [s["score"] for s in line if "good" in s["path"]]
    assert 0.5 * np.mean(normal) < info["threshold"] < 3 * np.mean(normal)
    metrics = loaded.evaluate(data)
    assert metrics["pictures"]["normal"] == 5 and 0 <= metrics["pixel_auroc"] <= 1


def test_a_patchcore_takes_the_highest_place(data, tmp_path, large):
    fitted = ckaad.Detector.fit(
        data / "train/good", device="cpu", detector="patchcore", weights="random", image_size=SIZE, layers=(1, 2), tile=48
    )
    one = fitted.score(large)
    close(one.score, one.map.max())
    assert one.map.shape == (200, 267)


@pytest.mark.parametrize(
    "wrong, told",
    [
        (("--overlap", "3"), "--tile"),
        (("--tile", "64", "--overlap", "33"), "at most half, 32"),
        (("--tile", "64", "--resize", "pad"), "--resize"),
        (("--tile", "5"), "16 to 1024"),
        (("--tile", "0"), "16 to 1024"),
        (("--tile", "18446744073709551615"), "16 to 1024"),
        (("--resize", "squeeze"), "squeeze"),
        (("--roi", "nowhere.png"), "nowhere.png"),
    ],
)
def test_what_does_not_fit_is_told(model, large, wrong, told):
    with pytest.raises(AssertionError) as error:
        scored("--model", model, *wrong, large)
    assert told in str(error.value)


def test_a_mask_of_nothing_is_no_region(model, large, tmp_path):
    path = tmp_path / "black.png"
    Image.new("L", (8, 8)).save(path)
    with pytest.raises(AssertionError, match="marks nothing"):
        scored("--model", model, "--roi", path, large)
