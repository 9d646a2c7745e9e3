"""Distil: what does training do? Start a run in a process of its own, watch it, stop it, continue it.

Runs live in folders, so a reload or a new tab finds the one that is training.
"""

from __future__ import annotations

import streamlit as st

from pdc_core.baselines import WHOLE
from pdc_core.costs import plan_cost
from pdc_core.errors import PDCError
from pdc_core.plan import check_mergeable
from pdc_core.runs import Run, RunSpec, Sweep, list_runs, list_sweeps, run_name
from pdc_core.train import Training, chance_level
from pdc_core.train.settings import LONG
from pdc_core.train.timing import overfull
from ui.choice import lecture
from ui.class_queue import ahead_text, own_place
from ui.classroom import in_class, own_root
from ui.drawing import cut, percent, short
from ui.job_view import draw_job
from ui.network import network_cost, validation_accuracy
from ui.page import begin, current_plan
from ui.runs.launching import start_run
from ui.runs.naming import draw_naming
from ui.runs.progress import cannot_train, choose_run, duration, is_live, is_of, select_run
from ui.runs.settings import Chosen, estimate, offered_teachers, time_budget, training_settings
from ui.runs.sweep import draw_sweeps
from ui.runs.watch import draw_outcome, draw_run

network = begin(
    "Distil",
    "What does training do? Clusters of filters are pulled together while the original network teaches.",
)
every, sweeps = list_runs(own_root()), list_sweeps(own_root())
runs = {run.id: run for run in every if run.spec.kind == "distil"}
live = [] if in_class() else [each for each in (*every, *sweeps) if is_live(each)]
earlier = [*runs.values(), *(run for sweep in sweeps for run in sweep.runs)]


def may_teach() -> bool:
    """Return whether the network may be the teacher: one that hardly beats guessing only where the visitor says so."""
    guessing, least = chance_level(network.data.val.labels) if len(network.data.val) else (0.0, 0.0)
    if chosen.teacher is not None or teacher is None or teacher > least:
        return True  # another teacher is measured when the run begins
    st.warning(
        f"This network has {percent(teacher)} on the validation images; guessing gives {percent(guessing)}. A run that "
        "learns from it shows how clusters form, but gives no useful network. Train it first, on the page Model."
    )
    st.page_link("pages/model.py", label="Train it", icon=":material/school:")
    return st.toggle("Learn from it all the same", key="allow_weak_teacher")


def described(chosen: Chosen, budget: float | None, weak: bool) -> RunSpec:
    """Return the run that the settings on this page describe."""
    return RunSpec(
        method=chosen.method,
        model=network.model,
        data=network.data_name,
        weights=network.choice.weights,
        plan=plan,
        teacher=chosen.teacher,
        budget=budget,
        training=chosen.training,
        seed=chosen.seed,
        allow_weak_teacher=weak,
    )


def start(spec: RunSpec, seconds: float) -> None:
    """Start a run of the plan, if it merges anything, and show it."""
    try:
        if chosen.method != WHOLE:
            check_mergeable(plan, network.graph)
    except PDCError as error:
        st.error(str(error))
        return
    folder = start_run(spec, seconds)
    if folder is not None:
        select_run(folder.name)
        st.rerun()


def called(each: Run | Sweep) -> str:
    """Return what a person calls a run or a sweep."""
    return run_name(each) if isinstance(each, Run) else each.id


plan, teacher, together, allowed = current_plan(), None, None, False
if reason := cannot_train(network):
    st.info(reason)
else:
    measured = validation_accuracy(network)
    teacher = measured.known.accuracy if measured.known else None
    before, after = network_cost(network), plan_cost(network.graph, plan)
    with st.container(border=True):
        st.markdown(
            f"Your plan keeps **{sum(plan.counts.values()):,} of {sum(plan.sizes.values()):,} filters** and "
            f"**{short(after.macs)} of {short(before.macs)} MACs** ({cut(before.macs, after.macs)})."
        )
        defaults = Training.for_data(network.data_name).for_images(len(network.data.train))
        finished = [run for run in every if run.results is not None]
        row = st.columns([2, 2, 2, 3], gap="medium", vertical_alignment="bottom")
        chosen = training_settings(row, defaults, offered_teachers(network, finished), len(network.data.train))
        if chosen.method == WHOLE:
            st.caption("Nothing is pruned with this method: it keeps every filter, whatever the plan says.")
        with st.container():  # always there, so that what follows keeps its place when the job is done
            if measured.known is None:
                draw_job(
                    measured, f"Classifying {len(network.data.val):,} validation images", lambda _: None, "validation"
                )
        allowed = may_teach()
        if lecture():  # one row, so that the run is seen without scrolling
            text, limit, button = st.container(), *row[2:]
        else:
            text, limit, button = st.columns([5, 2, 2], gap="medium", vertical_alignment="bottom")
        budget = time_budget(limit, network)
        weak = bool(st.session_state.get("allow_weak_teacher"))
        spec, together = described(chosen, budget, weak), described(chosen, None, weak)  # a budget is for one run
        wait = f", after {len(live)} other run{'s' if len(live) > 1 else ''}" if live else ahead_text()
        seconds = estimate(network, chosen, earlier, after.macs / before.macs) if budget is None else budget
        if budget is None:
            said = f"Takes about {duration(seconds)} on this machine{wait}."
        else:
            said = f"Takes about {duration(budget)}{wait}: images and epochs are chosen when it begins."
        busy = " Other work fills the machine now, so it takes longer." if overfull() and not wait else ""
        own = own_place()
        text.caption(f"Your run is {own.state}; each visitor has one in the queue." if own else said + busy)
        label, ready = "Queue" if wait else "Start", allowed and own is None
        if button.button(label, type="primary", width="stretch", disabled=not ready, key="start_run"):
            start(spec, seconds)
if len(live) > 1:
    st.caption(
        "Queue: " + ", ".join(f"{called(each)} ({each.state})" for each in sorted(live, key=lambda each: each.id))
    )
draw_sweeps(network, together, allowed, earlier, sweeps, len(live))

if not runs:
    st.info("No run yet. Start one: the filters of each cluster become one, and the network is smaller.")
    st.stop()

choice, naming = st.columns([1, 1], vertical_alignment="bottom")
shown = choose_run(runs, network, choice)
draw_naming(shown, naming)
draw_outcome(shown, runs)
draw_run(shown, teacher if is_of(shown, network) and shown.spec.teacher is None else None)

with st.expander("Loss and schedule"):
    st.latex(
        r"(1-\alpha)\,\mathrm{CE}(z_s, y) + \alpha\,T^2\,\mathrm{KL}"
        r"\big(\mathrm{softmax}(z_t/T)\,\|\,\mathrm{softmax}(z_s/T)\big)"
        r" + w\,\mathrm{mean}_b\,\|f_s^b - f_t^b\|^2 / \|f_t^b\|^2"
    )
    st.markdown(
        "$z_s$ and $z_t$ are the logits of student and teacher, $f_s^b$ and $f_t^b$ the outputs of their residual "
        "block $b$. By default, filters are merged a few at a time over the first 0.3 of the run; in a run of less "
        f"than {LONG} steps, on data other than digits, all at once before the first step. In each cluster, the "
        "filters that least squares replaces best take over the weights of one that stays, and the layers that read "
        "them are refitted (our choice). With the schedule *progressive*, every filter moves towards the centroid of "
        "its cluster after each step, $t \\leftarrow (1-s)\\,t + s\\,P t$, with a strength $s$ that grows cubically. "
        "At the end the filters of a cluster are identical, so folding changes nothing."
    )
