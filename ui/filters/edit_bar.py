"""Clusters by hand: edits of the selected filters. Every edit goes into the plan and can be undone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import streamlit as st

from pdc_core.clustering import check_labels
from pdc_core.errors import PDCError
from pdc_core.plan import Plan, merge, move, pin, split, unpin
from ui.current_plan import current_plan, set_plan
from ui.filters.group_view import GroupView
from ui.filters.selection import choose, chosen

REFUSED = "hand_refused"


def draw_edit_bar(shown: GroupView) -> None:
    """Draw the row of edits for the selected filters."""
    plan, name, labels, picked = current_plan(), shown.name, shown.labels.tolist(), chosen(shown)
    pinned = set(plan.pinned.get(name, ()))
    clusters = sorted({labels[i] for i in picked})
    listed = ", ".join(map(str, picked[:10])) + (f" and {len(picked) - 10} more" if len(picked) > 10 else "")
    state = []
    if name in plan.hand:
        state.append("manual clusters")
    if pinned:
        state.append(f"{len(pinned)} pinned filter{'s' if len(pinned) > 1 else ''}")
    st.markdown(
        (f"**Selected: filter{'s' if len(picked) > 1 else ''} {listed}** of cluster "
         f"{', '.join(map(str, clusters[:10]))}. "
         if picked else
         "**Select filters: draw around points on the map, or click points, kernels or rows (Shift adds).** ")
        + (f"This layer has {' and '.join(state)}." if state else "")
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        target = st.selectbox(
            "Move to cluster", range(shown.k), key=f"target_{name}", width=150, disabled=not picked or shown.k == 1
        )
        _button("Move", not picked or clusters == [target], shown, f"{name}: moved to cluster {target}",
                lambda: move(plan, name, labels, picked, int(target)),
                "Moves the selected filters to this cluster.")  # fmt: skip
        _button("New cluster", not picked or shown.k == len(labels), shown, f"{name}: split",
                lambda: split(plan, name, labels, picked),
                "Makes the selected filters a cluster of their own.")  # fmt: skip
        _button("Merge", len(clusters) < 2, shown, f"{name}: merged clusters",
                lambda: merge(plan, name, labels, clusters),
                "Merges the clusters of the selected filters into one.")  # fmt: skip
        _button("Pin", not set(picked) - pinned, shown, f"{name}: pinned {listed}",
                lambda: pin(plan, name, picked),
                "Gives each selected filter a cluster of its own, also when the count changes.")  # fmt: skip
        _button("Unpin", not set(picked) & pinned, shown, f"{name}: unpinned {listed}",
                lambda: unpin(plan, name, picked), "Lets the selected filters share a cluster again.")  # fmt: skip
        _button("Reset", not state, shown, f"{name}: manual edits reset",
                lambda: _forget(plan, name), "Discards manual clusters and pins of this layer.")  # fmt: skip
        st.button("Clear", disabled=not picked, on_click=choose, args=(shown, [], "bar"), help="Clears the selection.")
    if refusal := st.session_state.pop(REFUSED, None):
        st.error(refusal)


def _button(label: str, disabled: bool, shown: GroupView, what: str, edit: Callable[[], Plan], tip: str) -> None:
    st.button(label, disabled=disabled, help=tip, key=f"hand_{label}", on_click=_apply, args=(shown, what, edit))


def _apply(shown: GroupView, what: str, edit: Callable[[], Plan]) -> None:
    try:
        plan = edit()
        check_labels(shown.network.graph, {n: np.array(a) for n, a in plan.hand.items() if n == shown.name})
        set_plan(plan, shown.network, what)
    except PDCError as error:
        st.session_state[REFUSED] = f"Nothing was changed. {error}"


def _forget(plan: Plan, name: str) -> Plan:
    left = {group: labels for group, labels in plan.hand.items() if group != name}
    return unpin(plan.model_copy(update={"hand": left}), name)
