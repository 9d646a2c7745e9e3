"""A class in a real browser: the lecturer signs in and presets a page, a student begins there and waits for a turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Page, expect

from pdc_core.runs.waiting import COMMON_QUEUE
from tests.browser.serving import Server, serving, shows

SLOW = 120_000  # milliseconds; a limit against hanging, not a measurement
PIN = "271828"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "log"
    with serving(tmp_path_factory.mktemp("runs"), log, PDC_CLASS="1", PDC_CLASS_PIN=PIN) as server:
        yield server


@pytest.fixture
def visitors(browser: Browser) -> Iterator[tuple[Page, Page]]:
    """The pages of two visitors, each with the cookies of a browser of its own."""
    expect.set_options(timeout=SLOW)
    contexts = [browser.new_context(viewport={"width": 1280, "height": 1000}) for _ in range(2)]
    for context in contexts:
        context.set_default_timeout(SLOW)
    yield contexts[0].new_page(), contexts[1].new_page()
    for context in contexts:
        context.close()


def test_a_lecturer_presets_a_page_and_a_student_begins_there(server: Server, visitors: tuple[Page, Page]) -> None:
    lecturer, student = visitors
    lecturer.goto(f"{server.address}/class?data=digits")
    for pin in ("000000", PIN):
        lecturer.get_by_test_id("stTextInputField").fill(pin)
        lecturer.get_by_role("button", name="Sign in").click()
        if pin != PIN:
            shows(lecturer.get_by_test_id("stAlert"))
            expect(lecturer.get_by_role("button", name="Set for all")).to_have_count(0)
    lecturer.get_by_role("button", name="Set for all").click()
    shows(lecturer.get_by_text("Everyone starts here. As a link:"))
    lecturer.reload()
    shows(lecturer.get_by_role("button", name="Set for all"))  # the cookie says who it is
    student.goto(server.address)
    shows(student.get_by_role("heading", name="Plan", level=1))
    shows(student.get_by_text("ResNet-20 on digits"))
    student.goto(f"{server.address}/class")
    shows(student.get_by_test_id("stTextInputField"))
    expect(student.get_by_role("button", name="Set for all")).to_have_count(0)


def test_a_run_waits_in_the_queue_of_the_class_and_is_seen_by_its_owner_alone(
    server: Server, visitors: tuple[Page, Page]
) -> None:
    student, other = visitors
    queue = server.runs / "class"
    queue.mkdir(exist_ok=True)
    (queue / COMMON_QUEUE).touch()
    with FileLock(queue / ".queue.lock"):  # as if somebody's run trained
        student.goto(f"{server.address}/distil?data=digits")
        student.get_by_role("button", name="Start", exact=True).click()
        shows(student.get_by_text("next in the queue of the class"))
        other.goto(f"{server.address}/class")
        shows(other.get_by_text("waiting").or_(other.get_by_text("next")))
        other.goto(f"{server.address}/distil?data=digits")
        shows(other.get_by_text("after 1 run of the class"))
        shows(other.get_by_text("No run yet."))
        student.get_by_role("button", name="Stop", exact=True).click()
        shows(student.get_by_text("Stopped while it waited in the queue."))
    assert not list(Path(server.runs).glob("class/*/*/report.json"))
