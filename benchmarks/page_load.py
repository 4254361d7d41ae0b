"""Claim: a page of 4,224 filters opens in two seconds, and is built in memory that does not grow with the filters.

    python benchmarks/page_load.py [ATLAS] [--rounds 3] [--quick]

Without ATLAS, the atlas has the layers of VGG16 and synthetic pictures of 64 × 64 pixels: noise, which compresses worse
than the pictures of an ascent, so that the site is larger than a real one. Chromium opens the site from a server on
this machine, each time as if for the first time, in a window of 1400 × 900 pixels.

    load       from the navigation to the end of the load event, by `performance.timing`: all layers are on the page
    pictures   until the last sheet that this window loads has arrived
    scrolled   until all sheets have arrived, when somebody scrolls through the whole page
"""

import argparse
import functools
import http.server
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from common import write
from load_time import held
from playwright.sync_api import Browser, sync_playwright
from synthetic_atlas import write_atlas

import jaxviz as jv

VGG16 = {
    f"block{block}_conv{number}": filters
    for block, (filters, convolutions) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], start=1)
    for number in range(1, convolutions + 1)
}
CHROMIUM = "/usr/bin/chromium"

TIMES = """() => {
    const { navigationStart, loadEventEnd } = performance.timing;
    const sheets = performance.getEntriesByType("resource").filter(({ name }) => name.endsWith(".webp"));
    return [loadEventEnd - navigationStart, Math.max(...sheets.map(({ responseEnd }) => responseEnd))];
}"""
SCROLL = """async () => {
    for (let y = 0; y < document.body.scrollHeight; y += innerHeight) {
        scrollTo({ top: y, behavior: "instant" });
        await new Promise(requestAnimationFrame);
    }
}"""


class Load(NamedTuple):
    """How long a page takes to open, in milliseconds."""

    load: float
    pictures: float
    scrolled: float


def measure(site: Path, rounds: int = 3) -> Load:
    """The median `Load` of the page of a site."""
    with served(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = [_opened(browser, address) for _ in range(rounds)]
        browser.close()
    return Load(*(statistics.median(each) for each in zip(*opened, strict=True)))


def _opened(browser: Browser, address: str) -> Load:
    context = browser.new_context(viewport={"width": 1400, "height": 900})  # with an empty cache
    page = context.new_page()
    page.goto(address, wait_until="load")
    page.wait_for_load_state("networkidle")
    load, pictures = page.evaluate(TIMES)
    begin = time.perf_counter()
    page.evaluate(SCROLL)
    page.wait_for_load_state("networkidle")
    scrolled = 1000 * (time.perf_counter() - begin)
    context.close()
    return Load(load, pictures, scrolled)


@contextmanager
def served(site: Path) -> Iterator[str]:
    """The address of a server of files on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def megabytes(folder: Path, pattern: str = "*") -> float:
    """The size of the files of a site."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file()) / 1e6


def built(atlas: Path, site: Path) -> tuple[float, float]:
    """The seconds that a site takes, and the MB of memory that this process needs beyond what it holds before."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, begin = held("VmRSS"), time.perf_counter()
    jv.write_site(site, atlas)
    return time.perf_counter() - begin, (held("VmHWM") - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("atlas", nargs="?", type=Path, help="an atlas of your own, which is measured and not recorded")
    parser.add_argument("--rounds", type=int, default=3, help="how often the page is opened")
    parser.add_argument("--quick", action="store_true", help="few filters, one round, to see that the script runs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        layers = dict.fromkeys(("conv_1", "conv_2"), 20) if args.quick else VGG16
        atlas = args.atlas or place / "atlas.zarr"
        if not args.atlas:
            write_atlas(atlas, layers, size=(64, 64), steps=40)
            write_atlas(
                place / "quarter.zarr",
                {name: filters // 4 for name, filters in layers.items()},
                size=(64, 64),
                steps=40,
            )
            _, quarter = built(place / "quarter.zarr", place / "quarter")
        seconds, memory = built(atlas, place / "site")
        found = measure(place / "site", 1 if args.quick else args.rounds)
        filters = sum(map(len, jv.open_atlas(atlas)))
        site, sheets = megabytes(place / "site"), megabytes(place / "site", "sheet-*.webp")
        crops = megabytes(place / "site", "crops-*.webp")
    results = {
        "claim": f"the page of {filters:,} filters, in Chromium over a server on this machine",
        "Opening it": f"load event after {found.load:.0f} ms, the first sheets after {found.pictures:.0f} ms, scrolled "
        f"through all of it in {found.scrolled:.0f} ms",
        "Its size": f"{site:.1f} MB, of which {sheets:.1f} MB are the sheets and {crops:.1f} MB crops",
        "Building it": f"{seconds:.0f} s, and {memory:.0f} MB of memory"
        + ("" if args.atlas else f"; with a quarter of the filters, {quarter:.0f} MB"),
    }
    for key, text in results.items():
        print(f"{key}: {text}")
    if not args.quick and not args.atlas:
        results["The pictures"] = "synthetic, of 64 × 64 pixels: noise, which compresses worse than those of an ascent"
        print(write("page_load", results, ("pillow", "zarr", "playwright")))


if __name__ == "__main__":
    main()
