"""A run as it happens: outcome, progress, buttons, curves and moving filters; redrawn while its worker is alive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from pdc_core import charts
from pdc_core.analysis.trajectories import read_trajectory
from pdc_core.errors import PDCError
from pdc_core.runs import Run, read_run, request_finish, request_pause, request_stop
from ui.choice import lecture
from ui.class_queue import waiting_text
from ui.classroom import in_class, public
from ui.drawing import cut, figure, percent, short
from ui.runs.launching import continue_run
from ui.runs.progress import (
    RUN,
    duration,
    evaluations,
    has_ended,
    is_live,
    is_own,
    message_of,
    network_of,
    pace_of,
    progress_of,
    session_runs,
    training_points,
    training_share,
)
from ui.runs.settings import METHODS

REFRESH_SECONDS, WAITING_SECONDS = 0.7, 2.0
_FINISH = {
    "distil": "Ends training now, then ties and folds the filters and writes the report.",
    "teach": "Ends training now, then measures the network and writes the report.",
}


def draw_run(run: Run, teacher: float | None) -> None:
    """Draw a run; while it is alive redraw it regularly, and run the page once more when it ends."""
    live, waits = is_live(run), run.state == "queued"
    every = WAITING_SECONDS if waits else REFRESH_SECONDS

    @st.fragment(run_every=every if live else None)
    def look(folder: Path) -> None:
        now = read_run(folder)
        if live and (now.state != run.state or now.spec.budget != run.spec.budget):  # or its length was chosen
            st.rerun()
        if live:
            _progress(now)
        if waits and not now.events:  # nothing to draw yet, for all who wait
            return
        draw_curves(now, teacher)
        draw_movement(now, live)

    look(run.folder)


def draw_outcome(run: Run, runs: dict[str, Run]) -> None:
    """Say what the run is of and, once it has ended, what came out of it or how to continue it."""
    spec, epochs = run.spec, run.spec.training.epochs
    method = METHODS[spec.method]
    how = "" if spec.method == "pdc" else f"{method[:1].upper()}{method[1:]}: "
    limits = f" of {spec.images:,} training images" if spec.images else ""
    if spec.budgeted:
        limits += f", chosen for {duration(spec.budgeted)}"
    guide = f", taught by {public(spec.teacher)}" if spec.teacher else ""
    length = "length still to be chosen" if spec.budget else f"{epochs} epoch{'s' if epochs > 1 else ''}{limits}"
    if not (lecture() and run.results):  # what came out of it comes first
        st.caption(f"{how}{network_of(run)}, {length}{guide}, {started_by(run)}.")
    if run.results:
        folded, base, early = run.results.result, run.results.before, run.results.ended_early
        ended = f" Finished early, after step {early.step:,} of {early.steps:,}." if early else ""
        text, link = st.columns([5, 1], vertical_alignment="center")
        text.success(
            f"Done. Folded network: test accuracy **{percent(folded.test_accuracy)}** "
            f"(before: {percent(base.test_accuracy)}), **{short(folded.macs)} MACs** "
            f"({cut(base.macs, folded.macs)}).{ended}{training_share(run, runs)}"
        )
        link.page_link("pages/compare.py", label="Compare", query_params={RUN: run.id})
    elif has_ended(run):
        text, button = st.columns([6, 1], vertical_alignment="center")
        text.warning(f"This run is {run.state}. {message_of(run)}")
        if button.button("Continue", width="stretch"):
            resume_run(run.folder)


def _progress(run: Run) -> None:
    share, text = progress_of(run)
    wait = waiting_text(run.folder)
    st.progress(share, text=f"Queued: {wait}" if wait else f"{text}{pace_of(run)}")
    with st.container(horizontal=True, gap="small"):
        for name, ask, tip in (
            ("Pause", request_pause, "Pauses the run after its current step. Continue resumes it."),
            ("Finish now", request_finish, _FINISH[run.spec.kind]),
            ("Stop", request_stop, "Stops the run after its current step, without a result. Continue resumes it."),
        ):
            if is_own(run):
                pressed = st.button(name, key=f"ask_{name}", help=tip)
            else:
                with st.popover(name, help=tip):
                    st.markdown(f"This run is not from this session: {started_by(run)}.")
                    pressed = st.button(f"{name} anyway", key=f"ask_{name}")
            if pressed:
                ask(run.folder)
                st.toast(tip)


def started_by(run: Run) -> str:
    """Return who started a run, where and when, as far as it is known."""
    at = (run.spec.created or "an unknown time").replace("T", " ").removesuffix("+00:00")
    if in_class():
        return f"started by you at {at} UTC"
    who = "by this session" if run.id in session_runs() else f"on {run.status.get('host', 'another machine')}"
    return f"started {who} at {at} UTC"


def resume_run(folder: Path) -> None:
    """Launch a worker for a run that ended early; it starts from the last checkpoint."""
    if continue_run(folder):
        st.rerun()


def draw_curves(run: Run, teacher: float | None) -> None:
    """Draw loss, accuracy, strength and deviation."""
    points, length = training_points(run), run.spec.training.epochs
    alone = run.spec.kind == "teach"  # nobody teaches: the loss has no parts
    loss, accuracy = st.columns(2, gap="medium")
    with loss:
        figure(charts.loss_curves(points[["epoch", "loss"]] if alone else points, length), key="loss_curves")
    with accuracy:
        figure(charts.accuracy_curve(evaluations(run), length, teacher, alone), key="accuracy_curve")
    if alone or run.spec.method != "pdc":
        return
    if len(points) and bool((points["strength"] >= 1).all()):
        st.caption("All filters were merged before the first step. Those of a cluster have been identical since then.")
    else:
        figure(charts.tying_curves(points, length), key="tying_curves")


def draw_movement(run: Run, live: bool) -> None:
    """Draw how the filters of one group move into their clusters; after the run this can be played back."""
    path, names = run.folder / "trajectory.npz", run.folder / "labels.npz"
    if not (path.is_file() and names.is_file()):
        return
    try:
        found = read_trajectory(path)
        with np.load(names, allow_pickle=False) as file:
            labels = {name: file[name].astype(np.int64) for name in file.files}
    except (PDCError, OSError, ValueError, EOFError) as error:
        st.caption(public(f"The movement of the filters cannot be shown: {error}"))
        return
    groups = [n for n, p in found.points.items() if n in labels and labels[n].shape == p.shape[1:2]]
    if not groups:
        return
    st.subheader("Filters moving into clusters")
    group = st.selectbox("Layer", groups, key="moving", width=320)
    drawn = charts.motion(found.points[group], labels[group], found.steps, group, found.share[group], animated=not live)
    figure(drawn, key="motion")
    st.caption(
        "The axes are fixed: they are those of the filters before training. Small rings mark where filters started. "
        "Filters of one cluster at the same point are equal along these axes."
    )
