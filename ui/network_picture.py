"""The network as a picture on the pages Plan and Filters: a click opens a layer, a drag or the wheel changes its count.

The picture is drawn by `pdc_core.charts`; the component moves its bars and says what was done.
"""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from pdc_core import charts
from pdc_core.errors import PDCError
from pdc_core.estimates import Sensitivity
from pdc_core.plan import Plan
from ui.choice import lecture
from ui.components import component
from ui.current_plan import current_plan, network_key, refuse, set_plan
from ui.network import Network

_picture = component("network_picture")
_FOLDED, _TURN, _OPENED = "picture_folded", "picture_turn", "picture_opened"
LAYER = "layer"  # the key of the select box of the page Filters
SMALL = 64  # pixels of the highest bar where the picture only serves to choose
# Least and largest scale: between them the picture is as wide as the page, beyond them it scrolls or stays narrow.
_LECTURE, _EDITED, _CHOSEN = (0.9, 1.5), (0.85, 1.25), (0.75, 1.0)
_EDIT = "Drag a bar, or use the wheel or ↑ ↓, to change its count · click it or press Enter to open it in Filters"
_CHOOSE = "Click a bar, or go to it with ← → and press Enter, to open that layer"


def draw_network_picture(
    network: Network, plan: Plan, key: str, colour: str = "macs", found: Sensitivity | None = None
) -> None:
    """Draw the network with the counts of the plan, to be changed; a click opens the layer on the page Filters.

    Parameters
    ----------
    key : str
        Of the widget.
    colour : {"macs", "params", "sensitivity"}, default "macs"
        What is coloured; MACs where the sensitivity has not been measured.
    found : Sensitivity, optional
        Measured before.
    """
    if colour == "sensitivity" and found is None:
        colour = "macs"
    drawn = charts.network_picture(network.graph, plan, colour=colour, sensitivity=found, folded=_folded(network))
    _picture(key=key, data=picture_data(network, plan, drawn, True), on_act_change=lambda: take(network, key))
    if st.session_state.pop(_OPENED, False):
        st.switch_page("pages/filters.py")


def draw_layer_chooser(network: Network, plan: Plan, key: str, selected: str) -> None:
    """Draw the network, smaller, with one layer marked; a click opens another, and counts stay as they are."""
    drawn = charts.network_picture(network.graph, plan, folded=_folded(network), selected=selected, tall=SMALL)
    _picture(key=key, data=picture_data(network, plan, drawn, False), on_act_change=lambda: take(network, key))
    st.session_state.pop(_OPENED, None)


def picture_data(network: Network, plan: Plan, drawn: charts.NetworkPicture, editable: bool) -> dict[str, Any]:
    """Return what `network_picture.js` shows: the SVG, its bars, and the groups whose counts they are."""
    drawing = drawn.drawing
    alt = escape(f"{drawing.title}. {drawing.alt}", quote=True)
    groups = [network.graph.group(name) for name in dict.fromkeys(name for bar in drawn.bars for name in bar.groups)]
    return {
        "svg": f'<svg role="group" aria-label="{alt}" viewBox="0 0 {drawing.width} {drawing.height}" '
        f'font-size="14">{drawing.body}</svg>',
        "title": drawing.title,
        "hint": _EDIT if editable else _CHOOSE,
        "bars": {
            bar.key: {"name": bar.name, "text": bar.text, "parts": bar.parts, "before": bar.before, "block": bar.block}
            for bar in drawn.bars
        },
        "groups": {
            group.name: {"n": group.size, "k": plan.counts[group.name], "allowed": _short(plan.allowed(group))}
            for group in groups
        },
        "editable": editable,
        "scale": (_LECTURE if lecture() else _EDITED) if editable else _CHOSEN,
        "turn": int(st.session_state.get(_TURN, 0)),
        "name": f"pdc-network-{network.model}",
    }


def _short(allowed: list[int]) -> list[int] | dict[str, int]:
    """Return counts as they are, or as {from, to, by} where they are evenly spaced."""
    if len(allowed) < 3:
        return allowed
    by = allowed[1] - allowed[0]
    even = allowed == list(range(allowed[0], allowed[-1] + 1, by))
    return {"from": allowed[0], "to": allowed[-1], "by": by} if even else allowed


def _folded(network: Network) -> frozenset[str] | None:
    """Return the blocks that this session has folded; None before it has changed any."""
    folded: dict[str, frozenset[str]] = st.session_state.setdefault(_FOLDED, {})
    return folded.get(network_key(network))


def take(network: Network, key: str) -> None:
    """Do what was done in the picture: change counts, open a layer, fold or unfold a block."""
    act: Any = st.session_state[key].get("act")
    if not act:
        return
    st.session_state[_TURN] = int(act["turn"])
    _take_counts(network, act)
    if act["do"] == "open" and act["group"] in current_plan().counts:
        st.session_state[LAYER] = act["group"]
        if LAYER in st.query_params:
            st.query_params[LAYER] = act["group"]
        st.session_state[_OPENED] = True
    elif act["do"] == "fold":
        drawn = charts.network_picture(network.graph, folded=_folded(network))
        if act["block"] in {block.key for block in drawn.blocks}:
            st.session_state[_FOLDED][network_key(network)] = drawn.folded ^ {act["block"]}


def _take_counts(network: Network, act: Any) -> None:
    """Make the counts of the bars those of the plan: all of them, or none."""
    plan = current_plan()
    try:
        counts = {name: plan.nearest(network.graph.group(name), int(k)) for name, k in act["counts"].items()}
        counts = {name: k for name, k in counts.items() if k != plan.counts[name]}
        if not counts:
            return
        name, k = next(iter(counts.items()))
        what = f"{name}: {k} clusters" if len(counts) == 1 else f"{len(counts)} layers in {act['by'] or 'the picture'}"
        set_plan(plan.replace(counts), network, what)
    except PDCError as error:
        refuse(f"Nothing was changed. {error}")
