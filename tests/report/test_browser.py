"""Laws of the viewer in a browser: what is seen is what was given, left is right, and all panes are at one place."""

from __future__ import annotations

import io
import re
import shutil
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image

from coslice.axes import PLANES
from coslice.report import grey, view, write_report
from coslice.report.environment import template
from coslice.report.showing import showing
from coslice.report.viewer import Scene, viewer
from coslice.volume import Volume

pytest.importorskip("selenium", reason="selenium drives the browser, and is not installed")

from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.by import By

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="chromium and chromedriver are not installed"
)

SHAPE, SPACING, HU = (12, 40, 30), (2.0, 1.0, 1.5), (-1000.0, 1600.0)
ROLES = ("reference", "method", "error")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--window-size=1000,1100", "--host-resolver-rules=MAP * ~NOTFOUND"),
)


def bodies() -> dict[str, torch.Tensor]:
    """A body without any symmetry, and two poor copies of it."""
    z, y, x = (torch.linspace(-1, 1, n) for n in SHAPE)
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    truth = 0.4 * (z**2 + y**2 + x**2 < 0.9).float()
    truth += 0.3 * ((z - 0.3) ** 2 + (y - 0.3) ** 2 + (x - 0.3) ** 2 < 0.16)  # superior, anterior, right
    rough = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    return {"Truth": truth, "FDK": (truth + 0.2 * rough - 0.1).clamp(0, 1), "DDS": (0.9 * truth + 0.02).clamp(0, 1)}


def spread() -> torch.Tensor:
    """The half-width of an interval: 260 HU in the upper half of every slice, and nothing below."""
    half = torch.zeros(SHAPE)
    half[:, SHAPE[1] // 2 :] = 0.1
    return half


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield browser
    browser.quit()


class Page:
    """A page in the browser, by the names its controls have in the template."""

    def __init__(self, driver, path) -> None:
        self.driver = driver
        driver.get(path.as_uri())
        self.wait(lambda: self.script("return document.getElementById('viewer').dataset.ready") == "true", 60)
        # A ring about what has the focus is no part of a picture.
        self.script(
            "document.head.append(Object.assign(document.createElement('style'), {textContent: arguments[0]}))",
            ".viewer canvas { outline: none !important }",
        )

    def wait(self, condition, seconds: float = 20):
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, self.driver.get_log("browser")
            time.sleep(0.02)
        return found

    def script(self, code: str, *arguments):
        return self.driver.execute_script(code, *arguments)

    def part(self, name: str):
        return self.driver.find_element(By.CSS_SELECTOR, f'[data-is="{name}"]')

    def pixels(self) -> dict[str, np.ndarray]:
        """What is on the screen in each pane, grey."""
        code = """scrollTo(0, 0); return Object.fromEntries(arguments[0].map((role) => {
            const box = document.querySelector(`[data-is=${role}-pane] .picture-box`).getBoundingClientRect();
            return [role, [box.left, box.top, box.right, box.bottom].map(Math.round)]; }))"""
        boxes = self.script(code, ROLES)
        screen = Image.open(io.BytesIO(self.driver.get_screenshot_as_png())).convert("L")
        return {role: np.asarray(screen.crop(box), dtype=np.int16) for role, box in boxes.items()}

    def canvas(self, role: str):
        return self.driver.find_element(By.CSS_SELECTOR, f'[data-is="{role}-pane"] canvas')

    def press(self, *keys: str) -> None:
        canvas = self.canvas("reference")
        self.script("arguments[0].focus()", canvas)
        for key in keys:
            self.settled(lambda key=key: canvas.send_keys(key))

    def choose(self, name: str, text: str) -> None:
        """As a reader does who picks an option."""
        code = """const select = arguments[0], names = [...select.options].map((one) => one.text);
            select.selectedIndex = names.findIndex((name) => name.endsWith(arguments[1]));
            select.dispatchEvent(new Event("change"));"""
        self.settled(lambda: self.script(code, self.part(name), text))

    def settled(self, act) -> None:
        """Acts, and waits until all that was asked for is drawn."""
        act()
        self.script("return new Promise((done) => requestAnimationFrame(() => setTimeout(done, 30)))")
        self.wait(lambda: self.script("return document.getElementById('viewer').dataset.busy") == "false")

    def places(self) -> list[list[int]]:
        """The cursor of each pane, as NiiVue has it: voxel (x, y, z)."""
        code = """return Object.values(document.getElementById("viewer").viewer.panes).map(
            ({ nv }) => Array.from(nv.frac2vox(nv.scene.crosshairPos)).slice(0, 3))"""
        return self.script(code)

    def cursor(self) -> tuple[int, int, int]:
        """What is read below the panes, and all of them agree on."""
        read = re.fullmatch(r"x (\d+), y (\d+), z (\d+)", self.part("voxel").text)
        assert read is not None
        x, y, z = map(int, read.groups())
        assert {tuple(place) for place in self.places()} == {(x, y, z)}
        return x, y, z

    def value(self, role: str) -> float:
        return float(self.part(f"{role}-value").text.removesuffix(" HU"))


@pytest.fixture(scope="module")
def page(driver, tmp_path_factory):
    path, volumes = tmp_path_factory.mktemp("page") / "report.html", bodies()
    write_report(
        path,
        title="A body",
        truth=volumes.pop("Truth"),
        reconstructions=volumes,
        table={"DDS": {plane: {"psnr": 30.0 + i} for i, plane in enumerate(PLANES)}},
        spacing=SPACING,
        window=HU,
        layers={"interval of 90 %": spread()},
    )
    return Page(driver, path)


@contextmanager
def back_again(page, *roles: str):
    """Pixels that differ within, in these panes and no other, and are the same again afterwards."""
    before = page.pixels()

    def changed() -> list[str]:
        now = page.pixels()
        return [role for role in ROLES if now[role].shape != before[role].shape or (now[role] != before[role]).any()]

    yield lambda: changed() == list(roles)
    assert changed() == []


def test_every_pane_draws(page):
    for role, pixels in page.pixels().items():
        assert pixels.std() > 10
        canvas = page.canvas(role)
        assert canvas.accessible_name.startswith(role.capitalize())


@pytest.mark.parametrize("plane", PLANES)
def test_a_plane_looks_as_the_picture_of_it(page, plane):
    page.choose("planes", plane)
    whole = page.pixels()["reference"]
    wanted = grey(view(bodies()["Truth"], plane), HU, (-480.0, 820.0)).astype(float)
    sides = {axis: n * s for axis, n, s in zip("zyx", SHAPE, SPACING, strict=True)}
    across, down = sides[PLANES[plane].columns], sides[PLANES[plane].rows]
    assert whole.shape[1] / whole.shape[0] == pytest.approx(across / down, rel=0.02), "millimetres are square"
    image = Image.fromarray(whole.astype(np.uint8)).resize(wanted.shape[::-1], Image.Resampling.BOX)

    def alike(other: np.ndarray) -> float:
        return np.corrcoef(np.asarray(image, dtype=float).ravel(), other.ravel())[0, 1]

    turned = [wanted[::-1], wanted[:, ::-1], wanted[::-1, ::-1]]
    page.choose("planes", "all three")
    assert alike(wanted) > 0.95
    assert alike(wanted) > max(map(alike, turned)) + 0.02


def test_a_click_moves_all_cursors_to_the_voxel_under_it_and_its_values_are_read(page):
    page.choose("planes", "axial")
    canvas = page.canvas("method")
    volumes = bodies()
    for right, down in ((0.3, 0.3), (0.62, 0.45), (0.71, 0.8)):
        width, height = canvas.rect["width"], canvas.rect["height"]
        offset = (round((right - 0.5) * width), round((down - 0.5) * height))
        page.settled(
            lambda offset=offset: (
                ActionChains(page.driver, 50).move_to_element_with_offset(canvas, *offset).click().perform()
            )
        )
        x, y, z = page.cursor()
        # The patient's left, where x begins, is on the right; anterior, where y ends, is up.
        assert abs(x + 0.5 - (1 - right) * SHAPE[2]) <= 0.6
        assert abs(y + 0.5 - (1 - down) * SHAPE[1]) <= 0.6
        values = {name: float(-1000 + 2600 * volume[z, y, x]) for name, volume in volumes.items()}
        assert page.value("reference") == pytest.approx(values["Truth"], abs=0.51)
        assert page.value("method") == pytest.approx(values["DDS"], abs=0.51)
        assert page.value("error") == pytest.approx(abs(values["DDS"] - values["Truth"]), abs=1.01)
        assert page.part("mm").text.startswith(f"{1.5 * x:g}, {y}, {2 * z}")
    page.choose("planes", "all three")


def test_keys_and_wheel_step_through_the_slices_of_all_panes(page):
    x, y, z = page.cursor()
    for key, undo, there in (
        (Keys.ARROW_LEFT, Keys.ARROW_RIGHT, (x + 1, y, z)),
        (Keys.ARROW_UP, Keys.ARROW_DOWN, (x, y + 1, z)),
        (Keys.PAGE_UP, Keys.PAGE_DOWN, (x, y, z + 1)),
    ):
        with back_again(page, *ROLES) as changed:
            page.press(key)
            assert page.cursor() == there
            assert changed()
            page.press(undo)
        assert page.cursor() == (x, y, z)
    page.choose("planes", "sagittal")
    canvas = page.canvas("error")
    chain = ActionChains(page.driver, 50).move_to_element_with_offset(canvas, 5, 5).move_to_element(canvas)
    page.settled(chain.scroll_from_origin(ScrollOrigin.from_element(canvas), 0, -100).perform)
    assert page.cursor() == (x + 1, y, z)
    page.press(Keys.ARROW_RIGHT)
    page.choose("planes", "all three")


def test_methods_are_chosen_by_key_and_by_name(page):
    with back_again(page, "method", "error") as changed:
        page.press("2")
        assert changed()
        assert "FDK" in page.part("method-pane").text
        assert page.part("numbers").text == ""
        page.choose("method", "DDS")
        assert "axial PSNR 30.00 dB" in page.part("numbers").text
    with back_again(page, "reference", "error") as changed:
        page.choose("reference", "FDK")
        assert changed()
        page.choose("reference", "Truth")


def test_a_layer_is_laid_over_the_method_alone_and_its_value_is_read(page):
    page.choose("planes", "axial")
    bare = page.pixels()
    with back_again(page, "method") as changed:
        page.press("l")
        assert changed()
        off = np.abs(page.pixels()["method"] - bare["method"])
        middle = off.shape[0] // 2
        assert (off[: middle - 5] > 3).mean() > 0.5, "anterior, where the interval is wide"
        assert (off[middle + 5 :] > 3).mean() < 0.01, "posterior, where it has no width"
        x, y, z = page.cursor()
        wanted = 2600 * float(spread()[z, y, x])
        assert page.part("method-value").text.endswith(f"HU (interval of 90 % {wanted:g} HU)")
        assert "with the interval of 90 %" in page.canvas("method").accessible_name
        page.choose("layer", "none")
    page.choose("planes", "all three")


def test_presets_and_numbers_set_the_range_of_grey_and_keys_are_deaf_meanwhile(page):
    with back_again(page, "reference", "method") as changed:
        page.press("w")
        assert page.part("preset").get_property("selectedIndex") == 1
        assert changed()
        page.choose("preset", "chest")
    level, here = page.part("level"), page.cursor()
    with back_again(page, "reference", "method") as changed:
        level.clear()
        page.settled(lambda: level.send_keys("300", Keys.ENTER))
        assert changed()
        assert level.get_property("value") == "300", "not the third method"
        assert "DDS" in page.part("method-pane").text
        level.send_keys(Keys.ARROW_UP)
        assert page.cursor() == here
        page.choose("preset", "chest")
    assert level.get_property("value") == "170"
    with back_again(page, "error") as changed:
        limit = page.part("limit")
        old = limit.get_property("value")
        for text in ("30", old):
            limit.clear()
            page.settled(lambda text=text: limit.send_keys(text, Keys.ENTER))
            assert changed() == (text == "30")


def test_layouts_go_round(page):
    with back_again(page, *ROLES) as changed:
        for planes in (*PLANES, "all three"):
            page.press("p")
            assert page.part("planes").get_property("value") == planes
            assert changed() == (planes in PLANES)


def test_playing_moves_all_panes_to_and_fro_until_it_is_stopped(page):
    x, y, z = page.cursor()
    page.choose("speed", "30")
    page.press(" ")
    seen = set()
    assert page.part("play").get_attribute("aria-pressed") == "true"
    page.wait(lambda: seen.add(page.places()[0][2]) or {0, SHAPE[0] - 1} <= seen)
    page.press(" ")
    assert page.cursor()[:2] == (x, y)
    stopped = page.cursor()
    time.sleep(0.15)
    assert page.cursor() == stopped
    slider = page.part("slice")
    page.settled(
        lambda: page.script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", slider, z
        )
    )
    assert page.cursor() == (x, y, z)


def test_blinking_shows_the_reference_where_the_method_was(page):
    reference = page.pixels()["reference"]
    with back_again(page):
        page.press("b")
        lid = page.driver.find_element(By.CSS_SELECTOR, ".cover")
        page.wait(lid.is_displayed)
        page.script("clearInterval = ((stop) => (id) => stop(id))(clearInterval)")
        page.wait(lambda: np.abs(page.pixels()["method"] - reference).mean() < 1)
        page.press("b")
        page.wait(lambda: not lid.is_displayed())


def test_zoom_is_shared_and_a_double_click_undoes_it(page):
    with back_again(page, *ROLES) as changed:
        code = """const { nv } = document.getElementById("viewer").viewer.panes.method;
            nv.scene.pan2Dxyzmm[3] = 2; nv.drawScene();"""
        page.settled(lambda: page.script(code))
        assert changed()
        canvas = page.canvas("error")
        here = page.cursor()
        page.settled(lambda: page.script("arguments[0].dispatchEvent(new MouseEvent('dblclick'))", canvas))
        assert page.cursor() == here


def test_every_control_has_a_name_and_can_be_reached(page):
    controls = page.driver.find_elements(
        By.CSS_SELECTOR, "#viewer select, #viewer input, #viewer button, #viewer canvas[tabindex]"
    )
    seen = [control for control in controls if control.is_displayed()]
    assert len(seen) == 16
    assert all(control.accessible_name for control in seen)
    assert all(control.get_property("tabIndex") == 0 for control in seen)
    page.press("h")
    assert page.part("help").get_property("open")
    page.press("h")


def test_nothing_was_asked_of_a_network_and_nothing_went_wrong(page):
    names = page.script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert all(name.startswith(("blob:", "data:")) for name in names)
    assert page.driver.get_log("browser") == []


def test_scenes_are_chosen_and_without_a_truth_there_is_no_error(driver, tmp_path):
    small = {"Initial": torch.rand(8, 10, 12), "DDS": torch.rand(8, 10, 12)}
    scenes = [
        Scene("Measured", small, (1.0, 1.0, 1.0), (0.0, 900.0), "a.u.", known=False),
        Scene("Simulated", bodies(), SPACING, HU),
    ]
    path = tmp_path / "page.html"
    path.write_text(template("base.html").render(title="Two").replace("<body>", f"<body>{viewer(scenes)}"))
    page = Page(driver, path)
    for _ in range(2):
        assert not page.part("error-pane").is_displayed()
        assert page.part("reference-value").text.endswith("a.u.")
        page.choose("scene", "Simulated")
        assert page.part("error-pane").is_displayed()
        assert page.pixels()["error"].std() > 10
        assert page.cursor() == tuple(n // 2 for n in SHAPE[::-1])
        page.choose("scene", "Measured")
    assert driver.get_log("browser") == []


def test_without_webgl2_a_sentence_says_so_and_the_pictures_remain(driver, tmp_path):
    volumes = bodies()
    write_report(
        tmp_path / "page.html",
        title="",
        truth=volumes.pop("Truth"),
        reconstructions=volumes,
        table={},
        spacing=SPACING,
        window=HU,
    )
    code = "HTMLCanvasElement.prototype.getContext = () => null;"
    given = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": code})
    try:
        driver.get((tmp_path / "page.html").as_uri())
        message = driver.find_element(By.CSS_SELECTOR, '[data-is="message"]')
        assert "WebGL2" in message.text
        assert not driver.find_element(By.CSS_SELECTOR, '[data-is="stage"]').is_displayed()
        assert all(
            image.get_property("naturalWidth") for image in driver.find_elements(By.CSS_SELECTOR, ".picture img")
        )
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": given["identifier"]})


def test_a_notebooks_frame_shows_the_volumes_and_reaches_nothing_of_the_notebook(driver, tmp_path):
    """As a notebook inserts it: a frame with the whole page in an attribute, and a secret outside of it."""
    volume = Volume(HU[0] + (HU[1] - HU[0]) * bodies()["Truth"], np.diag([*SPACING[::-1], 1.0]))
    path = tmp_path / "notebook.html"
    path.write_text(f"<p id='secret'>notebook</p>{showing(volume, unit='HU').frame()}", encoding="utf-8")
    driver.get(path.as_uri())
    driver.switch_to.frame(driver.find_element(By.TAG_NAME, "iframe"))
    deadline = time.monotonic() + 120
    while driver.execute_script("return document.getElementById('viewer')?.dataset.ready") != "true":
        assert time.monotonic() < deadline, driver.get_log("browser")
        time.sleep(0.05)
    assert (
        driver.execute_script("try { return parent.document.body.innerHTML } catch { return 'kept out' }") == "kept out"
    )
    # As it is seen: what a canvas has drawn may be cleared once it is on the screen.
    greys: set[int] = set()
    while len(greys) < 20:
        assert time.monotonic() < deadline, greys
        picture = driver.find_element(By.CSS_SELECTOR, ".viewer canvas").screenshot_as_png
        greys = set(np.asarray(Image.open(io.BytesIO(picture)).convert("L")).flat)
    driver.switch_to.default_content()
