"""The page, in a browser without a screen."""

import os
import shutil
import warnings

import pytest
from conftest import Server
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

BROWSER, DRIVER = (next(filter(None, map(shutil.which, names)), None) for names in (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)))
FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --window-size=1280,900"""
if not (BROWSER and DRIVER):
    warnings.warn("chromium and chromedriver are not there: THE PAGE IS NOT TESTED")
    pytestmark = pytest.mark.skip("chromium and chromedriver are not there: THE PAGE IS NOT TESTED")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('browser')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def page(browser, server):
    browser.get(server.url)
    yield Page(browser)
    # Nothing was refused by the page's own policy, and no script failed. (What the server refuses a browser logs, too.)
    log = [line["message"] for line in browser.get_log("browser")]
    assert not [line for line in log if "Failed to load resource" not in line], log


class Page:
    def __init__(self, browser):
        self.browser = browser

    def __getitem__(self, name):
        return self.browser.find_element(By.ID, name)

    def until(self, true):
        return WebDriverWait(self.browser, 20).until(lambda _: true())

    def score(self, path):
        self["file"].send_keys(str(path))
        self.until(lambda: path.name in self["caption"].text or self["error"].text)

    def slide(self, name, value):
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        self.browser.execute_script(script, self[name], value)
        # Drawn with the next frame.
        self.browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def coloured(self):
        """Points of the canvas that are redder than the picture's stripes, or blue."""
        return self.browser.execute_script("""
            const c = document.getElementById('canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
            let n = 0;
            for (let i = 0; i < d.length; i += 4) n += Math.max(d[i], d[i + 1], d[i + 2]) - Math.min(d[i], d[i + 1], d[i + 2]) > 60;
            return n / (c.width * c.height)""")


def test_a_normal_and_an_anomalous_picture(page, pictures, expected):
    for picture in [pictures[0], pictures[-1]]:
        said = expected[picture.name]
        page.score(picture)
        assert page["verdict"].text == ("Anomalous" if said["anomalous"] else "Normal")
        assert float(page["score"].text) == pytest.approx(said["score"], rel=0.01)
        assert float(page["normalized"].text) == pytest.approx(said["score_normalized"], abs=0.001)
        rows = page["regions"].find_elements(By.CSS_SELECTOR, "tbody tr")
        assert len(rows) == min(8, len(said["regions"]))
        if said["regions"]:
            x, y = said["regions"][0]["box"][:2]
            assert rows[0].text.startswith(f"{round(x)}, {round(y)}")
        assert not page["error"].is_displayed()


def test_sliders(page, pictures):
    bad = next(p for p in pictures if p.name.startswith("bad"))
    page.score(bad)
    page.browser.execute_script("document.getElementById('contour').click()")
    shares = []
    for value in [0, 300, 600, 1000]:
        page.slide("pixels", value)
        shares.append(page.coloured())
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.5, shares
    assert "No region" in page["regions-title"].text
    page.slide("threshold", 1000)
    assert page["verdict"].text == "Normal"
    page.slide("threshold", 1)
    assert page["verdict"].text == "Anomalous"
    page["reset"].click()
    page.until(lambda: "No region" not in page["regions-title"].text)
    assert page["verdict"].text == "Anomalous"


def test_keyboard(page, pictures):
    page.score(pictures[-1])
    before = page["pixels-now"].text
    page["pixels"].send_keys(Keys.ARROW_RIGHT * 20)
    page.until(lambda: page["pixels-now"].text != before)
    # Everything can be reached by Tab.
    page.browser.execute_script("document.activeElement.blur()")
    reached = set()
    for _ in range(12):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        reached.add(page.browser.switch_to.active_element.get_attribute("id"))
    assert {"file", "threshold", "pixels", "opacity", "filled", "contour", "reset"} <= reached


def test_what_is_no_picture(page, tmp_path, pictures):
    bad = tmp_path / "notes.png"
    bad.write_text("no picture")
    page.score(pictures[0])
    page.score(bad)
    assert "notes.png" in page["error"].text and "not a picture" in page["error"].text
    # Nothing of the one before stays below it.
    assert page["verdict"].text == "Not scored" and not page["figure"].is_displayed() and not page["result"].is_displayed()
    page.score(pictures[0])
    assert not page["error"].is_displayed()


def test_another_model(page, pictures):
    page.until(lambda: page["choice"].is_displayed())
    page.score(pictures[0])
    page["model"].send_keys("part")
    page.until(lambda: page["caption"].text.endswith("part"))


def test_a_token(browser, work, pictures):
    server = Server("--model", work / "models/part.safetensors", env={"CKAAD_TOKEN": "open-sesame"})
    try:
        browser.get(server.url)
        page = Page(browser)
        page.until(lambda: page["ask"].is_displayed())
        for token, shown in [("wrong", True), ("open-sesame", False)]:
            page["token"].clear()
            page["token"].send_keys(token + Keys.ENTER)
            page.until(lambda: page["ask"].is_displayed() == shown and page["error"].is_displayed() == shown)
        page.score(pictures[0])
        assert page["verdict"].text in ("Normal", "Anomalous")
    finally:
        server.stop()
    browser.get_log("browser")


def test_light_and_dark(page, pictures):
    """Text is told from what is behind it; $SCREENSHOTS, a folder, gets pictures to look at."""
    bad = next(p for p in pictures if p.name.startswith("bad"))
    folder = os.environ.get("SCREENSHOTS")
    for scheme in ["light", "dark"]:
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        for name, shown in [("empty", None), ("scored", bad)]:
            if shown:
                page.score(shown)
            else:
                page.browser.refresh()
            if folder:
                page.browser.save_screenshot(f"{folder}/{scheme}-{name}.png")
        ink, back = page.browser.execute_script("""
            const style = getComputedStyle(document.body);
            return [style.color, style.backgroundColor].map(c => c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 3)""")
        assert abs(ink - back) > 150 and (ink > back) == (scheme == "dark")
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
