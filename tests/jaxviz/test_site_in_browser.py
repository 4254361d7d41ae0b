"""The site of an atlas in a real browser, headless Chromium: what a visitor sees, clicks and types.

Laws, from a folder (`file:`) and from a server:
- A tile shows the picture of its filter, and a click or Enter shows more of it.
- The console is silent, and nothing is requested from elsewhere.
- A name of a layer is text, whatever it is.
- axe-core finds no fault, dark and light, wide and narrow.

One version of Python is enough for it: the program of the page is JavaScript.
"""

import functools
import http.server
import importlib.util
import io
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from synthetic_atlas import HOSTILE, write_atlas

import jaxviz as jv

pytestmark = pytest.mark.files

PATIENCE = 30_000  # milliseconds, for a machine that is busy with other tests
WIDE, NARROW = {"width": 1400, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "these tests need Chromium: apt-get install chromium"
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])  # root has no sandbox
        yield running
        running.close()


@pytest.fixture(scope="module")
def atlases(tmp_path_factory) -> Path:
    """A folder with `first.zarr`, which is not finished, and `second.zarr`, which has hostile names and no crops."""
    folder = tmp_path_factory.mktemp("atlases")
    write_atlas(folder / "first.zarr", {"conv_1": 20, "block/conv_2": 40, "conv_3": 300}, dead=[3], missing=2)
    write_atlas(folder / "second.zarr", {"conv_1": 18, **dict.fromkeys(HOSTILE, 5)}, crops=False, seed=1)
    return folder


@pytest.fixture(scope="module")
def sites(atlases) -> Path:
    """A folder with the sites `one` (of the first atlas), `hostile` (of the second) and `two` (of both)."""
    jv.write_site(atlases / "one", atlases / "first.zarr")
    jv.write_site(atlases / "hostile", atlases / "second.zarr")
    jv.write_site(atlases / "two", atlases / "first.zarr", atlases / "second.zarr")
    return atlases


@pytest.fixture(scope="module")
def server(sites) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=sites)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


@pytest.fixture(params=["file", "server"])
def origin(request, sites, server) -> str:
    """Where the sites are opened from: their folder, or a server on this machine."""
    return sites.as_uri() if request.param == "file" else server


@pytest.fixture
def visit(browser):
    """A function that opens a page. At the end, no page may have complained, or asked anybody else for anything."""
    contexts, problems = [], []

    def opened(origin: str, place: str = "one/index.html", **options) -> Page:
        context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce"} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))
        page.on("request", lambda request: None if request.url.startswith(origin) else problems.append(request.url))
        page.goto(f"{origin}/{place}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


def tile(page: Page, layer: str, i: int):
    return page.get_by_role("group", name=f"Filters of {layer}", exact=True).get_by_role("button").nth(i)


def shown(place) -> np.ndarray:
    """The colours of an element on the screen, [h w 3], without its round corners."""
    picture = np.asarray(Image.open(io.BytesIO(place.screenshot())).convert("RGB"), np.float64)
    return picture[4:-4, 4:-4]


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.ariaLabel || document.activeElement.id")


def test_a_tile_shows_the_picture_of_its_filter(visit, origin, atlases):
    """In the first sheet of a layer and in the second, which has the filters from 256 on."""
    page, layer = visit(origin), jv.open_atlas(atlases / "first.zarr")["conv_3"]
    tile(page, "conv_3", 299).scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    for i in (0, 17, 255, 256, 297):
        seen = shown(tile(page, "conv_3", i))
        error = np.abs(seen.mean((0, 1)) - layer.image[i].mean((0, 1)))
        assert error.max() < 8, i  # WebP changes colours a little; the mean colours of filters differ by 40 and more


def test_a_click_shows_a_filter(visit, origin, atlases):
    page = visit(origin)
    tile(page, "block/conv_2", 17).click()
    panel = page.get_by_role("dialog", name="block/conv_2 filter 17")
    expect(panel).to_be_visible()
    image = panel.get_by_role("img", name="What filter 17 of block/conv_2 looks for")
    assert image.evaluate("async image => (await image.decode(), image.naturalWidth)") == 32
    for heading in ("Receptive field", "Score at each step", "Strongest crops", "Most alike by pictures"):
        expect(panel.get_by_role("heading", name=heading)).to_be_visible()
    layer = jv.open_atlas(atlases / "first.zarr")["block/conv_2"]
    expect(panel.get_by_role("img", name="The score goes from")).to_be_visible()
    expect(panel.locator("dd").first).to_have_text(f"{float(layer.scores[17][-1]):.4g}")
    expect(panel.locator(".crops figure")).to_have_count(len(layer.crop_files[17]))
    expect(panel.locator(".crops figcaption").first).to_contain_text(layer.crop_files[17][0])
    # The nearest neighbour leads to its own page, and the way back leads to the sheets.
    panel.locator(".alike button").first.click()
    expect(panel).not_to_be_visible()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.go_back()
    page.go_back()
    expect(page.get_by_role("dialog")).not_to_be_visible()


def test_the_contrast_of_a_large_picture(visit, origin, atlases):
    page, layer = visit(origin, "one/index.html#/0/0/5"), jv.open_atlas(atlases / "first.zarr")["conv_1"]
    button = page.get_by_role("button", name="Contrast as computed")
    for pressed, pictures in (("false", layer.image), ("true", layer.exact)):
        expect(button).to_have_attribute("aria-pressed", pressed)
        image = page.locator(".large img")
        image.evaluate("image => image.decode()")
        assert np.abs(shown(image).mean((0, 1)) - pictures[5].mean((0, 1))).max() < 6
        button.click()


def test_keys_walk_through_the_filters(visit, origin):
    page = visit(origin)
    keys, columns = page.keyboard, 16
    tile(page, "conv_1", 0).focus()
    columns = tile(page, "conv_1", 0).evaluate(
        "e => getComputedStyle(e.parentElement).gridTemplateColumns.split(' ').length"
    )
    for key, label in {
        "ArrowRight": "filter 1,",
        "End": "filter 19,",
        "Home": "filter 0,",
        "ArrowDown": f"filter {columns},",
        "ArrowUp": "filter 0,",
    }.items():
        keys.press(key)
        assert focused(page).startswith(label), key
    style = page.evaluate("getComputedStyle(document.activeElement).outline")
    assert "3px" in style  # the focus is visible
    keys.press("End")
    keys.press("ArrowRight")  # into the next layer
    expect(tile(page, "block/conv_2", 0)).to_be_focused()
    keys.press("ArrowLeft")
    expect(tile(page, "conv_1", 19)).to_be_focused()
    keys.press("ArrowDown")
    expect(tile(page, "block/conv_2", 19 % columns)).to_be_focused()
    keys.press("Enter")
    expect(page.get_by_role("dialog", name=f"block/conv_2 filter {19 % columns}")).to_be_visible()
    keys.press("ArrowRight")
    expect(page.get_by_role("dialog", name=f"block/conv_2 filter {19 % columns + 1}")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("dialog")).not_to_be_visible()
    expect(tile(page, "block/conv_2", 19 % columns + 1)).to_be_focused()


def test_a_visitor_who_goes_on_to_the_search_is_left_there(visit, server):
    """A browser reports that a panel is closed some time later, when the visitor may be typing already."""
    page = visit(server, "one/index.html#/0/0/5")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.evaluate("panel.close(), query.focus()")
    page.wait_for_url("**/index.html#/")
    expect(page.get_by_role("combobox")).to_be_focused()
    page.keyboard.type("block 17")
    page.keyboard.press("Enter")  # but from a filter that was searched, the way leads to its tile
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(tile(page, "block/conv_2", 17)).to_be_focused()


def test_tab_stops_once_at_each_layer(visit, server):
    page = visit(server)
    assert page.locator(".tile[tabindex='0']").count() == 3


def test_the_search_finds_a_filter(visit, server):
    page = visit(server)
    for typed, found in {
        "block 17": "block/conv_2 filter 17",
        "conv_3:299": "conv_3 filter 299",
        "CONV_1 #4": "conv_1 filter 4",
        "7": "conv_1 filter 7",
    }.items():
        page.keyboard.press("/")  # closes the panel of the filter before
        assert focused(page).startswith("Search")
        page.keyboard.type(typed)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog", name=found)).to_be_visible()


def test_the_search_finds_a_layer_and_says_if_there_is_none(visit, origin):
    page = visit(origin)
    page.keyboard.press("/")
    page.keyboard.type("conv_3")
    expect(page.get_by_role("option")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(tile(page, "conv_3", 0)).to_be_in_viewport()
    expect(tile(page, "conv_3", 0)).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("conv_1 999")
    expect(page.get_by_role("option")).to_have_text("no such layer or filter")
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).not_to_be_visible()


def test_the_column_leads_to_a_layer(visit, origin):
    page = visit(origin)
    link = page.get_by_role("navigation").get_by_role("link", name="conv_3")
    link.click()
    expect(tile(page, "conv_3", 0)).to_be_in_viewport()
    expect(link).to_have_attribute("aria-current", "true")


def test_dead_and_missing_filters_are_marked(visit, origin):
    page = visit(origin)
    expect(page.locator("#summary")).to_have_text(
        "360 filters in 3 layers · 1 dead · not finished: 2 are not computed yet"
    )
    expect(tile(page, "conv_1", 3)).to_have_accessible_name("filter 3, dead")
    tile(page, "conv_1", 3).click()
    panel = page.get_by_role("dialog")
    expect(panel).to_contain_text("This filter is dead")
    page.keyboard.press("Escape")
    expect(tile(page, "conv_3", 299)).to_have_accessible_name("filter 299, not computed yet")
    tile(page, "conv_3", 299).click()
    expect(panel).to_contain_text("This filter is not computed yet")
    expect(panel.locator("img")).to_have_count(0)


def test_two_atlases_stand_side_by_side(visit, origin):
    page = visit(origin, "two/index.html")
    left, right = (tile(page, "conv_1", i).bounding_box() for i in (0, 20))  # of 20 filters on the left
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] < right["x"]
    tile(page, "conv_1", 2).click()
    panel = page.get_by_role("dialog")
    expect(panel.locator("article > .atlas")).to_have_text(["first", "second"])
    expect(panel.get_by_role("heading", name="Most alike by weights")).to_have_count(2)
    expect(panel.get_by_role("heading", name="Strongest crops")).to_have_count(1)  # the second atlas has none
    assert not {"null", "undefined", "NaN"} & {*panel.inner_text().split()}
    page.keyboard.press("Escape")
    tile(page, "conv_3", 2).click()  # a layer that the other atlas does not have
    expect(panel.locator("article > .atlas")).to_have_text(["first"])


@pytest.mark.parametrize("place", ["hostile/index.html", "two/index.html"])
def test_a_name_is_text(visit, origin, place):
    page = visit(origin, place)
    plain = visit(origin)
    kinds = "() => [...new Set([...document.querySelectorAll('*')].map(e => e.localName))].sort()"
    headings = page.locator("#network h2").all_text_contents()
    assert {*HOSTILE} <= {*headings}
    for name in HOSTILE:
        tile(page, name, 1).click()
        page.locator(".alike").first.wait_for()
        assert page.locator("#filter-name .layer").first.text_content() == name
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).not_to_be_visible()
        expect(tile(page, name, 1)).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("<script>alert")
    expect(page.get_by_role("option").first).to_contain_text("<script>alert(1)</script>")
    page.keyboard.press("Escape")
    tile(plain, "conv_1", 1).click()
    plain.locator(".alike").first.wait_for()
    assert {*page.evaluate(kinds)} <= {*plain.evaluate(kinds), "article", "li"}
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDE["width"]


def test_the_policy_lets_nothing_in(browser, sites):
    """Even if a name became an element, it could run nothing and load nothing from elsewhere."""
    page = browser.new_page()
    page.goto((sites / "one/index.html").as_uri())
    blocked = page.evaluate(
        """async () => {
            const found = [];
            document.addEventListener("securitypolicyviolation", (event) => found.push(event.effectiveDirective));
            const image = "<img src='http://127.0.0.1:9/x.png' onerror='window.ran = 1'>";
            document.body.insertAdjacentHTML("beforeend", image);
            const script = document.createElement("script");
            script.textContent = "window.ran = 1";
            document.body.append(script);
            await fetch("http://127.0.0.1:9/").catch(() => 0);
            await new Promise((done) => setTimeout(done, 100));
            return [...found, window.ran ?? "nothing ran"];
        }"""
    )
    page.close()
    assert {"img-src", "script-src-elem", "connect-src"} <= {*blocked}
    assert blocked[-1] == "nothing ran"


def test_without_javascript_the_sheets_are_there(visit, origin):
    page = visit(origin, java_script_enabled=False)
    expect(page.get_by_role("heading", level=1)).to_have_text("first")
    expect(page.locator("#summary")).to_contain_text("360 filters in 3 layers")
    expect(page.locator("#query")).not_to_be_visible()
    expect(page.get_by_role("heading", level=2)).to_have_text(["conv_1", "block/conv_2", "conv_3"])
    expect(page.locator("main p").first).to_contain_text("With JavaScript")
    assert page.locator("main img").count() == 4  # sheets


@pytest.mark.parametrize("place", ["one", "one/index.html#/0/1/17", "two", "two/index.html#/0/0/2", "hostile"])
def test_axe_finds_no_fault(visit, server, place):
    package = Path(importlib.util.find_spec("axe_playwright_python").origin).parent
    page = visit(server, place, bypass_csp=True)
    if "#" in place:
        page.locator(".alike").first.wait_for()
    page.evaluate((package / "axe.min.js").read_text(encoding="utf-8"))
    for viewport in (WIDE, NARROW):
        page.set_viewport_size(viewport)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = page.evaluate("async () => (await axe.run({ preload: false })).violations")
            faults = [(each["id"], node["target"], node["failureSummary"]) for each in found for node in each["nodes"]]
            assert faults == [], (viewport, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
