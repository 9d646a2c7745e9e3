"""The settings of a run as controls, with defaults for the data, and an estimate of the time it takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import mean
from typing import Any

import streamlit as st
import torch
from streamlit.delta_generator import DeltaGenerator

from pdc_core.baselines import METHOD_HELP
from pdc_core.costs import latency
from pdc_core.models.published import FILES
from pdc_core.registry import explained
from pdc_core.runs import Run
from pdc_core.train import SCHEDULES, Training
from pdc_core.train.batches import steps_per_epoch
from pdc_core.train.budget import LEAST_EPOCHS
from pdc_core.train.settings import LONG, lr_for
from pdc_core.train.timing import Clock
from ui.choice import lecture
from ui.classroom import in_class
from ui.network import QUICK_MACS, Network, data_stamp, network_cost

_TEACHING_PASSES = 3  # of a step: forward, and backward, which costs about two
_REPORTED = 3  # networks that are measured on the test images: before, reconstructed, folded
_TIMED_IMAGES = 16  # of files, to tell how long reading them takes
# What was chosen lasts for the session; where the key holds the default, among networks that have the same one.
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


def training_settings(row: list[DeltaGenerator], defaults: Training, teachers: list[str], images: int) -> Chosen:
    """Draw the controls into a row of four and return their values; `teachers` are offered, others can be typed.

    `images` is the number of training images. Where the learning rate follows the length of the run, that of the chosen
    epochs is shown, and unless it is changed it goes on following. In a lecture, the last two places stay free.
    """
    chosen: dict[str, Any] = {
        "epochs": row[0].number_input(
            "Epochs",
            1,
            1000,
            defaults.epochs,
            key="epochs",
            disabled=_chosen_budget() is not None,
            help="Set by the time, if that is limited.",
            **_KEEP,
        )
    }
    seed, method, teacher = 0, "pdc", None
    if not lecture():
        seed = row[2].number_input("Seed", 0, 2**31 - 1, 0, key="seed", **_KEEP)
        with row[3].popover("More settings", width="stretch"):
            method = st.selectbox(
                "Method", list(METHODS), format_func=METHODS.__getitem__, key="method",
                help="All others are baselines with the same plan, teacher, losses and epochs.", **_KEEP,
            )  # fmt: skip
            teacher = st.selectbox(
                "Teacher", teachers, None, key="teacher", placeholder="the network itself",
                accept_new_options=not in_class(),
                help="Another network for the same images and classes: NAME:WEIGHTS such as resnet56:published, a "
                "file, or a finished run. Block outputs are compared where their shapes agree.", **_KEEP,
            )  # fmt: skip
            chosen |= _more(defaults)
    batch = chosen.get("batch_size", defaults.batch_size)
    usual = defaults.highest_lr(chosen["epochs"] * steps_per_epoch(images, batch))
    following = (
        f"Follows the length of the run until it is changed: {lr_for(0):g}, from {LONG} steps on {lr_for(LONG):g}."
    )
    lr = row[1].number_input(
        "Learning rate", 1e-4, 1.0, usual, format="%.4f", key=f"lr_{usual:g}",
        help=following if defaults.lr is None else None, **_KEEP,
    )  # fmt: skip
    chosen["lr"] = None if defaults.lr is None and lr == usual else lr
    return Chosen(defaults.model_copy(update=chosen), int(seed), method, teacher or None)


def _chosen_budget() -> float | None:
    """Return the seconds of the time budget that was chosen last, before its control is drawn."""
    return BUDGETS.get(st.session_state.get("budget", ""))


def time_budget(place: DeltaGenerator, network: Network) -> float | None:
    """Draw the choice of a time budget and return its seconds, None for no limit.

    Where measuring alone takes longer than a budget, it is not offered.
    """
    shortest = _measuring(network)
    offered = [name for name, seconds in BUDGETS.items() if seconds is None or seconds > shortest]
    if st.session_state.get("budget") not in (None, *offered):  # chosen for a smaller network
        del st.session_state["budget"]
    name = place.selectbox(
        "Time", offered, key="budget",
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
        "batch_size": st.number_input(
            "Batch size [images]", 2, 4096, defaults.batch_size, key=f"batch_{defaults.batch_size}", **_KEEP
        ),
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
            "Fold as soon as filters are tied", defaults.fold_when_tied, key=f"fold_{defaults.fold_when_tied}",
            help="The rest of the run trains the small network, which is faster.", **_KEEP,
        ),
    }  # fmt: skip


def estimate(network: Network, chosen: Chosen, runs: list[Run], kept: float) -> float:
    """Estimate the seconds a run takes on a free machine: from the fastest similar run, else from one step.

    `kept` is the share of the MACs that the folded network has, 0 to 1.
    """
    training = chosen.training
    known = [mean(s) for run in runs if _similar(run, network, chosen) and (s := _seconds_of_epochs(run))]
    if known:
        return training.epochs * min(known)
    steps = steps_of(network, training)
    wide = training.for_steps(steps).wide_share
    passes = 1 + _TEACHING_PASSES * (wide + (1 - wide) * kept)
    return steps * passes * _forward(network, network.digest, training.batch_size)


def steps_of(network: Network, training: Training) -> int:
    """Return the steps of a run on all training images."""
    return training.epochs * steps_per_epoch(len(network.data.train), training.batch_size)


def estimate_teaching(network: Network, training: Training, runs: list[Run]) -> float:
    """Estimate the seconds that `teach` takes: from an earlier run like it, else from a few timed images.

    Raises
    ------
    PDCError
        An image cannot be read.
    """
    alike = (network.model, network.data_name, None, training.batch_size, "teach")
    known = [
        seconds
        for run in runs
        if (run.spec.model, run.spec.data, run.spec.images, run.spec.training.batch_size, run.spec.kind) == alike
        for seconds in _seconds_of_epochs(run)
    ]
    if known:
        return training.epochs * sum(known) / len(known)
    n, held = len(network.data.train), len(network.data.val)
    forward = _forward_of_image(network, network.digest)
    reading = _reading_of_image(network, network.data_name, str(data_stamp(network.data_name)))
    return training.epochs * (n * (_TEACHING_PASSES * forward + reading) + held * (forward + reading))


def _similar(run: Run, network: Network, chosen: Chosen) -> bool:
    spec, ours, theirs = run.spec, chosen.training, run.spec.training
    return (
        (spec.model, spec.data, spec.images, spec.teacher, spec.kind, spec.method)
        == (network.model, network.data_name, None, chosen.teacher, "distil", chosen.method)
        and (theirs.batch_size, theirs.fold_when_tied) == (ours.batch_size, ours.fold_when_tied)
    )  # fmt: skip


def _seconds_of_epochs(run: Run) -> list[float]:
    return [float(e["seconds"]) for e in run.events if e.get("kind") == "evaluation" and "seconds" in e][-3:]


def _measuring(network: Network) -> float:
    """Return the seconds that measuring takes in the shortest run: two epochs, and three networks at the end."""
    measured = LEAST_EPOCHS * len(network.data.val) + _REPORTED * len(network.data.test)
    return measured * _forward_of_image(network, network.digest)


@st.cache_data(show_spinner="Timing one step", max_entries=64)
def _forward(_network: Network, digest: str, batch: int) -> float:
    return _timed(_network, batch)


@st.cache_data(show_spinner="Timing one step", max_entries=64)
def _forward_of_image(_network: Network, digest: str) -> float:
    """Return the seconds of a forward pass per image, of a batch that is not too much work for a page."""
    batch = max(1, min(64, QUICK_MACS // max(1, network_cost(_network).macs)))
    return _timed(_network, batch) / batch


@st.cache_data(show_spinner="Timing the reading of images", max_entries=64)
def _reading_of_image(_network: Network, name: str, stamp: str) -> float:
    """Return the seconds to read one training image; nearly none where images are in memory."""
    train = _network.data.train
    spread = torch.linspace(0, len(train) - 1, min(_TIMED_IMAGES, len(train))).long()
    began = time.perf_counter()
    count = len(train.images[spread])
    return (time.perf_counter() - began) / count


def _timed(network: Network, batch: int) -> float:
    """Return the seconds of a forward pass, without what other work on the machine adds."""
    with Clock() as clock:
        seconds = latency(network.module, network.example, (batch,), repeats=3)[batch]
    return seconds * clock.share
