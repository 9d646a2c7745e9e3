"""The selected filters of a group: one list for map, kernels and table, whichever was clicked last."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ui.filters.group_view import GroupView

VIEWS = "linked_views"
_CHOSEN, _TABLE, _TURN = "chosen_filters", "chosen_table", "chosen_turn"


def chosen(shown: GroupView) -> list[int]:
    """Return the chosen filters of the group on screen, ascending; empty when another group is opened."""
    stored = st.session_state.get(_CHOSEN)
    if stored is None or stored[0] != (shown.key, shown.name):
        return []
    return [i for i in stored[1] if i < len(shown.labels)]


def choose(shown: GroupView, filters: list[int], by: str) -> None:
    """Make these the chosen filters; the table is drawn again unless they were ticked there."""
    filters = sorted({i for i in filters if 0 <= i < len(shown.labels)})
    if filters == chosen(shown):
        return
    st.session_state[_CHOSEN] = ((shown.key, shown.name), filters)
    if by != "table":
        st.session_state[_TABLE] = st.session_state.get(_TABLE, 0) + 1


def widget_key(shown: GroupView) -> str:
    """Return the key of the table: a new one whenever something else changed what is chosen."""
    return f"table_{shown.name}_{st.session_state.get(_TABLE, 0)}"


def last_turn() -> int:
    """Return the last turn that the linked views have sent."""
    return int(st.session_state.get(_TURN, 0))


def take_views(shown: GroupView) -> None:
    """Choose the filters that were clicked or circled on the map or among the kernels."""
    state: Any = st.session_state[VIEWS]
    picked = state.get("picked")
    if not picked:
        return
    st.session_state[_TURN] = int(picked["turn"])
    if picked["group"] == shown.name:  # a click may arrive after another layer was opened
        choose(shown, [int(i) for i in picked["filters"]], "views")


def take_table(shown: GroupView) -> None:
    """Choose the rows that were ticked."""
    state: Any = st.session_state[widget_key(shown)]
    choose(shown, [int(i) for i in state["selection"]["rows"]], "table")
