"""Model: what is it made of? Its accuracy, its predictions on test images, and the cost of each layer."""

from __future__ import annotations

import pandas as pd
import streamlit as st
import torch

from pdc_core import charts
from ui.choice import lecture
from ui.drawing import figure, gallery, percent, short
from ui.job_view import draw_job
from ui.jobs import prepare_clustering
from ui.model.inputs import draw_inputs
from ui.model.picker import draw_model_picker
from ui.network import Predictions, network_cost, predictions
from ui.page import begin
from ui.runs.teaching import draw_training, untrained

SAMPLES = 11

network = begin("Model", "What is the network made of, and which layers cost most?")
measured = predictions(network) if untrained(network) is None else None
accuracy = measured.known.accuracy if measured is not None and measured.known else None
spent = network_cost(network)
test, classes, groups = network.data.test, network.data.classes, network.graph.clusterable


def accuracy_help() -> str:
    """Return what the accuracy was measured on, or why there is none."""
    if not network.has_images:
        return "There are no images to test on."
    return f"On {len(test):,} images not used for training." if measured else "Measured once the network is trained."


facts = st.columns(4)
facts[0].metric(
    "Test accuracy",
    percent(accuracy) if network.has_images and accuracy is not None else "–",
    help=accuracy_help(),
    border=True,
)
facts[1].metric(
    "MACs",
    short(spent.macs),
    help=f"{spent.macs:,} multiply-accumulates in convolution and linear layers.",
    border=True,
)
facts[2].metric("Parameters", short(spent.params), help=f"{spent.params:,} in total.", border=True)
facts[3].metric(
    "Filters to cluster",
    f"{sum(group.size for group in groups):,}",
    help=f"In {len(groups)} channel groups; residual treatment: {network.graph.residual}.",
    border=True,
)
if not lecture():
    draw_model_picker()
offered = draw_training(network, accuracy)
draw_inputs(network, measured.known if measured is not None and not offered else None)


def show(indices: list[int], found: Predictions) -> None:
    """Show test images, each with its predicted class, and with its true class where that is another."""
    predicted = [classes[int(found.classes[i])] for i in indices]
    truths = [classes[int(test.labels[i])] for i in indices]
    captions = [p if p == t else f"{p} (true: {t})" for p, t in zip(predicted, truths, strict=True)]
    gallery(test.images[torch.tensor(indices)].numpy(), captions)


def spread(indices: list[int]) -> list[int]:
    """Return a few of many, of all classes also where images come class by class."""
    return [indices[i * len(indices) // SAMPLES] for i in range(SAMPLES)] if len(indices) > SAMPLES else indices


def samples(found: Predictions) -> None:
    """Show test images, correctly and wrongly classified ones."""
    wrong = found.wrong.tolist()
    mistakes = set(wrong)
    right = [i for i in range(len(test)) if i not in mistakes]
    st.markdown("**Test images and their predicted classes**")
    show(spread(right), found)
    if not wrong:
        st.markdown(f"All {len(test):,} test images are classified correctly.")
        return
    some = "" if len(wrong) <= SAMPLES else f", {SAMPLES} shown"
    st.markdown(f"**Misclassified: {len(wrong):,} of {len(test):,}**{some}")
    show(spread(wrong), found)


if measured is not None and network.has_images:
    draw_job(measured, f"Classifying {len(test):,} test images", samples, "predictions")

st.subheader("Layers")
unit = st.segmented_control(
    "Cost", ["MACs", "Parameters"], default="MACs", required=True, key="cost", persist_state="session"
)
chart, table = st.columns([4, 5], gap="medium")
layers = pd.DataFrame(
    [
        {
            "name": layer.name,
            "width": f"{layer.in_channels} → {layer.out_channels}",
            "kernel": "×".join(map(str, layer.kernel)) if layer.kind == "conv" else layer.kind,
            "output": "×".join(map(str, layer.output[1:])),
            "MACs": layer.macs,
            "Parameters": layer.params,
        }
        for layer in spent.layers
    ]
)
with chart:
    bars = layers[["name", unit]].set_axis(["name", "value"], axis=1)
    figure(
        charts.layer_bars(bars, unit, "for one image" if unit == "MACs" else "[weights and biases]"),
        key="layers",
    )
table.dataframe(
    layers,
    hide_index=True,
    height=charts.rows_height(len(layers)),
    column_order=["name", "width", "kernel", "output", unit] if lecture() else None,
    column_config={
        "name": st.column_config.TextColumn("layer", width=None if lecture() else 128),
        "width": st.column_config.TextColumn("channels", width=82, help="Input channels → filters."),
        "kernel": st.column_config.TextColumn("kernel", width=58),
        "output": st.column_config.TextColumn("output", width=76, help="Height × width of the output, in pixels."),
        "MACs": st.column_config.NumberColumn(format="localized", width=None if lecture() else 100),
        "Parameters": st.column_config.NumberColumn("parameters", format="localized", width=94),
    },
)
with st.expander("How MACs are counted"):
    st.markdown(
        "A convolution with $n$ filters of $c \\times k_h \\times k_w$ weights computes one dot product per filter and "
        "output pixel:"
    )
    st.latex(r"\text{MACs} = n \cdot c \cdot k_h \cdot k_w \cdot h_\text{out} \cdot w_\text{out}")
    st.markdown("Removing a filter saves its own products and one input channel of every layer that reads it.")
prepare_clustering()
if measured is not None and accuracy is None and measured.known:  # it ended while the page was drawn
    st.rerun()
