"""The job queue: work is shared by sessions, reports progress and partial results, and stops with the last session."""

from __future__ import annotations

import threading
from threading import Event

import pytest
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from ui.job_view import in_words
from ui.jobs import Job, Jobs

LIMIT = 30  # seconds; against hanging


class Steps:
    """Work that waits for `go` between its steps, and counts how often it was begun."""

    def __init__(self, steps: int = 3) -> None:
        self.steps, self.begun = steps, 0
        self.started, self.go = Event(), Event()

    def __call__(self, job: Job[list[int]]) -> list[int]:
        self.begun += 1
        found = []
        for i in range(self.steps):
            found.append(i)
            job.progress(i + 1, self.steps, list(found))
            self.started.set()
            assert self.go.wait(LIMIT)
        job.progress(self.steps, self.steps)
        return found


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


def fail(job: Job[int]) -> int:
    raise pdc.PDCError("there is no weight")


def test_two_sessions_that_ask_for_the_same_share_one_job(jobs: Jobs) -> None:
    work = Steps()
    first = jobs.request(("a",), work, "me")
    assert jobs.request(("a",), work, "you") is first
    assert jobs.known(("a",)) is first
    work.go.set()
    first.wait(LIMIT)
    assert jobs.request(("a",), work, "a third").value == [0, 1, 2]
    assert work.begun == 1


def test_a_job_goes_on_when_one_session_cancels_and_stops_when_the_last_does(jobs: Jobs) -> None:
    work = Steps()
    job = jobs.request(("a",), work, "me")
    jobs.request(("a",), work, "you")
    assert work.started.wait(LIMIT)
    job.leave("me")
    assert not job.stopping
    assert job.left_by("me")
    assert not job.left_by("you")
    job.leave("you")
    assert job.stopping
    work.go.set()
    job.wait(LIMIT)
    assert job.cancelled
    assert job.value is None
    assert job.error is None


def test_a_session_that_cancelled_does_not_keep_the_job_alive_by_looking_at_it(jobs: Jobs) -> None:
    work = Steps()
    job = jobs.request(("a",), work, "me")
    assert work.started.wait(LIMIT)
    job.leave("me")
    assert jobs.request(("a",), work, "me") is job
    work.go.set()
    job.wait(LIMIT)
    assert job.cancelled


def test_a_job_that_has_not_begun_is_cancelled_at_once_and_never_begins(jobs: Jobs) -> None:
    first, second = Steps(), Steps()
    running = jobs.request(("a",), first, "me")
    queued = jobs.request(("b",), second, "me")
    assert first.started.wait(LIMIT)
    assert queued.queued
    assert not running.queued
    queued.leave("me")
    assert queued.cancelled
    first.go.set()
    last = jobs.request(("c",), lambda job: 7, "me")
    last.wait(LIMIT)
    assert last.value == 7
    assert second.begun == 0


@pytest.mark.parametrize("who", ["me", "you"])
def test_a_cancelled_job_can_be_asked_for_again(jobs: Jobs, who: str) -> None:
    work = Steps()
    job = jobs.request(("a",), work, "me")
    assert work.started.wait(LIMIT)
    job.leave("me")
    work.go.set()
    job.wait(LIMIT)
    again = jobs.restart(job, "me") if who == "me" else jobs.request(("a",), work, "you")
    again.wait(LIMIT)
    assert again.value == [0, 1, 2]
    assert work.begun == 2
    assert jobs.known(("a",)) is again


def test_a_queues_thread_does_not_keep_the_server_from_ending(jobs: Jobs) -> None:
    jobs.request(("a",), lambda job: 7, "me", lane="a lane of its own").wait(LIMIT)
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "a lane of its own"] == [True]


def test_a_session_can_come_back_to_a_job_that_others_wait_for(jobs: Jobs) -> None:
    work = Steps()
    job = jobs.request(("a",), work, "me")
    jobs.request(("a",), work, "you")
    assert work.started.wait(LIMIT)
    job.leave("me")
    assert jobs.restart(job, "me") is job
    job.leave("you")
    assert not job.stopping
    work.go.set()
    job.wait(LIMIT)
    assert job.value == [0, 1, 2]


def test_a_result_that_arrives_after_the_last_session_left_is_kept(jobs: Jobs) -> None:
    started, go = Event(), Event()

    def deaf(job: Job[int]) -> int:
        started.set()
        assert go.wait(LIMIT)
        return 7

    job = jobs.request(("a",), deaf, "me")
    assert started.wait(LIMIT)
    job.leave("me")
    go.set()
    job.wait(LIMIT)
    assert job.value == 7
    assert jobs.restart(job, "me") is job


def test_a_failed_job_raises_at_each_session_that_asks_until_it_is_started_again(jobs: Jobs) -> None:
    job = jobs.request(("a",), fail, "me")
    job.wait(LIMIT)
    for who in ("me", "you"):
        asked = jobs.request(("a",), fail, who)
        with pytest.raises(pdc.PDCError, match="there is no weight"):
            _ = asked.value
        assert asked.known is None
        assert not asked.cancelled
    assert jobs.restart(job, "me") is not job


@pytest.mark.parametrize(("error", "logged"), [(ValueError("odd"), True), (pdc.PDCError("no weight"), False)])
def test_an_error_that_nobody_foresaw_is_logged_with_its_place(
    jobs: Jobs, caplog: pytest.LogCaptureFixture, error: Exception, logged: bool
) -> None:
    def raises(job: Job[int]) -> int:
        raise error

    jobs.request(("a",), raises, "me", wait=True)
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error] * logged


def test_work_done_at_once_is_done_in_the_thread_that_asks(jobs: Jobs) -> None:
    from threading import current_thread

    job = jobs.request(("a",), lambda _: current_thread().name, "me", wait=True)
    assert job.value == current_thread().name
    broken = jobs.request(("b",), fail, "me", wait=True)
    assert isinstance(broken.error, pdc.PDCError)


def test_progress_never_falls_and_a_partial_result_is_seen_before_the_end(jobs: Jobs) -> None:
    work, seen = Steps(), []
    job = jobs.request(("a",), work, "me")
    assert work.started.wait(LIMIT)
    assert job.partial == [0]
    assert job.value is None
    assert not job.done
    for done in (1, 2, 1, 3, 0, 9):
        job.report(done, 3)
        seen.append(job.share)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    work.go.set()
    job.wait(LIMIT)


def test_a_job_of_one_lane_does_not_wait_behind_that_of_another(jobs: Jobs) -> None:
    long = Steps()
    jobs.request(("long",), long, "me", lane="sensitivity")
    assert long.started.wait(LIMIT)
    quick = jobs.request(("quick",), lambda job: 7, "me", lane="umap")
    quick.wait(LIMIT)
    assert quick.value == 7
    long.go.set()


def test_ended_jobs_are_forgotten_in_the_end_and_those_under_way_never(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.jobs._REMEMBERED", 2)
    work = Steps()
    jobs.request(("under way",), work, "me", lane="other")
    for i in range(5):
        jobs.request((str(i),), lambda job: 7, "me", wait=True)
    assert jobs.known(("0",)) is None
    assert jobs.known(("4",)) is not None
    assert jobs.known(("under way",)) is not None
    work.go.set()


def test_closing_the_queue_ends_the_job_under_way_and_drops_those_that_wait(jobs: Jobs) -> None:
    first, second = Steps(), Steps()
    running, queued = jobs.request(("a",), first, "me"), jobs.request(("b",), second, "me")
    assert first.started.wait(LIMIT)
    first.go.set()
    jobs.close()
    running.wait(LIMIT)
    assert queued.cancelled
    assert second.begun == 0


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (pdc.PDCError("There are no images."), "There are no images."),
        (ZeroDivisionError("division by zero"), "division by zero"),
    ],
)
def test_an_error_is_written_in_words(error: Exception, words: str) -> None:
    assert words in in_words(error)


def page(endless: bool) -> None:
    """Ask for a job and show it: one that reports 1 until it is cancelled, or one that fails."""
    import time
    from uuid import uuid4

    import streamlit as st

    from ui.job_view import draw_job
    from ui.jobs import request

    def work(job: "Job[int]") -> int:  # noqa: UP037 - the script of this page has no Job
        while endless:
            job.progress(1, 4, 1)
            time.sleep(0.01)
        raise ValueError("the third layer is missing")

    name = st.session_state.setdefault("name", str(uuid4()))
    job = request((name,), work, wait=not endless)
    while endless and job.partial is None:
        time.sleep(0.01)
    draw_job(job, "Computing", lambda value: st.metric("So far", value), "it")


def test_a_page_shows_the_exception_of_a_job_in_words_and_offers_to_try_again() -> None:
    app = AppTest.from_function(page, kwargs={"endless": False}, default_timeout=60).run()
    assert not app.exception
    assert "the third layer is missing" in app.error[0].value
    assert [button.label for button in app.button] == ["Try again"]


def test_a_page_shows_the_result_so_far_and_cancel_ends_the_job() -> None:
    app = AppTest.from_function(page, kwargs={"endless": True}, default_timeout=60).run()
    assert app.metric[0].value == "1"
    assert [button.label for button in app.button] == ["Cancel"]
    app.button[0].click().run()
    assert not app.exception
    assert [button.label for button in app.button] == ["Start again"]
    assert any("cancelled" in caption.value for caption in app.caption)
    app.button[0].click().run()
    assert [button.label for button in app.button] == ["Cancel"]
    app.button[0].click().run()
