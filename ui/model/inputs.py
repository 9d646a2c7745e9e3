"""The input of a network: image size, classes, normalisation, and warnings where they do not fit its weights."""

from __future__ import annotations

import streamlit as st

from pdc_core.models import model_info
from ui.model.picker import draw_fit
from ui.network import Network, Predictions
from ui.origin import near_chance


def draw_inputs(network: Network, found: Predictions | None) -> None:
    """Show how images enter the network; warn where its weights were trained on others, or hardly beat guessing."""
    data = network.data
    with st.expander("Input"):
        c, h, w = data.shape
        st.markdown(
            f"Images of **{h}×{w} pixels** with {c} channel{'s' if c > 1 else ''}, in **{len(data.classes)} classes**: "
            f"{len(data.train):,} for training, {len(data.val):,} for validation, {len(data.test):,} for testing. "
            f"Channels are normalised as (value / 255 − mean) / std, with mean {_numbers(data.mean)} and "
            f"std {_numbers(data.std)}."
        )
        draw_fit(network.choice)
    for sentence in fit_warnings(network, found):
        st.warning(sentence)


def fit_warnings(network: Network, found: Predictions | None) -> list[str]:
    """Return in sentences what does not fit between a network and its data, as far as it can be told."""
    warnings, data, info = [], network.data, model_info(network.module)
    if info is not None and (info.mean, info.std) != (data.mean, data.std):
        warnings.append(
            f"The weights were trained on {info.data} with mean {_numbers(info.mean)} and std {_numbers(info.std)}; "
            f"these images are normalised with mean {_numbers(data.mean)} and std {_numbers(data.std)}."
        )
    if info is not None and len(info.classes) != len(data.classes):
        warnings.append(f"The weights are for {len(info.classes)} classes, but the data has {len(data.classes)}.")
    if found is not None and (sentence := near_chance(network, found.accuracy)):
        warnings.append(sentence)
    return warnings if network.has_images else []


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
