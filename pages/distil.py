"""Distil: what does training do? Start a run in a process of its own, watch it, stop it, go on with it.

Runs live in folders, so a reload or a new tab finds the one that is alive.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from pdc_core import charts
from pdc_core.cost import plan_cost
from pdc_core.errors import PDCError
from pdc_core.runs import RunSpec, create_run, launch, list_runs, read_run, request_stop
from pdc_core.train import Training
from ui.drawing import cut, figure, percent, short
from ui.network import network_cost, validation_accuracy
from ui.runs import cannot_train, evaluations, has_ended, is_live, progress_of, training_points
from ui.session import begin, current_plan

REFRESH_SECONDS = 0.7
WATCHED = "watched"

network = begin(
    "Distil",
    "What does training do? The network learns from its former self while its clusters are pulled together.",
)
if reason := cannot_train(network):
    st.info(reason)
    st.stop()
plan, defaults = current_plan(), Training.for_data(network.data_name)
measured = validation_accuracy(network).value if network.has_images else None
teacher = measured.accuracy if measured else None
before, after = network_cost(network, network.digest), plan_cost(network.graph, plan)
runs = {run.id: run for run in list_runs() if run.spec.kind == "distil"}
live = [run for run in runs.values() if is_live(run)]


def start(training: Training, seed: int) -> None:
    """Write a run folder and launch its worker, which waits its turn while another run is at work."""
    try:
        folder = create_run(
            RunSpec(
                model=network.model,
                data=network.data_name,
                weights=network.choice.weights_argument,
                plan=plan,
                training=training,
                seed=seed,
            )
        )
        launch(folder)
    except (PDCError, OSError) as error:
        st.error(str(error))
        return
    st.session_state[WATCHED] = folder.name
    st.rerun()


def go_on(folder: Path) -> None:
    """Launch a worker for a run that ended early; it starts from the last checkpoint."""
    launch(folder)
    st.rerun()


with st.form("settings", enter_to_submit=False):
    st.markdown(
        f"Your plan keeps **{sum(plan.counts.values())} of {sum(plan.sizes.values())} filters** and "
        f"**{short(after.macs)} of {short(before.macs)} MACs** ({cut(before.macs, after.macs)})."
    )
    row = st.columns([2, 2, 2, 3, 3], gap="medium", vertical_alignment="bottom")
    keep = {"persist_state": "session"}
    epochs = row[0].number_input("Epochs", 1, 1000, defaults.epochs, key="epochs", **keep)
    rate = row[1].number_input("Learning rate", 1e-4, 1.0, defaults.lr, format="%.4f", key="lr", **keep)
    seed = row[2].number_input("Seed", 0, 2**31 - 1, 0, key="seed", **keep)
    with row[3].popover("More settings", width="stretch"):
        batch = st.number_input("Batch size [images]", 2, 4096, defaults.batch_size, key="batch", **keep)
        temperature = st.number_input(
            "Temperature T",
            0.1,
            100.0,
            defaults.temperature,
            key="temperature",
            help="Softens the classes of teacher and student.",
            **keep,
        )
        alpha = st.slider(
            "Weight of the teacher α",
            0.0,
            1.0,
            defaults.alpha,
            key="alpha",
            help="0 learns from the labels alone, 1 from the teacher alone.",
            **keep,
        )
    if row[4].form_submit_button("Queue" if live else "Start", type="primary", width="stretch"):
        chosen = {
            "epochs": epochs,
            "lr": rate,
            "batch_size": batch,
            "temperature": temperature,
            "alpha": alpha,
        }
        start(defaults.model_copy(update=chosen), seed)

if not runs:
    st.info("No run yet. Start one: two epochs are enough to see clusters being pulled together.")
    st.stop()

names = list(runs)
if st.session_state.get(WATCHED) not in names:
    st.session_state[WATCHED] = live[-1].id if live else names[0]
shown = runs[names[0]] if len(names) == 1 else runs[st.selectbox("Run", names, key=WATCHED, width=420)]


@st.fragment(run_every=REFRESH_SECONDS if is_live(shown) else None)
def watch(folder: Path, was_live: bool) -> None:
    """Draw a run as its folder tells it; when it ends, run the page once more and stop looking."""
    run = read_run(folder)
    if was_live and not is_live(run):
        st.rerun()
    if was_live:
        bar, stop = st.columns([6, 1], vertical_alignment="bottom")
        share, text = progress_of(run)
        bar.progress(share, text=text)
        if stop.button("Stop", key="stop", width="stretch"):
            request_stop(folder)
            st.toast("The run stops after its current step.")
    points, length = training_points(run), run.spec.training.epochs
    loss, accuracy = st.columns(2, gap="medium")
    with loss:
        figure(charts.loss_curves(points, length), key="loss_curves")
    with accuracy:
        same = (run.spec.model, run.spec.data) == (network.model, network.data_name)
        figure(charts.accuracy_curve(evaluations(run), length, teacher if same else None), key="accuracy_curve")
    figure(charts.tying_curves(points, length), key="tying_curves")


if shown.report:
    folded, base = shown.report["folded"], shown.report["before"]
    st.success(
        f"Done: the folded network is right on **{percent(folded['test_accuracy'])}** of the test images "
        f"(before: {percent(base['test_accuracy'])}) with **{short(folded['macs'])} MACs** "
        f"({cut(base['macs'], folded['macs'])})."
    )
    st.page_link("pages/compare.py", label="Compare it, and take it away")
elif has_ended(shown):
    said, button = st.columns([6, 1], vertical_alignment="center")
    said.warning(f"This run is {shown.state}. {shown.status.get('message', '')}")
    if button.button("Continue", width="stretch"):
        go_on(shown.folder)
watch(shown.folder, is_live(shown))

with st.expander("What is minimised, and when the clusters are tied"):
    st.latex(
        r"(1-\alpha)\,\mathrm{CE}(z_s, y) + \alpha\,T^2\,\mathrm{KL}"
        r"\big(\mathrm{softmax}(z_t/T)\,\|\,\mathrm{softmax}(z_s/T)\big)"
    )
    st.markdown(
        "$z_s$ and $z_t$ are the logits of student and teacher. After each step every filter moves towards "
        "its cluster's centroid, $t \\leftarrow (1-s)\\,t + s\\,P t$, with a strength $s$ that rises as a "
        "cube from 0 to 1 over the first half of the run (our choice). At $s = 1$ the filters of a cluster "
        "are identical, and folding changes nothing."
    )
