"""The chosen filters of a group: one list for map, grid and table, whoever of them was clicked last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from pdc_core import charts
from ui.filters import Shown

_CHOSEN, _BY, _TURN = "chosen_filters", "chosen_by", "chosen_turn"


def chosen(shown: Shown) -> list[int]:
    """Return the chosen filters of the group on screen, ascending; empty when another group is opened."""
    kept = st.session_state.get(_CHOSEN)
    if kept is None or kept[0] != (shown.key, shown.name):
        return []
    return [i for i in kept[1] if i < len(shown.labels)]


def choose(shown: Shown, filters: list[int], by: str) -> None:
    """Make these the chosen filters; views other than `by` are drawn anew, so that old marks on them go."""
    if sorted(set(filters)) == chosen(shown):
        return
    st.session_state[_CHOSEN] = ((shown.key, shown.name), sorted(set(filters)))
    st.session_state[_BY] = by
    turns = st.session_state.setdefault(_TURN, {})
    for view in ("map", "grid", "table"):
        if view != by:
            turns[view] = turns.get(view, 0) + 1


def widget_key(shown: Shown, view: str) -> str:
    """Return the key of a view: a new one whenever something else changed what is chosen."""
    return f"{view}_{shown.name}_{st.session_state.get(_TURN, {}).get(view, 0)}"


def chosen_elsewhere(shown: Shown, view: str) -> list[int]:
    """Return the chosen filters that `view` has to mark by itself: those that it was not told by a click on it."""
    return [] if st.session_state.get(_BY) == view else chosen(shown)


def take_map(shown: Shown, points: pd.DataFrame) -> None:
    """Choose what was clicked or dragged over on the map."""
    selection = _selection(shown, "map")
    if brush := selection.get(charts.BRUSH):
        x, y = (sorted(brush.get(axis, (-np.inf, np.inf))) for axis in ("x", "y"))
        inside = points["x"].between(*x) & points["y"].between(*y)
        choose(shown, [int(i) for i in points.loc[inside, "filter"]], "map")
    else:
        choose(shown, _clicked(selection), "map")


def take_grid(shown: Shown) -> None:
    """Choose the tiles that were clicked."""
    choose(shown, _clicked(_selection(shown, "grid")), "grid")


def _selection(shown: Shown, view: str) -> Any:
    state: Any = st.session_state[widget_key(shown, view)]
    return state["selection"]


def _clicked(selection: Any) -> list[int]:
    return [int(point["filter"]) for point in selection.get(charts.CLICK) or []]


def take_table(shown: Shown) -> None:
    """Choose the rows that were ticked."""
    state: Any = st.session_state[widget_key(shown, "table")]
    choose(shown, [int(i) for i in state["selection"]["rows"]], "table")
