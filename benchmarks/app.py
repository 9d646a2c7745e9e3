"""How fast the app responds: first paint, and edit to update, in headless Chromium. Writes benchmarks/results/app.md.

    python benchmarks/app.py

Each time is what a person would see: from the click or the URL to the pixels that answer it. Cold: the first page
of a server that has just started. Warm: a new visitor on a server that has shown the page before and whose UMAP has
compiled, which keeps one core busy for half a minute after the first visit to Filters. Medians.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from serving import served

RESULTS = Path(__file__).parent / "results"
REPEATS, COLD = 5, 2
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
]  # fmt: skip
# What a page shows when it is useful: the element to wait for.
USEFUL = {
    "Model": "[data-testid=stMetricValue]",
    "Filters": ".point",
    "Plan": "[data-testid=stMetricValue]",
    "Distil": "[data-testid=stAlert], button[kind=primary]",
    "Learn": "svg rect",
}
LARGE = "model=resnet50&data=imagenet&weights=random"
# Records, in the browser, the milliseconds from the navigation to the first frame with the element: asking from outside
# would also wait until the browser has loaded its charting library.
PAINTED = """selector => {
  const own = root => root.querySelector(selector) ??
    [...root.querySelectorAll("[data-testid^=stBidi]")].map(n => n.shadowRoot && own(n.shadowRoot)).find(Boolean);
  const look = () => own(document)?.getClientRects().length
    ? (window.painted = performance.now()) : requestAnimationFrame(look);
  look();
}"""
# Resolves, in the browser, to the milliseconds from a key to the first change of the first metric.
WATCH = """() => {
  const value = () => document.querySelector('[data-testid=stMetricValue]')?.innerText;
  const before = value();
  window.addEventListener('keydown', () => { window.began = performance.now() }, {once: true, capture: true});
  window.answered = new Promise(done => {
    const look = () => value() && value() !== before ? done(performance.now() - window.began)
                                                     : requestAnimationFrame(look);
    look();
  });
}"""


@contextmanager
def visitor(browser: Browser) -> Iterator[Page]:
    """Yield a page with an empty cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(180_000)
    try:
        yield context.new_page()
    finally:
        context.close()


def first_paint(browser: Browser, address: str, title: str, query: str = "") -> float:
    """Return the seconds until a page is useful for a first-time visitor."""
    with visitor(browser) as page:
        page.add_init_script(f"({PAINTED})({json.dumps(USEFUL[title])})")
        page.goto(f"{address}/{title.lower()}?{query}")
        return float(page.wait_for_function("() => window.painted").json_value()) / 1000


def warm_up(browser: Browser, address: str) -> None:
    """Wait until UMAP shows its first map."""
    with visitor(browser) as page:
        page.goto(f"{address}/filters?map=UMAP")
        page.get_by_text("in 4 clusters, UMAP").wait_for()


def edit_to_update(browser: Browser, address: str, query: str = "") -> list[float]:
    """Return the milliseconds from each of several moves of the plan's slider to the new MACs."""
    with visitor(browser) as page:
        page.goto(f"{address}/plan?{query}")
        page.wait_for_selector(USEFUL["Plan"])
        slider = page.get_by_role("slider").first
        slider.focus()
        times = []
        for i in range(REPEATS + 2):
            page.wait_for_selector('[data-testid=stApp][data-test-script-state="notRunning"]')
            page.wait_for_timeout(400)
            slider.focus()
            page.evaluate(WATCH)
            page.keyboard.press("ArrowLeft" if i % 2 else "ArrowRight")  # there and back: every step changes the MACs
            times.append(float(page.evaluate("() => window.answered")))
    return times[2:]  # the first two find empty caches


def main() -> None:
    """Measure, print and write."""
    import streamlit

    chromium = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    rows: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        cold = []
        for _ in range(COLD):
            with served() as app:
                address = app.address
                cold.append(first_paint(browser, address, "Model"))
        rows.append(f"| Model, first screen, cold server | {statistics.median(cold):.2f} s | 6 s |")
        print(rows[-1], flush=True)
        with served() as app:
            address = app.address
            warm_up(browser, address)
            for title in USEFUL:
                first_paint(browser, address, title)
                seconds = statistics.median(first_paint(browser, address, title) for _ in range(REPEATS))
                rows.append(f"| {title}, first screen, warm | {seconds:.2f} s | 2 s |")
                print(rows[-1], flush=True)
            for name, query in (("ResNet-20", ""), ("ResNet-50", LARGE)):
                first_paint(browser, address, "Plan", query)
                milliseconds = statistics.median(edit_to_update(browser, address, query))
                rows.append(f"| Plan of {name}: slider moved to new MACs on screen | {milliseconds:.0f} ms | 200 ms |")
                print(rows[-1], flush=True)
        browser.close()
    load = os.getloadavg()[0]
    head = [
        "# How fast the app feels",
        "",
        f"Written by `python benchmarks/app.py` on {datetime.date.today()}: headless Chromium, 1280 pixels wide, on "
        f"the server's own {os.cpu_count()} cores (load of the machine at the end: {load:.1f}), streamlit "
        f"{streamlit.__version__}, Python {platform.python_version()}. Medians of {REPEATS}, cold of {COLD}.",
        "",
        "| what | measured | wanted |",
        "|---|--:|--:|",
    ]
    (RESULTS / "app.md").write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
