"""The example runs and finds what it draws; the README shows parts of it."""

import pathlib
import runpy

import pytest

CRATE = pathlib.Path(__file__).parents[1]
EXAMPLE = CRATE / "examples/detect.py"


@pytest.fixture(scope="module")
def ran():
    return runpy.run_path(str(EXAMPLE))


def test_it_finds_what_it_draws(ran, capsys):
    assert ran["metrics"]["image_auroc"] > 0.95
    (left, top), box = ran["place"], ran["found"].regions[0].box
    # The middle of the tear lies in the region with the highest peak.
    assert box[0] < left + 20 < box[0] + box[2] and box[1] < top + 4 < box[1] + box[3]
    image = ran["shown"](ran["picture"], ran["found"])
    assert image.size == (192, 160) and image.getpixel((round(box[0]), round(box[1]))) == (255, 255, 0)


def test_cells_have_titles():
    cells = EXAMPLE.read_text().split("\n# %%")[1:]
    assert len(cells) >= 12 and cells[0].startswith(" [markdown]\n# # ")


def test_the_readme_shows_it():
    blocks = (CRATE / "README.md").read_text().split("```python\n")[1:]
    assert len(blocks) == 5
    for block in blocks:
        assert block.split("```")[0] in EXAMPLE.read_text()
