# Cells for a notebook: opens as one in VS Code, Spyder, and Jupyter with jupytext. As a script it takes some seconds.

# %% [markdown]
# # Finding flaws in cloth
#
# A detector is shown what is normal, and finds what is not. The pictures are drawn here; a list of paths, a folder, PIL
# images or torch tensors do as well.

# %%
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import ckaad


def cloth(seed, flawed=False):
    """A woven picture, maybe with a tear 40 pixels wide and 8 high; and where that is, left and top."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:160, :192] + random.uniform(0, 9, (2, 1, 1))
    weave = random.uniform(100, 140) + 40 * np.sin(x * 0.5) * np.sin(y * 0.4) + random.normal(0, 15, x.shape)
    left, top = random.integers(20, 120, 2)
    if flawed:
        weave[top : top + 8, left : left + 40] -= 60
    return np.clip(weave[..., None] * [1.0, 0.9, 0.8], 0, 255).astype(np.uint8), (left, top)


normal = [cloth(seed)[0] for seed in range(24)]

# %% [markdown]
# ## Train
#
# PatchCore is fitted in seconds. Without `detector=` the method is CKAAD, which learns step by step, also from pictures
# that are known to be anomalous somewhere: `fit(normal, anomalous)`.

# %%
detector = ckaad.Detector.fit(normal, detector="patchcore", image_size=192, coreset=0.02)
detector

# %% [markdown]
# ## Score
#
# A score says how anomalous a picture is, its map says where: float32 of shape (192, 192). From the threshold on, a
# picture is called anomalous.

# %%
picture, place = cloth(100, flawed=True)
found = detector.score(picture)
print(f"score {found.score:.3f}, anomalous: {found.anomalous}, map: {found.map.dtype} {found.map.shape}")
for region in found.regions:
    print(region)

# %% [markdown]
# The map over the picture, with a box around every region:


# %%
def shown(picture, found):
    heat = Image.fromarray(np.uint8(255 * np.clip(found.map / found.peak, 0, 1))).resize((found.width, found.height))
    image = Image.composite(
        Image.new("RGB", heat.size, "red"), Image.fromarray(picture), heat.point(lambda value: value * 0.7)
    )
    for region in found.regions:
        left, top, width, height = region.box
        ImageDraw.Draw(image).rectangle((left, top, left + width, top + height), outline="yellow")
    return image


shown(picture, found)

# %% [markdown]
# ## Set the threshold
#
# Training set one by cross-validation. Fresh pictures say more of what is to come; `threshold.doubt()` says if they are
# too few.

# %%
fresh = detector.score([cloth(seed)[0] for seed in range(200, 240)])
threshold = ckaad.Threshold.max_false_alarms(fresh, share=0.05)
print(threshold.describe())
detector = detector.with_threshold(threshold)

# %% [markdown]
# ## Evaluate
#
# The numbers of `ckaad eval`: how well scores tell both kinds apart, and what the threshold makes of them.

# %%
metrics = detector.evaluate(
    normal=[cloth(seed)[0] for seed in range(300, 330)],
    anomalous=[cloth(seed, flawed=True)[0] for seed in range(330, 360)],
)
point = metrics["operating_point"]
print(f"image AUROC {metrics['image_auroc']:.3f}")
print(f"found {point['true_positives']} of 30, false alarms {point['false_positives']} of 30")

# %% [markdown]
# ## Save and load
#
# The file is that of the command line: `ckaad score --model cloth.safetensors photos/`.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "cloth.safetensors"
    detector.save(path)
    again = ckaad.Detector.load(path)
assert again.score(picture).score == found.score
