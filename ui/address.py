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


def update_address() -> None:
    """Replace earlier values in the address by those of today; called before any widget is drawn."""
    for name, values in RENAMED.items():
        given = st.query_params.get(name)
        if given in values:
            st.query_params[name] = values[given]
