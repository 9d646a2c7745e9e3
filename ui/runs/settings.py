"""The settings of a run as controls, with defaults for the data, and an estimate of the time it takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import mean
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pdc_core.baselines import METHOD_HELP
from pdc_core.costs import latency
from pdc_core.models.published import FILES
from pdc_core.registry import explained
from pdc_core.runs import Run
from pdc_core.train import SCHEDULES, Training
from pdc_core.train.timing import free_share
from ui.choice import lecture
from ui.network import Network

# A step is the teacher's forward pass and the student's forward and backward passes, a backward one costing about two.
_PASSES = 4
_KEEP: dict[str, Any] = {"persist_state": "session"}
METHODS = METHOD_HELP


BUDGETS = {"No limit": None, "30 s": 30.0, "2 min": 120.0, "10 min": 600.0, "1 h": 3600.0}


@dataclass(frozen=True)
class Chosen:
    """What a visitor chose for a run: its settings, seed, method and teacher (None: the network itself)."""

    training: Training
    seed: int
    method: str
    teacher: str | None


def training_settings(defaults: Training, teachers: list[str]) -> Chosen:
    """Draw the controls and return their values; `teachers` are offered, others can be typed."""
    row = st.columns([2, 2, 2, 3], gap="medium", vertical_alignment="bottom")
    chosen: dict[str, Any] = {
        "epochs": row[0].number_input("Epochs", 1, 1000, defaults.epochs, key="epochs", **_KEEP),
        "lr": row[1].number_input("Learning rate", 1e-4, 1.0, defaults.lr, format="%.4f", key="lr", **_KEEP),
    }
    method, teacher = "pdc", None
    seed = row[2].number_input("Seed", 0, 2**31 - 1, 0, key="seed", **_KEEP)
    if not lecture():
        with row[3].popover("More settings", width="stretch"):
            method = st.selectbox(
                "Method", list(METHODS), format_func=METHODS.__getitem__, key="method",
                help="All others are baselines with the same plan, teacher, losses and epochs.", **_KEEP,
            )  # fmt: skip
            teacher = st.selectbox(
                "Teacher", teachers, None, key="teacher", placeholder="the network itself", accept_new_options=True,
                help="Another network for the same images and classes: NAME:WEIGHTS such as resnet56:published, a "
                "file, or a finished run. Block outputs are compared where their shapes agree.", **_KEEP,
            )  # fmt: skip
            chosen |= _more(defaults)
    return Chosen(defaults.model_copy(update=chosen), int(seed), method, teacher or None)


def time_budget(place: DeltaGenerator) -> float | None:
    """Draw the choice of a time budget and return its seconds, None for no limit."""
    name = place.selectbox(
        "Time", list(BUDGETS), key="budget",
        help="Within a budget, PDC times some steps when the run begins and chooses training images and epochs: most "
        "images first, at least 2 epochs.", **_KEEP,
    )  # fmt: skip
    return BUDGETS[name]


def offered_teachers(network: Network, runs: list[Run]) -> list[str]:
    """Return teachers to choose from: finished runs on the same data, and the published networks for CIFAR-10."""
    found = [run.id for run in runs if run.spec.data == network.data_name and run.results is not None]
    return [*(f"{name}:published" for name in FILES if network.data_name == "cifar10"), *found]


def _more(defaults: Training) -> dict[str, Any]:
    schedules: list[str] = [*SCHEDULES]
    return {
        "batch_size": st.number_input("Batch size [images]", 2, 4096, defaults.batch_size, key="batch", **_KEEP),
        "temperature": st.number_input(
            "Temperature T", 0.1, 100.0, defaults.temperature, key="temperature",
            help="Softens the predictions of teacher and student.", **_KEEP,
        ),
        "alpha": st.slider(
            "Teacher weight α", 0.0, 1.0, defaults.alpha, key="alpha",
            help="0: learn from the labels only. 1: learn from the teacher only.", **_KEEP,
        ),
        "schedule": st.selectbox(
            "Schedule", schedules, schedules.index(defaults.schedule), key="schedule",
            help=f"{explained(SCHEDULES)}.", **_KEEP,
        ),
        "tied_after": st.slider(
            "Tied after [share of the run]", 0.05, 1.0, defaults.tied_after, 0.05, key="tied_after",
            **_KEEP,
        ),
        "fold_when_tied": st.toggle(
            "Fold as soon as filters are tied", defaults.fold_when_tied, key="fold_when_tied",
            help="The rest of the run trains the small network, which is faster.", **_KEEP,
        ),
    }  # fmt: skip


def estimate(network: Network, chosen: Chosen, runs: list[Run]) -> float:
    """Estimate the seconds a run takes on a free machine: from the fastest similar run, else from one step."""
    training = chosen.training
    known = [mean(s) for run in runs if _similar(run, network, chosen) and (s := _seconds_of_epochs(run))]
    if known:
        return training.epochs * min(known)
    steps = max(1, len(network.data.train) // training.batch_size)
    return training.epochs * steps * _PASSES * _forward(network, network.digest, training.batch_size)


def _similar(run: Run, network: Network, chosen: Chosen) -> bool:
    spec = run.spec
    return (spec.model, spec.data, spec.images, spec.teacher, spec.training.batch_size, spec.kind, spec.method) == (
        network.model, network.data_name, None, chosen.teacher, chosen.training.batch_size, "distil", chosen.method
    )  # fmt: skip


def _seconds_of_epochs(run: Run) -> list[float]:
    return [float(e["seconds"]) for e in run.events if e.get("kind") == "evaluation" and "seconds" in e][-3:]


@st.cache_data(show_spinner="Timing one step", max_entries=64)
def _forward(_network: Network, digest: str, batch: int) -> float:
    began, worked = time.perf_counter(), time.thread_time()
    seconds = latency(_network.module, _network.example, (batch,), repeats=3)[batch]
    return seconds * free_share(time.perf_counter() - began, time.thread_time() - worked)
