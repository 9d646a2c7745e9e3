"""What pages show of a run: which one is shown, whether it is under way, how far it is, and its curves."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pdc_core.baselines import WHOLE
from pdc_core.durations import duration
from pdc_core.runs import Run, Sweep, find_reference, run_names
from pdc_core.runs.recorder import TRAINING
from ui.choice import Choice
from ui.classroom import in_class, public
from ui.drawing import percent
from ui.network import Network

RUN, _RUN_CHOICE = "run", "run_choice"  # in the address; the widget
BASELINE = "pinned"  # in the address too


def cannot_train(network: Network) -> str | None:
    """Return why a network cannot be trained here, in a sentence, or None."""
    if not network.has_images:
        return (
            f"There are no images of {network.data_name} here, so nothing can be trained. Choose data with images on "
            "the page Model, or download the plan from the page Plan and train on a machine that has them."
        )
    if network.folded:
        return (
            "This network is already folded. Runs start from an unpruned network: choose the original on the page "
            "Model."
        )
    return None


def choose_run(runs: dict[str, Run], network: Network, place: DeltaGenerator) -> Run:
    """Draw the choice of a run and return it: the one that the URL names, else the first of `by_network`.

    If the URL names a run that is not here, keep warning until the user picks one: the link promised that run.
    """
    runs = by_network(runs, network)
    linked, names = st.query_params.get(RUN), run_names(runs.values())
    chosen = linked if linked in runs else next(iter(runs))
    st.session_state[_RUN_CHOICE] = chosen
    place.selectbox(
        "Run",
        list(runs),
        format_func=lambda name: _listed(names[name], runs[name], network),
        key=_RUN_CHOICE,
        on_change=lambda: select_run(st.session_state[_RUN_CHOICE]),
    )
    if linked is None:
        select_run(chosen)
    elif linked != chosen:
        st.warning(f"The link names the run {linked[:60]!r}, which is not here. Another run is shown.")
    if not is_of(runs[chosen], network):
        st.info(f"This run is of another network: {network_of(runs[chosen])}. The open network is {network.label}.")
    return runs[chosen]


def choose_baseline(options: list[str], runs: dict[str, Run], place: DeltaGenerator) -> str:
    """Draw the choice of what a run is compared with, and return it: a run's id or the first option."""
    names = run_names(runs.values())
    linked = st.query_params.get(BASELINE)
    st.session_state[BASELINE] = linked if linked in options else options[0]
    chosen: str = place.selectbox(
        "Baseline", options, format_func=lambda name: names.get(name, name), key=BASELINE,
        on_change=lambda: st.query_params.update({BASELINE: st.session_state[BASELINE]}),
        help="The differences below are relative to it.",
    )  # fmt: skip
    return chosen


def _listed(name: str, run: Run, network: Network) -> str:
    return name if is_of(run, network) else f"{name} ({network_of(run)})"


def linked_run(runs: dict[str, Run]) -> Run | None:
    """Return the run that the URL names, or None."""
    return runs.get(st.query_params.get(RUN, ""))


def by_network(runs: dict[str, Run], network: Network) -> dict[str, Run]:
    """Return the runs, those of a network first; among them the one that is training first, then the newest.

    Parameters
    ----------
    runs : dict of str to Run
        Runs by name, the newest first.
    network : Network
        The network that is open.
    """

    def rank(run: Run) -> tuple[bool, bool, bool]:
        return not is_of(run, network), run.state != "running", not is_live(run)

    return {run.id: run for run in sorted(runs.values(), key=rank)}


def is_of(run: Run, network: Network) -> bool:
    """Tell whether a run started from a network: the same architecture, data and weights."""
    spec, choice = run.spec, network.choice
    return (spec.model, spec.data, spec.weights) == (choice.model, choice.data, choice.weights)


def network_of(run: Run) -> str:
    """Return what a person calls the network that a run started from."""
    return Choice(run.spec.model, run.spec.data, run.spec.weights).label


def select_run(name: str) -> None:
    """Show this run from the next run of the page on."""
    st.query_params[RUN] = name


def is_live(run: Run | Sweep) -> bool:
    """Tell whether a worker is, or is about to be, at work on the run or sweep."""
    return run.state in ("queued", "running")


def has_ended(run: Run | Sweep) -> bool:
    """Tell whether the run or sweep ended without a result, so that it can be continued."""
    return run.state in ("paused", "stopped", "failed", "interrupted")


def message_of(run: Run | Sweep) -> str:
    """Return what the worker of a run or sweep said last, as a visitor may read it."""
    return public(run.message)


def progress_of(run: Run) -> tuple[float, str]:
    """Return how far a live run is, from 0 to 1, and in words."""
    step, steps = int(run.status.get("step", 0)), int(run.status.get("steps", 0))
    stepping = run.state == "running" and run.status.get("message") == TRAINING
    if not stepping or not steps:  # a run that waits to continue shows what it had done
        share = min(1.0, step / steps) if steps else 0.0
        return share, f"{run.state.capitalize()}: {message_of(run) or 'the worker is starting'}"
    epochs, left = run.spec.training.epochs, run.status.get("eta_seconds")
    estimate = f", about {duration(float(left))} left" if left is not None else ""
    return min(1.0, step / steps), f"Epoch {epochs * step / steps:.1f} of {epochs}{estimate}"


def pace_of(run: Run) -> str:
    """Return how many images a live run trains on per second, in words; empty until it is known."""
    left, step = run.status.get("eta_seconds"), int(run.status.get("step", 0))
    steps = int(run.status.get("steps", 0)) - step
    if run.state != "running" or not left or steps <= 0:
        return ""
    return f" · {steps * run.spec.training.batch_size / float(left):,.0f} images/s"


def session_runs() -> set[str]:
    """Return the names of the runs that this session started."""
    found: set[str] = st.session_state.setdefault("session_runs", set())
    return found


def is_own(run: Run | Sweep) -> bool:
    """Tell whether this session started a run or sweep; in a class, a visitor's own are all that are seen."""
    return in_class() or run.id in session_runs()


def training_points(run: Run) -> pd.DataFrame:
    """Return the training events: epoch, loss and its parts, strength and deviation; no value where there was none."""
    return _events(run, "train", ["epoch", "loss", "ce", "kd", "matching", "attention", "strength", "deviation"])


def evaluations(run: Run) -> pd.DataFrame:
    """Return the evaluation events, columns epoch and val_accuracy."""
    return _events(run, "evaluation", ["epoch", "val_accuracy"])


def _events(run: Run, kind: str, columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame([event for event in run.events if event.get("kind") == kind], columns=columns)


def training_share(run: Run, runs: dict[str, Run]) -> str:
    """Return the sentence that says how much of a finished run's accuracy training alone gives."""
    if run.spec.method == WHOLE:
        return " Nothing was pruned: any change from before is training's."
    if reference := find_reference(run, runs.values()):
        assert reference.results is not None
        whole = percent(reference.results.result.test_accuracy)
        return f" The original network, trained as long and not pruned: {whole}."
    if run.results and run.results.result.test_accuracy > run.results.before.test_accuracy:
        return " The rise is training's; a run of the method *whole* shows what training alone gives."
    return ""
