"""The whole path in a real browser on a real server: open, choose, distil, fold, compare, download.

Every test opens a session of its own and needs no other test. Screenshots of every page are left in build/screens for a
person to look at.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, FloatRect, Locator, Page, expect

import pdc_core as pdc
from pdc_core.runs import Run, RunSpec, create_run, run_worker
from pdc_core.train import Training
from tests.browser.serving import ROOT, Server, serving, shows
from ui.drawing import percent, png, short

SCREENS = ROOT / "build" / "screens"
FIVE = "5-4-4-8-8-8-16-16-16"  # a plan with five clusters in the first layer
SLOW = 120_000  # milliseconds; a limit against hanging, not a measurement


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    runs = tmp_path_factory.mktemp("runs")
    with serving(runs, tmp_path_factory.mktemp("server") / "log") as server:
        try:
            yield server
        finally:
            _end_workers(runs)


def _end_workers(runs: Path) -> None:
    """End the workers of runs that a failed test left under way."""
    for run in pdc.list_runs(runs):
        if run.alive:
            os.kill(int(run.status["pid"]), signal.SIGKILL)


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """A new tab of a new visitor."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(SLOW)
    expect.set_options(timeout=SLOW)
    yield context.new_page()
    context.close()
    _end_workers(server.runs)


@pytest.fixture(scope="module")
def finished(server: Server) -> Run:
    """A finished run of the digits network on the server."""
    model, data = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
    plan = pdc.Plan.uniform(pdc.trace(model, data.prepare(data.test.images[:1])), keep=0.25)
    folder = create_run(RunSpec(plan=plan, training=Training(epochs=1)), root=server.runs)
    run_worker(folder)
    return pdc.read_run(folder)


def _open(page: Page, server: Server, address: str) -> None:
    """Open a page of the app by its address and wait until it has settled; with digits if it names no data."""
    quick = "" if "data=" in address else f"{'&' if '?' in address else '?'}data=digits"
    page.goto(f"{server.address}/{address}{quick}")
    title = address.partition("?")[0].capitalize()
    shows(page.get_by_role("heading", name=title, level=1))
    _settled(page)


def _go(page: Page, title: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=title).click()
    shows(page.get_by_role("heading", name=title, level=1))


def _settled(page: Page) -> None:
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def _until(asked: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + seconds
    while not (found := asked()):
        assert time.monotonic() < end, "This took too long."
        time.sleep(0.2)
    return found


def _resting(page: Page, place: Callable[[], Any]) -> Any:
    """Return a place that has been the same for half a second: charts are drawn late, and each moves what is below."""

    def same() -> Any:
        found = place()
        page.wait_for_timeout(500)
        return found if place() == found else None

    return _until(same)


def _done(page: Page, name: str) -> None:
    """Wait until the page has settled; it shows no traceback; leave a screenshot."""
    _settled(page)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.get_by_text("Traceback")).to_have_count(0)
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / f"{name}.png")


def _canvas(page: Page) -> FloatRect:
    """Return where the first table is; it is drawn on a canvas, and nothing says when it takes its first click."""
    cells = page.get_by_test_id("stDataFrame").first
    shows(cells.locator("canvas").first)
    page.wait_for_timeout(1000)
    cells.scroll_into_view_if_needed()
    box = cells.bounding_box()
    assert box is not None
    return box


def _metric(page: Page, label: str) -> Locator:
    metric = page.get_by_test_id("stMetric").filter(has_text=label)
    return metric.get_by_test_id("stMetricValue").first


def _report(run: Run) -> dict[str, dict[str, float]]:
    report: dict[str, dict[str, float]] = json.loads((run.folder / "report.json").read_text())
    return report


def test_open(page: Page, server: Server) -> None:
    model, data = pdc.load_model("resnet20", data="clothing"), pdc.load_data("clothing")
    page.goto(server.address)
    expect(_metric(page, "MACs")).to_have_text("30.8 M")
    expect(_metric(page, "Test accuracy")).to_have_text(percent(pdc.evaluate(model, data, data.test).accuracy))
    shows(page.get_by_text("MACs of each layer"))
    _done(page, "model")


def test_look_at_filters_and_choose_a_count(page: Page, server: Server) -> None:
    _open(page, server, "filters")
    shows(page.get_by_text("12 filters folded away"))
    shows(page.get_by_text("distances are not to scale"))
    page.get_by_role("slider", name="Clusters kept").press("ArrowRight")
    shows(page.get_by_text("11 filters folded away"))
    shows(page.get_by_text("layer1.0.conv1: 16 filters in 5 clusters, PCA"))
    _done(page, "filters")
    _go(page, "Plan")
    page.wait_for_url(f"**plan={FIVE}*")


def test_filters_circled_on_the_map_become_a_cluster_and_undo_takes_it_back(page: Page, server: Server) -> None:
    def spot(i: int) -> tuple[float, float]:
        box = page.locator(f".point[data-filter='{i}'] path").bounding_box()
        assert box is not None
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    _open(page, server, f"filters?plan={FIVE}")
    shows(page.locator(".point[data-filter='5'] path"))
    page.wait_for_timeout(700)  # points glide to their places
    x, y = spot(5)
    page.mouse.move(x - 12, y - 12)
    page.mouse.down()
    for right, below in ((12, -12), (12, 12), (-12, 12)):
        page.mouse.move(x + right, y + below, steps=3)
    page.mouse.up()
    shows(page.get_by_text("Selected: filter 5"))
    page.locator(".tile[data-filter='8']").click(modifiers=["Shift"])
    shows(page.get_by_text("Selected: filters 5, 8"))
    expect(page.locator(".point.chosen")).to_have_count(2)
    page.get_by_role("button", name="New cluster", exact=True).click()
    shows(page.get_by_text("This layer has manual clusters."))
    expect(page.locator(".legend").get_by_role("button")).to_have_count(6)
    _done(page, "by_hand")
    _settled(page)
    page.get_by_role("button", name="Undo").click()
    shows(page.get_by_text("11 filters folded away"))
    expect(page.get_by_text("This layer has manual clusters.")).to_have_count(0)


def test_the_map_is_walked_by_keys_and_follows_the_table(page: Page, server: Server) -> None:
    _open(page, server, f"filters?plan={FIVE}")
    shows(page.get_by_text("Select filters:"))
    page.locator(".point[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    at = page.locator(".point:focus").get_attribute("data-filter")
    page.keyboard.press("Space")
    shows(page.get_by_text(f"Selected: filter {at} "))
    expect(page.locator(".tile.chosen")).to_have_attribute("data-filter", str(at))
    page.keyboard.press("Escape")
    shows(page.get_by_text("Select filters:"))
    box = _canvas(page)
    page.mouse.click(box["x"] + 15, box["y"] + 55)  # the box of the first row
    shows(page.get_by_text("Selected: filter 0 "))
    expect(page.locator(".point.chosen")).to_have_attribute("data-filter", "0")


def test_plan_follows_an_edit_in_the_table_and_undo_takes_it_back(page: Page, server: Server) -> None:
    _open(page, server, f"plan?plan={FIVE}")
    before = _metric(page, "MACs").inner_text()

    def type_count(count: int) -> None:
        box = _canvas(page)
        page.mouse.dblclick(box["x"] + 212, box["y"] + 55)  # first row, column clusters
        editor = page.locator("#portal input")
        editor.fill(str(count))
        editor.press("Enter")
        page.wait_for_url(f"**plan={count}-4-4-8-8-8-16-16-16*")

    type_count(2)
    expect(_metric(page, "MACs")).not_to_have_text(before)
    _settled(page)  # a button that moves between press and release takes no click
    page.get_by_role("button", name="Undo").click()
    page.wait_for_url(f"**plan={FIVE}*")
    expect(_metric(page, "MACs")).to_have_text(before)
    _done(page, "plan")


def test_one_click_halves_the_macs_and_the_budget_says_what_each_rule_would_do(page: Page, server: Server) -> None:
    _open(page, server, "plan")
    page.get_by_role("button", name="Halve the MACs").click()
    expect(page.get_by_role("button", name="Undo")).to_be_enabled(timeout=120_000)
    _settled(page)
    page.get_by_role("button", name="Budget").click()
    expect(page.get_by_text("Merged and not trained, plans that save 50% of MACs")).to_contain_text("(taken)")
    _done(page, "plan_budget")


def test_the_picture_of_the_network_changes_the_plan_and_opens_a_layer(page: Page, server: Server) -> None:
    _open(page, server, "plan")
    bar = page.locator(".node[data-node='layer3_0_conv1']")
    bar.hover()
    page.wait_for_timeout(300)  # a wheel that turns at once would scroll the page on
    page.mouse.wheel(0, -100)
    page.wait_for_url("**plan=4-4-4-8-8-8-17-16-16*")
    _settled(page)
    bar.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.wait_for_url("**plan=4-4-4-8-8-8-15-16-16*")
    page.locator(".block[data-block='layer1']").click()
    shows(page.locator(".node[data-node='layer1']"))
    _done(page, "plan_picture")
    bar.focus()
    page.keyboard.press("Enter")
    shows(page.get_by_role("heading", name="Filters", level=1))
    shows(page.get_by_text("layer3.0.conv1: 64 filters of"))
    shows(page.get_by_text("49 filters folded away"))
    _settled(page)
    page.get_by_text("Choose the layer in a picture of the network").click()
    page.locator(".node[data-node='layer2_1_conv1'] .kept").click()
    shows(page.get_by_text("layer2.1.conv1: 32 filters of"))
    _done(page, "filters_picture")


def test_a_bad_plan_is_refused_in_a_sentence_and_a_good_one_taken(page: Page, server: Server) -> None:
    def upload(content: str) -> None:
        _settled(page)
        page.locator('input[type="file"]').set_input_files(
            {"name": "mine.json", "mimeType": "application/json", "buffer": content.encode()}
        )

    _open(page, server, "plan?plan=2-4-4-8-8-8-16-16-16")
    upload('{"counts": {"layer1.0.conv1": 99}}')
    expect(page.get_by_role("alert").filter(has_text="mine.json was not loaded")).to_contain_text("1 to 16")
    page.wait_for_url("**plan=2-4-4-8-8-8-16-16-16*")
    _done(page, "refused")
    counts = json.dumps({f"layer{s}.{b}.conv1": 4 * 2 ** (s - 1) for s in (1, 2, 3) for b in range(3)})
    upload(f'{{"counts": {counts}}}')
    page.wait_for_url("**plan=4-4-4-8-8-8-16-16-16*")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_run_survives_a_reload_and_ends_with_its_result(page: Page, server: Server) -> None:
    _open(page, server, "distil")
    epochs = page.get_by_role("spinbutton", name="Epochs")
    epochs.fill("2")
    epochs.press("Tab")
    page.get_by_role("button", name="Start").click()
    shows(page.get_by_role("button", name="Stop", exact=True))
    page.reload()
    shows(page.get_by_text("Training loss and its parts"))
    done = page.get_by_test_id("stAlert").filter(has_text="Done. Folded network").first
    shows(done)
    page.wait_for_url("**plan=4-4-4-8-8-8-16-16-16*")
    (name,) = parse_qs(urlsplit(page.url).query)["run"]
    folded = _report(pdc.read_run(server.runs / name))["folded"]
    expect(done).to_contain_text(percent(folded["test_accuracy"]))
    _done(page, "distil")


def test_compare_and_download_the_folded_network(page: Page, server: Server, finished: Run, tmp_path: Path) -> None:
    _open(page, server, f"compare?run={finished.id}")
    report = _report(finished)
    expect(_metric(page, "Test accuracy, folded")).to_have_text(percent(report["folded"]["test_accuracy"]))
    expect(_metric(page, "MACs, folded")).to_have_text(short(report["folded"]["macs"]))
    _done(page, "compare")
    with page.expect_download() as download:
        page.get_by_role("button", name="Folded network").click()
    file = tmp_path / "folded.safetensors"
    download.value.save_as(file)
    folded, data = pdc.load(file), pdc.load_data("digits")
    assert pdc.evaluate(folded, data, data.test).accuracy == report["folded"]["test_accuracy"]
    assert pdc.cost(folded, data.prepare(data.test.images[:1])).macs == report["folded"]["macs"]


CELL = """() => {
  const drawn = [...document.querySelectorAll(".js-plotly-plot")];
  const grid = drawn.find(plot => plot._fullLayout && plot.data.some(trace => trace.type === "heatmap"));
  if (!grid) return null;
  grid.scrollIntoView({block: "center"});
  const box = grid.getBoundingClientRect(), cells = grid.data[1], { xaxis, yaxis } = grid._fullLayout;
  const place = (axis, value) => axis._offset + axis.c2p(axis.d2c(value));
  return [box.left + place(xaxis, cells.x[0]), box.top + place(yaxis, cells.y[0]), cells.y[0], cells.x[0]];
}"""


def test_a_confusion_leads_to_its_images_and_these_to_both_answers(page: Page, server: Server, finished: Run) -> None:
    _open(page, server, f"compare?run={finished.id}&section=Classes")
    shows(page.get_by_text("The two networks disagree on"))
    _settled(page)
    x, y, true, named = _resting(page, lambda: page.evaluate(CELL))
    page.mouse.move(x - 2, y - 2)
    page.mouse.move(x, y)
    label = page.locator(".hoverlayer").filter(has_text=f"{true} called {named}: ")
    shows(label)  # a chart takes no click before it has seen the pointer
    page.mouse.click(x, y)
    images = page.get_by_test_id("stSelectbox").filter(has_text="Images").locator("input")
    expect(images).to_have_value(re.compile(rf"{true} called {named}: "))
    first = page.locator(".thumbnails button").first
    expect(first).to_contain_text(f"true: {true}")
    first.click()
    shows(page.get_by_text(f"True class: {true}."))
    shows(page.get_by_text("filters of the folded network fire"))
    _done(page, "try_test_image")


def test_a_drawing_and_an_upload_are_answered_as_fed(page: Page, server: Server, finished: Run) -> None:
    _open(page, server, f"compare?run={finished.id}&section=Try%20it")
    sheet = page.locator(".sketch canvas")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 140, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 230, steps=5)
    page.mouse.up()
    answer = page.get_by_test_id("stMarkdown").filter(has_text="Original: ").first
    expect(answer).to_contain_text("Original: 1")  # a straight line; after one epoch, the folded network may err
    expect(answer).to_contain_text("Folded: ")
    page.get_by_text("Upload", exact=True).click()
    expect(answer).to_have_count(0)
    paper = np.full((60, 90), 255, dtype=np.uint8)
    paper[5:55, 40:50] = 0
    page.locator('input[type="file"]').set_input_files(
        {"name": "one.png", "mimeType": "image/png", "buffer": png(paper)}
    )
    expect(page.get_by_role("switch", name="Invert brightness")).to_be_checked()  # ink on paper, as this set is not
    expect(answer).to_contain_text("Original: 1")
    _done(page, "try_upload")
    page.locator('input[type="file"]').set_input_files({"name": "no.png", "mimeType": "image/png", "buffer": b"none"})
    shows(page.get_by_role("alert").filter(has_text="cannot be read as a picture"))


def test_a_photograph_is_answered_once_the_page_may_use_the_camera(page: Page, server: Server, finished: Run) -> None:
    page.context.grant_permissions(["camera"], origin=server.address)
    _open(page, server, f"compare?run={finished.id}&section=Try%20it")
    page.get_by_text("Photo", exact=True).click()
    answer = page.get_by_test_id("stMarkdown").filter(has_text="Original: ").first
    for _ in range(2):  # the second one after "Clear photo"
        take = page.get_by_role("button", name="Take Photo")
        expect(take).to_be_enabled()
        page.wait_for_function("document.querySelector('video')?.videoHeight > 0")  # before, there is nothing to take
        take.click()
        expect(answer).to_contain_text("Folded: ")
        shows(page.get_by_text("As fed: 8×8 pixels, grey"))
        _done(page, "try_photo")
        page.get_by_role("button", name="Clear photo").click()
        expect(answer).to_have_count(0)


def test_the_downloaded_network_opens_again_and_a_malicious_one_is_refused(
    page: Page, server: Server, finished: Run
) -> None:
    refusal = page.get_by_role("alert").filter(has_text="Not loaded; the network is unchanged.")

    def upload(name: str, content: bytes) -> None:
        page.locator('input[type="file"]').set_input_files(
            {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        )
        shows(page.get_by_text(name))
        expect(refusal).to_have_count(0)  # the message about the last file goes when this one has arrived
        page.get_by_role("button", name="Load", exact=True).click()

    _open(page, server, "model")
    page.get_by_text("Change network, data or weights").click()
    _done(page, "choosing")
    page.wait_for_timeout(1000)  # the charts further down arrive late and draw the form once more
    page.get_by_role("combobox", name="Weights").click()
    page.get_by_role("option", name="upload a checkpoint").click()
    expect(page.locator('input[type="file"]')).to_have_count(1)
    upload("evil.pt", pickle.dumps(os.system))
    shows(refusal)
    expect(_metric(page, "MACs")).to_have_text("2.52 M")
    _done(page, "malicious")
    upload("folded.safetensors", (finished.folder / "folded.safetensors").read_bytes())
    expect(_metric(page, "MACs")).to_have_text(short(_report(finished)["folded"]["macs"]))
    _done(page, "again")
    page.goto(server.address)  # a new session: the first network again
    expect(_metric(page, "MACs")).to_have_text("30.8 M")


def test_a_run_is_paused_killed_continued_and_finished_early(page: Page, server: Server, finished: Run) -> None:
    def press(name: str) -> None:
        page.get_by_role("button", name=name, exact=True).click()

    _open(page, server, "distil")
    epochs = page.get_by_role("spinbutton", name="Epochs")
    epochs.fill("500")
    epochs.press("Tab")
    press("Start")
    shows(page.get_by_text(re.compile(r"Epoch [\d.]+ of 500")))
    _go(page, "Compare")  # shows the run that is done
    shows(_metric(page, "MACs, folded"))
    _go(page, "Distil")  # and this one still the one under way
    shows(page.get_by_text("images/s"))
    press("Pause")
    shows(page.get_by_text("This run is paused."))
    assert not any(run.alive for run in pdc.list_runs(server.runs))
    press("Continue")
    shows(page.get_by_text("images/s"))
    (run,) = [run for run in pdc.list_runs(server.runs) if run.alive]
    os.kill(int(run.status["pid"]), signal.SIGKILL)
    shows(page.get_by_text("This run is interrupted."))
    press("Continue")
    shows(page.get_by_text("images/s"))
    press("Finish now")
    shows(page.get_by_text("Done. Folded network"))
    shows(page.get_by_text("Filters moving into clusters"))
    assert not any(run.alive for run in pdc.list_runs(server.runs))
    report = pdc.read_run(run.folder).report
    assert report is not None
    assert report["folded"]["test_accuracy"] > 0.5  # long before its clusters were tied
    _done(page, "finished")


def test_images_of_ones_own_lead_from_a_folder_to_a_folded_network(page: Page, server: Server, tmp_path: Path) -> None:
    random, names = np.random.default_rng(0), ("blue", "green", "red")
    for label, name in enumerate(names):
        (tmp_path / name).mkdir()
        for i in range(20):
            pixels = random.integers(0, 60, (12, 14, 3)) + 150 * np.eye(3, dtype=int)[2 - label]
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name / f"{i}.png")

    def run_of(title: str, button: str, epochs: int) -> None:
        field = page.get_by_role("spinbutton", name="Epochs")
        field.fill(str(epochs))
        field.press("Tab")
        _settled(page)
        page.get_by_role("button", name=button, exact=True).click()
        shows(page.get_by_test_id("stAlert").filter(has_text=title))

    def choose(control: str, option: str) -> None:
        page.get_by_role("combobox", name=control).click()
        page.get_by_role("option", name=option).click()
        _settled(page)

    _open(page, server, "model")
    page.get_by_text("Change network, data or weights").click()
    page.wait_for_timeout(1000)  # the charts further down arrive late and draw the form once more
    choose("Data", "path of an image folder")
    path = page.get_by_role("textbox", name="Path on the server")
    path.fill(str(tmp_path))
    path.press("Enter")
    size = page.get_by_role("spinbutton", name="Image size")
    size.fill("8")
    size.press("Tab")
    expect(page.get_by_role("combobox", name="Weights")).to_have_value(re.compile("random weights"))
    page.get_by_role("button", name="Load", exact=True).click()
    shows(page.get_by_text("This network has random weights"))
    _done(page, "untrained")
    run_of("Trained by the run", "Train it", 8)
    _done(page, "trained")
    (taught,) = [run for run in pdc.list_runs(server.runs) if run.spec.kind == "teach"]
    assert taught.results is not None
    assert taught.results.result.test_accuracy > 0.6
    expect(_metric(page, "Test accuracy")).to_have_text(percent(taught.results.result.test_accuracy))
    page.get_by_role("link", name="Plan what to keep").click()
    shows(page.get_by_role("heading", name="Plan", level=1))
    expect(_metric(page, "Filters kept")).to_have_text("84")
    known = {run.id for run in pdc.list_runs(server.runs)}
    _go(page, "Distil")
    run_of("Done. Folded network", "Start", 2)
    (distilled,) = _until(lambda: [run for run in pdc.list_runs(server.runs) if run.id not in known])
    assert distilled.spec.data == taught.spec.data
    _until(lambda: pdc.read_run(distilled.folder).state == "done")
    page.get_by_test_id("stMain").get_by_role("link", name="Compare").click()
    expect(_metric(page, "Test accuracy, folded")).to_have_text(percent(_report(distilled)["folded"]["test_accuracy"]))
    _done(page, "compared")


def test_the_lesson_checks_an_answer(page: Page, server: Server) -> None:
    page.goto(f"{server.address}/learn?step=Remove&strength=1")
    page.get_by_test_id("stRadio").get_by_text("delete it", exact=True).click()
    expect(page.get_by_test_id("stAlert")).to_contain_text("Not yet.")
    page.get_by_test_id("stRadio").get_by_text("merge it into filter 0", exact=True).click()
    expect(page.get_by_test_id("stAlert")).to_contain_text("Right.")
    shows(page.get_by_text("1 of 7 questions answered"))
    _done(page, "learn")


def test_a_pixel_of_the_lesson_is_calculated_under_the_pointer_and_with_the_keys(page: Page, server: Server) -> None:
    page.goto(f"{server.address}/learn?step=Alike")
    said, picture = page.locator(".drawing .explained"), page.locator(".drawing svg")
    expect(said).to_contain_text("Channel 0, row 4, column 4: nine pixels times the nine weights of filter 0")
    picture.locator("title").get_by_text("channel 1, row 0, column 7:").locator("..").hover()
    expect(said).to_contain_text("Channel 1, row 0, column 7")
    picture.focus()
    for key, shown in (("ArrowDown", "Channel 1, row 1, column 7"), ("ArrowRight", "Channel 1, row 1, column 7"),
                       ("Enter", "Channel 2, row 1, column 7"), ("Enter", "Output, row 1, column 7")):  # fmt: skip
        page.keyboard.press(key)
        expect(said).to_contain_text(shown)
    _done(page, "pointing")


def test_every_page_has_an_address_that_opens_in_a_new_tab(page: Page, server: Server) -> None:
    for title in ("Model", "Filters", "Plan", "Distil", "Compare", "Learn"):
        page.goto(f"{server.address}/{title.lower()}")
        shows(page.get_by_role("heading", name=title, level=1))
        expect(page.get_by_text("Page not found")).to_have_count(0)
        expect(page.get_by_test_id("stSidebarNav").get_by_role("link")).to_have_count(6)


def test_an_address_of_an_earlier_version_opens_the_view_that_it_named(page: Page, server: Server) -> None:
    page.goto(f"{server.address}/filters?layer=layer2.0.conv1&view=What+the+filter+sees")
    shows(page.get_by_text("Activation maps as the next layer reads them"))
    shows(page.get_by_text("layer2.0.conv1: 32 filters in 8 clusters, PCA"))
    page.wait_for_url("**view=Activation*")


@pytest.mark.parametrize(("title", "name"), [("Filters", "pdc-map-layer1.0.conv1.png"), ("Learn", "pdc-filters.png")])
def test_a_picture_drawn_by_hand_is_saved(page: Page, server: Server, tmp_path: Path, title: str, name: str) -> None:
    page.goto(f"{server.address}/{title.lower()}")
    with page.expect_download() as download:
        page.get_by_role("button", name="⤓ picture").click()
    assert download.value.suggested_filename == name
    download.value.save_as(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        shades = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(shades, axis=0)) > 20, "paper, ink and more than one colour"


def test_what_a_filter_looks_for_is_cut_out_of_validation_images(page: Page, server: Server) -> None:
    _open(page, server, "filters?view=What+it+looks+for")
    shows(page.get_by_text("In the whole layer:"))
    assert page.locator('img[src^="data:image/png"]').count() > 7
    _done(page, "looks_for")
