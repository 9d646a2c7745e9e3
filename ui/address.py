"""Addresses written by earlier versions: values that have been renamed open what they opened then."""

from __future__ import annotations

import streamlit as st

RENAMED = {
    "view": {
        "Filter by filter": "Table",
        "How many clusters?": "Cluster count",
        "What the filter sees": "Activation maps",
    },
    "section": {"Same function?": "Equality check", "Class by class": "Classes", "Speed here": "Speed"},
    "pinned": {"the network before": "original network"},
    "cost_axis": {"Time of 1 image": "Latency, 1 image", "Time of 64 images": "Latency, 64 images"},
}
EARLIER_DATA = "digits"  # what an address without data meant; today's name theirs wherever they hold a plan


def update_address() -> None:
    """Replace earlier values in the address by those of today; called before any widget is drawn.

    Widgets take their first value from the address that the run of the page began with, hence another run.
    """
    earlier = {name: st.query_params.get(name) for name in RENAMED}
    today = {name: RENAMED[name][value] for name, value in earlier.items() if value in RENAMED[name]}
    if "plan" in st.query_params and "data" not in st.query_params:
        st.query_params["data"] = EARLIER_DATA
    if today:
        st.query_params.update(today)
        st.rerun()
