"""Which separates a layer's filters better, their weights or their responses? The silhouette of both."""

from __future__ import annotations

import math

import streamlit as st

from pdc_core.clustering.counts import STRUCTURE
from pdc_core.plan import Plan
from ui.filters.group_view import VECTORS, GroupView, silhouette_of
from ui.filters.responses import RESPONSES, known_covariances, response_covariances, training_images
from ui.network import Network

_SAME = 0.005  # silhouettes are shown with two digits


def draw_separation(shown: GroupView, plan: Plan) -> None:
    """Say which of raw weights and responses separates as many clusters as are shown better, with both silhouettes."""
    network = shown.network
    if not training_images(network) or not network.graph.group(shown.name).readers:
        return
    job = known_covariances(network)
    if job is None:
        st.button(
            "Measure responses",
            on_click=_measure,
            args=(network,),
            help="Says which separates clusters better, weights or responses. It runs "
            f"{training_images(network):,} training images through the network, which takes a while.",
        )
    elif job.known is not None:
        if (sentence := in_a_sentence(shown, plan)) is not None:
            st.caption(sentence)
    elif not job.done:
        _wait(network)


def in_a_sentence(shown: GroupView, plan: Plan) -> str | None:
    """Return both silhouettes and what they mean; None where a silhouette is not defined."""
    if not 1 < shown.k < len(shown.labels):
        return None
    weights, responses = (silhouette_of(shown, kind, plan.algorithm) for kind in ("raw", RESPONSES))
    if math.isclose(weights, responses, abs_tol=_SAME):
        verdict = "both separate this layer's filters equally well"
    else:
        better, worse = ("responses", "raw weights") if responses > weights else ("raw weights", "responses")
        verdict = f"**{better}** separate this layer's filters better than {worse}"
    sparse = f"; neither exceeds {STRUCTURE}: no substantial structure (Kaufman and Rousseeuw 1990)"
    clear = "" if max(weights, responses) > STRUCTURE else sparse
    return (
        f"Silhouette of {shown.k} clusters (−1 to 1), each found and measured by its own vectors: **{weights:.2f}** by "
        f"{VECTORS['raw']}, **{responses:.2f}** by responses to {training_images(shown.network):,} training images. So "
        f"{verdict}{clear}."
    )


@st.fragment(run_every=1.0)
def _wait(network: Network) -> None:
    """Look once a second whether the responses are measured."""
    job = response_covariances(network)
    if job.done:
        st.rerun()
    st.caption(f"Measuring responses, to compare them with the weights: {job.share:.0%}")


def _measure(network: Network) -> None:
    response_covariances(network)
