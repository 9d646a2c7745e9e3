"""Training a network that has no trained weights yet: when it is offered, its settings, the run, and its network.

A run of the kind "teach", started and watched on the page Model. When it ends, its network is opened.
"""

from __future__ import annotations

from typing import Any

import streamlit as st
import torch

from pdc_core.durations import duration
from pdc_core.errors import PDCError
from pdc_core.models import model_info
from pdc_core.models.load import RANDOM
from pdc_core.runs import Run, RunSpec, list_runs, run_name, run_names
from pdc_core.runs.teachers import RESULT
from pdc_core.train import Training
from ui.choice import choose, lecture
from ui.class_queue import ahead_text
from ui.classroom import in_class, name_of, own_root
from ui.drawing import gallery, percent
from ui.job_view import in_words
from ui.network import Network
from ui.origin import near_chance, run_behind
from ui.runs.launching import start_run
from ui.runs.progress import by_network, has_ended, is_live, is_of, message_of, session_runs
from ui.runs.settings import estimate_teaching
from ui.runs.watch import draw_curves, draw_run, resume_run, started_by

_OPENED = "opened_runs"
_EXAMPLES = 11
_KEEP: dict[str, Any] = {"persist_state": "session"}


def untrained(network: Network) -> str | None:
    """Return in a sentence why a network has to be trained before it is distilled, as far as its weights say it."""
    info = model_info(network.module)
    if network.choice.weights == RANDOM:
        return "This network has random weights: it has not learned anything yet."
    return info.note if info is not None and info.new_head else None


def draw_training(network: Network, accuracy: float | None) -> bool:
    """Draw «Train it» for a network that needs it, and how this one was trained if a run did it.

    Parameters
    ----------
    network : Network
        The open network.
    accuracy : float or None
        Its accuracy on the test images, 0 to 1, where it is known.

    Returns
    -------
    bool
        Whether training was offered.
    """
    if not network.has_images or network.folded:
        return False
    reason = untrained(network) or near_chance(network, accuracy)
    if (taught := _run_of(network)) is not None:
        _draw_taught(taught, enough=reason is None)
        reason = (
            reason and "Its training was not enough: train it on from here, or open its first weights and train longer."
        )
    if reason is None:
        return False
    every = list_runs(own_root())
    runs = by_network({run.id: run for run in every if run.spec.kind == "teach" and is_of(run, network)}, network)
    _open_when_done(runs)
    with st.container(border=True):
        live = next((run for run in runs.values() if is_live(run)), None)
        if live is None:
            st.markdown(f"**Train it.** {reason}")
            try:
                _draw_examples(network)
                _draw_start(network, every)
            except PDCError as error:  # an image that cannot be read
                st.error(in_words(error))
        shown = live or _chosen(runs)
        if shown is not None:
            _draw_shown(shown)
    return True


def _draw_examples(network: Network) -> None:
    """Show an image of each class that there is room for, so that a person sees what will be learned."""
    labels = network.data.train.labels
    firsts = [int((labels == label).nonzero()[0]) for label in labels.unique()[:_EXAMPLES]]
    images = network.data.train.images[torch.tensor(firsts)].numpy()
    gallery(images, [network.data.classes[int(labels[i])] for i in firsts])


def _draw_start(network: Network, every: list[Run]) -> None:
    """Draw the settings, the estimate and the button."""
    live = [] if in_class() else [run for run in every if is_live(run)]
    training, seed = _settings(network)
    text, button = st.columns([5, 2], gap="medium", vertical_alignment="center")
    wait = f", after {len(live)} other run{'s' if len(live) > 1 else ''}" if live else ahead_text()
    seconds = estimate_teaching(network, training, every)
    text.caption(f"Takes about {duration(seconds)} on this machine{wait}. The network is opened when it is trained.")
    if button.button("Queue" if wait else "Train it", type="primary", width="stretch", key="teach"):
        _start(network, training, seed, seconds)


def _settings(network: Network) -> tuple[Training, int]:
    """Draw the controls; their defaults depend on whether the weights are random and on the number of images."""
    start = RANDOM if network.choice.weights == RANDOM else "trained"
    defaults = Training.for_teaching(start).for_images(len(network.data.train))
    row = st.columns(4, gap="medium", vertical_alignment="bottom")
    chosen: dict[str, Any] = {
        "epochs": row[0].number_input("Epochs", 1, 10_000, defaults.epochs, key=f"teach_epochs_{start}", **_KEEP),
        "lr": row[1].number_input(
            "Learning rate", 1e-5, 1.0, defaults.lr, format="%.4f", key=f"teach_lr_{start}",
            help="The highest; it falls to 0 as a cosine. Trained weights need a lower one than random weights.",
            **_KEEP,
        ),
    }  # fmt: skip
    if not lecture():
        chosen["batch_size"] = row[2].number_input(
            "Batch size [images]", 2, 4096, defaults.batch_size, key=f"teach_batch_{defaults.batch_size}", **_KEEP
        )
    seed = row[3].number_input("Seed", 0, 2**31 - 1, 0, key="teach_seed", **_KEEP)
    return defaults.model_copy(update=chosen), int(seed)


def _start(network: Network, training: Training, seed: int, seconds: float) -> None:
    spec = RunSpec(
        kind="teach",
        model=network.model,
        data=network.data_name,
        weights=network.choice.weights,
        training=training,
        seed=seed,
    )
    if start_run(spec, seconds) is not None:
        st.rerun()


def _chosen(runs: dict[str, Run]) -> Run | None:
    """Return the run to show: the newest, or the one that is picked where there are several."""
    if len(runs) < 2:
        return next(iter(runs.values()), None)
    names = run_names(runs.values())
    chosen = st.selectbox(
        "Earlier trainings of this network", list(runs), format_func=names.__getitem__, key="teach_run"
    )
    return runs[chosen]


def _draw_shown(run: Run) -> None:
    """Draw a run under way, or what became of it."""
    epochs = run.spec.training.epochs
    st.caption(f"{run_name(run)}: {epochs} epoch{'s' if epochs > 1 else ''}, {started_by(run)}.")
    if not is_live(run):
        _draw_end(run)
    draw_run(run, None)


def _draw_end(run: Run) -> None:
    text, button = st.columns([5, 2], vertical_alignment="center")
    if run.results is not None:
        text.success(f"Trained: test accuracy **{percent(run.results.result.test_accuracy)}**.")
        button.button("Open its network", on_click=_open, args=(run,), width="stretch", key="open_taught")
    elif has_ended(run):
        text.warning(f"This training is {run.state}. {message_of(run)}")
        if button.button("Continue", width="stretch", key="teach_continue"):
            resume_run(run.folder)


def _open_when_done(runs: dict[str, Run]) -> None:
    """Open the network of a run of this session that has ended, once."""
    for run in runs.values():
        if run.results is not None and run.id in session_runs() - _opened():
            _open(run)
            st.rerun()


def _open(run: Run) -> None:
    _opened().add(run.id)
    choose(keep_plan=True, weights=name_of(run.folder / RESULT))


def _opened() -> set[str]:
    """Return the names of the runs whose networks this session has opened."""
    found: set[str] = st.session_state.setdefault(_OPENED, set())
    return found


def _run_of(network: Network) -> Run | None:
    """Return the finished run whose network is open, if a run trained it."""
    run = run_behind(network)
    return run if run is not None and run.spec.kind == "teach" else None


def _draw_taught(run: Run, enough: bool) -> None:
    """Say how the open network was trained, and what comes next if that was enough."""
    assert run.results is not None
    report, epochs = run.results, run.spec.training.epochs
    early = (
        f" Finished early, after step {report.ended_early.step:,} of {report.ended_early.steps:,}."
        if report.ended_early
        else ""
    )
    (st.success if enough else st.warning)(
        f"Trained by the run “{run_name(run)}”, {epochs} epoch{'s' if epochs > 1 else ''}: test accuracy "
        f"**{percent(report.result.test_accuracy)}** (before: {percent(report.before.test_accuracy)}).{early}"
    )
    if enough:
        with st.container(horizontal=True, gap="medium"):
            st.page_link("pages/plan.py", label="Plan what to keep", icon=":material/tune:")
            st.page_link("pages/distil.py", label="Distil", icon=":material/play_arrow:")
    with st.expander("How it was trained"):
        draw_curves(run, None)
