"""Sweeps on the page Distil: many keep ratios, methods and seeds at once, started here and watched as they are done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from pdc_core import charts
from pdc_core.costs import plan_cost
from pdc_core.durations import duration
from pdc_core.errors import PDCError
from pdc_core.estimates import MEASURED
from pdc_core.plan import Plan
from pdc_core.runs import Run, RunSpec, Sweep, SweepSpec, points_of, read_sweep, request_pause, request_stop
from pdc_core.runs.sweeps import (
    SWEEP_RULES,
    SeedMean,
    parse_numbers,
    relative_seconds,
    seed_means,
    validated_sweep,
)
from ui.choice import lecture
from ui.classroom import in_class
from ui.drawing import figure, percent, short
from ui.network import Network, network_cost
from ui.runs.compare import COSTS
from ui.runs.launching import continue_run, start_sweep
from ui.runs.progress import has_ended, is_live, is_of, message_of, progress_of, session_runs
from ui.runs.settings import METHODS, Chosen, estimate, steps_of
from ui.runs.view import SWEEP

REFRESH_SECONDS = 1.5  # it reads every run of the sweep
DEFAULT_METHODS = ["pdc", "l1", "whole"]
_KEEP: dict[str, Any] = {"persist_state": "session"}


def draw_sweeps(
    network: Network, base: RunSpec | None, allowed: bool, earlier: list[Run], sweeps: list[Sweep], waiting: int
) -> None:
    """Draw what starts a sweep, and the one under way or chosen.

    Parameters
    ----------
    network : Network
        The open network.
    base : RunSpec or None
        What all runs of a new sweep would share; None where the network cannot be trained.
    allowed : bool
        Whether it may be the teacher.
    earlier : list of Run
        Earlier runs, from which the time is estimated.
    sweeps : list of Sweep
        All sweeps of the folder of runs, newest first.
    waiting : int
        Runs and sweeps that would be done before a new one.
    """
    shown = sorted(sweeps, key=lambda sweep: (not is_live(sweep), not _is_of(sweep, network)))
    mine = any(is_live(sweep) or sweep.id in session_runs() for sweep in sweeps)
    if in_class() or (base is None and not shown) or (lecture() and not shown):
        return
    with st.expander("Sweep: several keep ratios, methods and seeds, as one curve", expanded=mine):
        if base is not None:
            _draw_form(network, base, allowed, earlier, waiting)
        if shown:
            _draw_chosen(shown)


def _draw_form(network: Network, base: RunSpec, allowed: bool, runs: list[Run], waiting: int) -> None:
    """Draw the ratios, methods, seeds and the rule of a new sweep, its estimate and the button."""
    row = st.columns([4, 2, 3], gap="medium", vertical_alignment="bottom")
    keeps = row[0].text_input(
        "Keep ratios", "0.8, 0.6, 0.4, 0.2, 0.1", key="sweep_keeps", help="Each above 0 to 1, separated by commas.",
        **_KEEP,
    )  # fmt: skip
    seeds = row[1].text_input(
        "Seeds", "0, 1, 2", key="sweep_seeds", help="More than one shows how much results vary by chance.", **_KEEP
    )
    rule = row[2].selectbox(
        "Plans", list(SWEEP_RULES), format_func=lambda name: SWEEP_RULES[name].capitalize(), key="sweep_rule",
        help="How a keep ratio becomes a plan. Other rules than the same ratio in all layers save as many MACs as that "
        "does, and share them out differently.", **_KEEP,
    )  # fmt: skip
    methods = st.pills(
        "Methods", list(METHODS), selection_mode="multi", default=DEFAULT_METHODS, key="sweep_methods", wrap=True,
        format_func=lambda name: charts.method_look(name).plain, **_KEEP,
    )  # fmt: skip
    text, button = st.columns([5, 2], gap="medium", vertical_alignment="center")
    try:
        spec = _spec(base, keeps, methods, seeds, rule)
    except PDCError as error:
        text.error(str(error))
        spec = None
    if spec is not None:
        wait = f", after {waiting} other{'s' if waiting > 1 else ''}" if waiting else ""
        measures = ", and first the measurement of the sensitivity" if rule in MEASURED else ""
        count = len(spec.members)
        text.caption(
            f"{count} run{'s' if count > 1 else ''} with the settings above. Takes about "
            f"{duration(_seconds(network, spec, runs))} on this machine{wait}{measures}."
        )
    name = "Queue sweep" if waiting else "Start sweep"
    if button.button(name, width="stretch", disabled=spec is None or not allowed, key="start_sweep") and spec:
        _start(spec)


def _spec(base: RunSpec, keeps: str, methods: list[str], seeds: str, rule: str) -> SweepSpec:
    asked = {
        "base": base,
        "keeps": parse_numbers("Keep ratios", keeps, float),
        "methods": [name for name in METHODS if name in methods],
        "seeds": parse_numbers("Seeds", seeds, int),
        "rule": rule,
    }
    return validated_sweep(asked, "This sweep cannot be started")


def _seconds(network: Network, spec: SweepSpec, runs: list[Run]) -> float:
    """Estimate the seconds of all runs, from that of one at full width."""
    whole = network_cost(network).macs
    training = spec.base.training.for_steps(steps_of(network, spec.base.training))
    wide = training.model_copy(update={"fold_when_tied": False})
    left = {keep: plan_cost(network.graph, Plan.uniform(network.graph, keep)).macs / whole for keep in spec.keeps}
    shares = [relative_seconds(member, left.get(member.keep or 1.0, 1.0), training) for member in spec.members]
    return estimate(network, Chosen(wide, 0, "pdc", spec.base.teacher), runs, 1.0) * sum(shares)


def _start(spec: SweepSpec) -> None:
    folder = start_sweep(spec)
    if folder is not None:
        st.session_state["sweep_shown"] = folder.name
        st.rerun()


def _draw_chosen(sweeps: list[Sweep]) -> None:
    """Draw one sweep; where there are several, the choice of it."""
    known = {sweep.id: sweep for sweep in sweeps}
    if st.session_state.get("sweep_shown") not in known:
        st.session_state["sweep_shown"] = next(iter(known))
    name = next(iter(known))
    if len(known) > 1:
        name = st.selectbox(
            "Sweep", list(known), key="sweep_shown",
            format_func=lambda each: f"{known[each].spec.title} · {each}",
        )  # fmt: skip
    draw_sweep(known[name])


def draw_sweep(sweep: Sweep) -> None:
    """Draw a sweep; while its worker is alive redraw it regularly, and run the page once more when it ends."""
    live = is_live(sweep)

    @st.fragment(run_every=REFRESH_SECONDS if live else None)
    def look(folder: Path) -> None:
        now = read_sweep(folder)
        if live and not is_live(now):
            st.rerun()
        if live:
            _draw_progress(now)
        else:
            _draw_end(now)
        for name, reason in now.failures.items():
            st.warning(f"{name} failed: {reason}")
        _draw_curve(now)

    look(sweep.folder)


def _draw_progress(sweep: Sweep) -> None:
    """Draw how far a sweep is, and the buttons that end it early."""
    at = sweep.progress
    left = f", about {duration(at.eta_seconds)} left" if at.eta_seconds else ""
    waits = sweep.state == "queued"
    message = f"Queued: {message_of(sweep)}" if waits else f"{at.done} of {at.total} runs done{left}"
    st.progress(at.share, text=message)
    under_way = [run for run in sweep.runs if run.state == "running"]
    for run in under_way:
        st.caption(f"{run.folder.name}: {progress_of(run)[1]}")
    if not under_way and not waits and sweep.status.get("message"):
        st.caption(str(sweep.status["message"]).capitalize())
    with st.container(horizontal=True, gap="small"):
        for name, ask in (("Pause", request_pause), ("Stop", request_stop)):
            tip = f"{name}s the sweep after the current step. Continue goes on with it."
            if sweep.id in session_runs():
                pressed = st.button(f"{name} sweep", key=f"sweep_{name}", help=tip)
            else:
                with st.popover(f"{name} sweep", help=tip):
                    st.markdown(f"This sweep is not from this session: {_started_by(sweep)}.")
                    pressed = st.button(f"{name} it anyway", key=f"sweep_{name}")
            if pressed:
                ask(sweep.folder)
                st.toast(tip)


def _draw_end(sweep: Sweep) -> None:
    """Say how a sweep ended, and offer what comes next."""
    at = sweep.progress
    text, button = st.columns([5, 2], gap="medium", vertical_alignment="center")
    if has_ended(sweep):
        text.warning(f"This sweep is {sweep.state}, with {at.done} of {at.total} runs done. {message_of(sweep)}")
        pressed = button.button("Continue sweep", width="stretch", key="sweep_continue")
        if pressed and continue_run(sweep.folder, sweep=True):
            st.rerun(scope="app")
    else:
        text.success(f"Done: {at.total} run{'s' if at.total > 1 else ''}, {_started_by(sweep)}.")
    if at.done:
        button.page_link("pages/compare.py", label="Compare its runs", query_params={SWEEP: sweep.id})


def _draw_curve(sweep: Sweep) -> None:
    """Draw the runs that are finished: accuracy against MACs, and their means over seeds."""
    points, axis = points_of(sweep.runs), COSTS["MACs"]
    if not len(points):
        st.caption("The curve begins with the first run that is done.")
        return
    base = sweep.spec.base
    title = f"{base.model.replace('resnet', 'ResNet-')} on {base.data}: test accuracy against MACs"
    axes = charts.Axes(axis.name, axis.unit)
    figure(
        charts.accuracy_over_cost(charts.priced(points, axis.column, axis.scale), axes, title, front=False),
        key="sweep_curve",
    )
    means = seed_means(sweep)
    st.dataframe(
        pd.DataFrame(
            {
                "method": [charts.method_look(mean.method).plain for mean in means],
                "keep ratio": ["" if mean.keep is None else f"{mean.keep:g}" for mean in means],
                "test accuracy": [_mean_and_spread(mean) for mean in means],
                "MACs": [short(mean.macs) for mean in means],
                "MACs cut": [percent(mean.macs_cut) for mean in means],
                "runs": [f"{mean.runs} of {mean.of}" for mean in means],
            }
        ),
        hide_index=True,
        column_config={
            "test accuracy": st.column_config.TextColumn(help="Mean ± standard deviation over seeds."),
        },
    )


def _mean_and_spread(mean: SeedMean) -> str:
    spread = "" if mean.spread is None else f" ± {100 * mean.spread:.2f}"
    return f"{100 * mean.accuracy:.2f}{spread} %"


def _is_of(sweep: Sweep, network: Network) -> bool:
    return bool(sweep.runs) and is_of(sweep.runs[0], network)


def _started_by(sweep: Sweep) -> str:
    who = "by this session" if sweep.id in session_runs() else f"on {sweep.status.get('host', 'another machine')}"
    return f"started {who} at {(sweep.spec.created or 'an unknown time').replace('T', ' ').removesuffix('+00:00')} UTC"
