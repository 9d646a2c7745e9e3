"""Distil: what does training do? Start a run in a process of its own, watch it, stop it, go on with it.

Runs live in folders, so a reload or a new tab finds the one that is alive.
"""

from __future__ import annotations

import streamlit as st

from pdc_core.costs import plan_cost
from pdc_core.errors import PDCError
from pdc_core.runs import RunSpec, create_run, launch, list_runs
from pdc_core.train import Training
from ui.drawing import cut, percent, short
from ui.network import network_cost, validation_accuracy
from ui.page import begin, current_plan
from ui.runs.progress import RUN, cannot_train, choose_run, duration, has_ended, is_live, select_run, session_runs
from ui.runs.settings import METHODS, estimate, training_settings
from ui.runs.watch import resume_run, watch, whose

network = begin(
    "Distil",
    "What does training do? The network learns from its former self while its clusters are pulled together.",
)
runs = {run.id: run for run in list_runs() if run.spec.kind == "distil"}
live = [run for run in runs.values() if is_live(run)]


def start(training: Training, seed: int, method: str) -> None:
    """Write a run folder and launch its worker, which waits its turn while another run is at work."""
    spec = RunSpec(
        method=method,  # type: ignore[arg-type]  # one of those that can be chosen
        model=network.model,
        data=network.data_name,
        weights=network.choice.weights_argument,
        plan=plan,
        training=training,
        seed=seed,
    )
    try:
        folder = create_run(spec)
        launch(folder)
    except (PDCError, OSError) as error:
        st.error(str(error))
        return
    session_runs().add(folder.name)
    select_run(folder.name)
    st.rerun()


plan, teacher = current_plan(), None
if reason := cannot_train(network):
    st.info(reason)
else:
    measured = validation_accuracy(network).value
    teacher = measured.accuracy if measured else None
    before, after = network_cost(network, network.digest), plan_cost(network.graph, plan)
    with st.container(border=True):
        st.markdown(
            f"Your plan keeps **{sum(plan.counts.values())} of {sum(plan.sizes.values())} filters** and "
            f"**{short(after.macs)} of {short(before.macs)} MACs** ({cut(before.macs, after.macs)})."
        )
        training, seed, method = training_settings(Training.for_data(network.data_name))
        said, button = st.columns([5, 2], gap="medium", vertical_alignment="center")
        wait = f", after {len(live)} other{'s' if len(live) > 1 else ''}" if live else ""
        seconds = estimate(network, training, method, list(runs.values()))
        said.caption(f"Takes about {duration(seconds)} on this machine{wait}.")
        if button.button("Queue" if live else "Start", type="primary", width="stretch"):
            start(training, seed, method)

if not runs:
    st.info("No run yet. Start one: two epochs are enough to see clusters being pulled together.")
    st.stop()

if len(live) > 1:
    st.caption("Queue: " + ", ".join(f"{run.id} ({run.state})" for run in reversed(live)))
shown = runs[choose_run(list(runs), live[-1].id if live else next(iter(runs)), st.columns([3, 4])[0])]
how = "" if shown.spec.method == "pdc" else f"{METHODS[shown.spec.method]}: "
st.caption(f"{how}{shown.spec.model} on {shown.spec.data}, {shown.spec.training.epochs} epochs, {whose(shown)}.")
if shown.report:
    folded, base = shown.report["folded"], shown.report["before"]
    early = shown.report.get("ended_early")
    ended = f" It ended after step {early['step']:,} of {early['steps']:,}, as was asked." if early else ""
    st.success(
        f"Done: the folded network is right on **{percent(folded['test_accuracy'])}** of the test images "
        f"(before: {percent(base['test_accuracy'])}) with **{short(folded['macs'])} MACs** "
        f"({cut(base['macs'], folded['macs'])}).{ended}"
    )
    st.page_link("pages/compare.py", label="Compare it, and take it away", query_params={RUN: shown.id})
elif has_ended(shown):
    said, button = st.columns([6, 1], vertical_alignment="center")
    said.warning(f"This run is {shown.state}. {shown.status.get('message', '')}")
    if button.button("Continue", width="stretch"):
        resume_run(shown.folder)
same = (shown.spec.model, shown.spec.data) == (network.model, network.data_name)
watch(shown, teacher if same else None)

with st.expander("What is minimised, and when the clusters are tied"):
    st.latex(
        r"(1-\alpha)\,\mathrm{CE}(z_s, y) + \alpha\,T^2\,\mathrm{KL}"
        r"\big(\mathrm{softmax}(z_t/T)\,\|\,\mathrm{softmax}(z_s/T)\big)"
        r" + w\,\mathrm{mean}_b\,\|f_s^b - f_t^b\|^2 / \|f_t^b\|^2"
    )
    st.markdown(
        "$z_s$ and $z_t$ are the logits of student and teacher, $f_s^b$ and $f_t^b$ what their residual block $b$ puts "
        "out. By default filters are merged a few at a time: in every cluster those that least squares replaces best "
        "take over the weights of one that stays, and the layers that read them are solved anew (our choice). With the "
        "schedule *progressive*, every filter moves towards its cluster's centroid after each step, "
        "$t \\leftarrow (1-s)\\,t + s\\,P t$, with a strength $s$ that rises as a cube. In the end the filters of a "
        "cluster are identical, and folding changes nothing."
    )
