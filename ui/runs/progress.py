"""What pages show of a run folder: is it under way, how far, and its curves."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pdc_core.durations import duration
from pdc_core.runs import Run
from ui.network import Network

RUN, _RUN_CHOICE = "run", "run_choice"  # in the address; the widget


def cannot_train(network: Network) -> str | None:
    """Return in a sentence why a network cannot be trained here, or None."""
    if not network.has_images:
        return (
            f"There are no images of {network.data_name} here, so nothing can be trained. Choose data with images on "
            "the page Model, or take the plan from the page Plan to a machine that has them."
        )
    if network.folded:
        return (
            "This network was folded already. Runs start from a whole network: choose the one it came from on the page "
            "Model."
        )
    return None


def choose_run(names: list[str], default: str, place: DeltaGenerator | None = None) -> str:
    """Draw the choice of a run and return it: the one that the address names, else the default.

    A name in the address that is not among them is said until another is chosen, since the link promised it.
    """
    asked = st.query_params.get(RUN)
    chosen = asked if asked in names else default
    st.session_state[_RUN_CHOICE] = chosen
    (place or st).selectbox("Run", names, key=_RUN_CHOICE, on_change=lambda: select_run(st.session_state[_RUN_CHOICE]))
    if asked is None:
        select_run(chosen)
    elif asked != chosen:
        st.warning(f"The link names the run {asked[:60]!r}, which is not here. Another one is shown.")
    return chosen


def select_run(name: str) -> None:
    """Show this run from the next run of the page on."""
    st.query_params[RUN] = name


def is_live(run: Run) -> bool:
    """Tell whether a worker is, or is about to be, at work on the run."""
    return run.state in ("queued", "running")


def has_ended(run: Run) -> bool:
    """Tell whether the run ended without a result, so that it can go on."""
    return run.state in ("paused", "stopped", "failed", "interrupted")


def progress_of(run: Run) -> tuple[float, str]:
    """Return how far a live run is, from 0 to 1, and in words."""
    step, steps = int(run.status.get("step", 0)), int(run.status.get("steps", 0))
    if run.state != "running" or not step or not steps:  # a run that waits to go on keeps what it had done on show
        share = min(1.0, step / steps) if steps else 0.0
        return share, f"{run.state.capitalize()}: {run.status.get('message', 'the worker is starting')}"
    epochs, left = run.spec.training.epochs, run.status.get("eta_seconds")
    estimate = f", about {duration(float(left))} left" if left is not None else ""
    return min(1.0, step / steps), f"Epoch {epochs * step / steps:.1f} of {epochs}{estimate}"


def pace_of(run: Run) -> str:
    """Return how many images a live run trains on each second, in words; empty until it is known."""
    left, step = run.status.get("eta_seconds"), int(run.status.get("step", 0))
    steps = int(run.status.get("steps", 0)) - step
    if run.state != "running" or not left or steps <= 0:
        return ""
    return f" · {steps * run.spec.training.batch_size / float(left):,.0f} images/s"


def session_runs() -> set[str]:
    """Return the names of the runs that this session started."""
    found: set[str] = st.session_state.setdefault("own_runs", set())
    return found


def training_points(run: Run) -> pd.DataFrame:
    """Return the training events: epoch, loss and its parts, strength and deviation; no value where there was none."""
    return _events(run, "train", ["epoch", "loss", "ce", "kd", "matching", "attention", "strength", "deviation"])


def evaluations(run: Run) -> pd.DataFrame:
    """Return the evaluation events, columns epoch and val_accuracy."""
    return _events(run, "evaluation", ["epoch", "val_accuracy"])


def _events(run: Run, kind: str, columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame([event for event in run.events if event.get("kind") == kind], columns=columns)
