"""What a network is fed, and whether that fits it: sizes, classes, normalisation, and an accuracy that warns."""

from __future__ import annotations

import streamlit as st

from pdc_core.data import Data
from pdc_core.models import model_info
from ui.choice import RANDOM
from ui.model.picker import show_fit
from ui.network import Network, Predictions

NEAR_CHANCE = 2.0  # times the accuracy of guessing


def show_inputs(network: Network, said: Predictions | None) -> None:
    """Say how images reach the network; warn where its weights were made for other ones."""
    data = network.data
    with st.expander("What the network is fed"):
        c, h, w = data.shape
        st.markdown(
            f"Images of **{h}×{w} pixels**, {c} channel{'s' if c > 1 else ''}, in **{len(data.classes)} classes**: "
            f"{len(data.train):,} to train, {len(data.val):,} to choose (validation), {len(data.test):,} to report "
            f"(test). Each channel enters as (value / 255 − mean) / std, mean {_numbers(data.mean)}, "
            f"std {_numbers(data.std)}."
        )
        show_fit(network.choice)
    for sentence in fit_warnings(network, said):
        st.warning(sentence)


def fit_warnings(network: Network, said: Predictions | None) -> list[str]:
    """Return in sentences what does not fit between a network and its data, as far as anybody can tell."""
    found, data, card = [], network.data, model_info(network.module)
    if card is not None and (card.mean, card.std) != (data.mean, data.std):
        found.append(
            f"The weights were made for {card.data}: mean {_numbers(card.mean)}, std {_numbers(card.std)}; these "
            f"images are normalised with mean {_numbers(data.mean)}, std {_numbers(data.std)}."
        )
    if card is not None and len(card.classes) != len(data.classes):
        found.append(f"The weights know {len(card.classes)} classes, the data has {len(data.classes)}.")
    if said is not None and network.choice.weights != RANDOM and said.accuracy * _classes(data) < NEAR_CHANCE:
        found.append(
            f"It is right on {said.accuracy:.1%} of the test images, hardly more than a guess: were its weights "
            "trained on this data, with this normalisation and this order of classes?"
        )
    return found if network.has_images else []


def _classes(data: Data) -> int:
    return max(1, len(data.classes))


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
