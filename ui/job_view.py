"""How a page shows a job: its result, progress with Cancel and the result so far, or what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import streamlit as st

from pdc_core.errors import PDCError
from ui.classroom import public
from ui.jobs import Job, jobs, this_session

T = TypeVar("T")
_REFRESH_SECONDS = 0.5


def draw_job(job: Job[T], text: str, draw: Callable[[T], None], name: str) -> None:
    """Draw a job: its result, or progress with Cancel and the result so far, or what went wrong.

    Parameters
    ----------
    job : Job
        What this session has asked for.
    text : str
        What is being done, such as "Classifying the test images".
    draw : callable
        Draws the result, or the result so far.
    name : str
        Tells this job's buttons from those of others on the page.
    """
    session = this_session()
    if job.error is not None:
        st.error(in_words(job.error))
        draw_restart_button("Try again", job, name)
    elif (value := job.value) is not None:
        draw(value)
    elif job.cancelled or job.left_by(session):
        st.caption(f"{text}: cancelled.")
        draw_restart_button("Start again", job, name)
        if job.partial is not None:
            draw(job.partial)
    else:
        job.join(session)
        _follow(job, text, draw, name)


def draw_restart_button(label: str, job: Job[Any], name: str) -> None:
    """Draw a button that starts a failed or cancelled job again; `name` tells it from those of other jobs."""

    def restart() -> None:
        jobs().restart(job, this_session())

    st.button(label, key=f"restart_{name}", on_click=restart)


def _follow(job: Job[T], text: str, draw: Callable[[T], None], name: str) -> None:
    """Draw a job under way again and again; when it ends, or this session leaves, the page runs once more."""

    @st.fragment(run_every=_REFRESH_SECONDS)
    def follow() -> None:
        session = this_session()
        if job.done or job.left_by(session):
            st.rerun()
        st.progress(job.share, text=text)
        st.button("Cancel", key=f"cancel_{name}", on_click=job.leave, args=(session,))
        if job.partial is not None:
            draw(job.partial)

    follow()


def in_words(error: BaseException) -> str:
    """Write an error as a sentence for a person."""
    if isinstance(error, PDCError):
        return public(str(error))
    return public(f"This did not work ({type(error).__name__}: {error}). The log of the server says where.")
