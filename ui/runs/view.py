"""What the chart of the page Compare shows: the controls that filter runs, and the tables that they leave."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pdc_core import charts
from pdc_core.analysis.literature import literature_networks
from pdc_core.runs import Run
from ui.choice import lecture
from ui.network import Network
from ui.runs.compare import COSTS, Cost, label_of
from ui.runs.others import published_points
from ui.runs.progress import linked_run

NETWORK, SHOW, METHODS, SWEEP = "compared", "show", "methods", "sweep"  # keys of the controls, most in the address too
EVERY, SINGLE = "All runs", "Runs outside sweeps"
SINCE: dict[str, timedelta | None] = {
    "Any time": None,
    "Last hour": timedelta(hours=1),
    "Last 24 hours": timedelta(days=1),
    "Last 7 days": timedelta(days=7),
    "Last 30 days": timedelta(days=30),
}
ACCURACY, CHANGE = "Test accuracy", "Change"
FRONT, BARS, STAGES = "Pareto front", "Test-set uncertainty", "Stages of the run"
MEASURED, PUBLISHED = "Measured with PDC", "Published results"


@dataclass(frozen=True)
class View:
    """The tables that are drawn, as `charts.accuracy_over_cost` takes them, and how."""

    label: str
    runs: frozenset[str]  # all of the network, whether the other controls leave them or not
    points: pd.DataFrame
    measured: pd.DataFrame
    published: pd.DataFrame
    cost: Cost
    change: bool
    layers: frozenset[str]

    @property
    def axes(self) -> charts.Axes:
        """The axes of the chart."""
        return charts.Axes(self.cost.name, self.cost.unit, self.change)


def choose_view(table: pd.DataFrame, measured: pd.DataFrame, network: Network, runs: dict[str, Run]) -> View:
    """Draw the controls and return what they leave of the runs and of the sweep that PDC comes with.

    In a lecture there are those of the network and the axes alone, so that the chart is seen without scrolling.
    """
    few = lecture()
    row = st.columns([5, 3, 4] if few else [5, 3, 4, 4, 3], gap="small")
    label = _choose_network(row[0], table, measured, network, runs)
    own, others = table[table["label"] == label], measured[measured["label"] == label]
    of_network = frozenset(own["run"])
    axis = COSTS[row[1].selectbox("Cost", list(COSTS), key="cost_axis", bind="query-params")]
    change = row[2].selectbox(
        "Accuracy", [ACCURACY, CHANGE], key="accuracy_axis", bind="query-params",
        help="The change compares results better that start from different networks, as those of papers do.",
    ) == CHANGE  # fmt: skip
    right = st.container()
    if not few:
        own = _choose_time(row[4], _choose_sweep(row[3], own))
        left, right = st.columns([4, 5], gap="small")
        own, others = _choose_methods(left, own, others)
    own, others = (charts.priced(table, axis.column, axis.scale) for table in (own, others))
    published = published_points(label, axis, change)
    layers = _choose_layers(right, own, others, published)
    return View(label, of_network, own, others, published, axis, change, layers)


def _choose_network(
    place: DeltaGenerator, table: pd.DataFrame, measured: pd.DataFrame, network: Network, runs: dict[str, Run]
) -> str:
    """Draw the choice of a network: those with runs, the open one first, then those that only others have pruned."""
    own = sorted(dict.fromkeys(table["label"]), key=lambda label: label != network.label)
    fitting = set(table[["network", "data"]].itertuples(index=False, name=None))
    papers = [label_of(*each, "shipped") for each in literature_networks() if each not in fitting]
    options = list(dict.fromkeys([*own, *measured["label"], *papers]))
    linked = linked_run(runs)
    if NETWORK not in st.session_state and NETWORK not in st.query_params and linked is not None:
        st.session_state[NETWORK] = label_of(linked.spec.model, linked.spec.data, linked.spec.weights)
    _keep_valid(NETWORK, options)
    chosen: str = place.selectbox("Network", options, key=NETWORK, bind="query-params")
    return chosen


def _choose_sweep(place: DeltaGenerator, points: pd.DataFrame) -> pd.DataFrame:
    sweeps = [name for name in dict.fromkeys(points["sweep"]) if name]
    options = [EVERY, *([SINGLE] if sweeps and (points["sweep"] == "").any() else []), *sweeps]
    _keep_valid(SWEEP, options)
    chosen = place.selectbox("Runs", options, key=SWEEP, bind="query-params", disabled=len(options) == 1)
    return points if chosen == EVERY else points[points["sweep"] == ("" if chosen == SINGLE else chosen)]


def _choose_time(place: DeltaGenerator, points: pd.DataFrame) -> pd.DataFrame:
    since = SINCE[place.selectbox("Created", list(SINCE), key="since", bind="query-params")]
    if since is None:
        return points
    created = pd.to_datetime(points["date"], utc=True, format="ISO8601", errors="coerce")
    return points[created >= datetime.now(UTC) - since]


def _choose_methods(
    place: DeltaGenerator, points: pd.DataFrame, measured: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    methods = charts.method_order([*points["method"], *measured["method"]])
    if len(methods) < 2:
        return points, measured
    _keep_valid(METHODS, methods)
    chosen = place.pills(
        "Methods (none chosen: all)", methods, selection_mode="multi", key=METHODS, bind="query-params", wrap=True,
        format_func=lambda name: charts.method_look(name).plain,
    )  # fmt: skip
    kept = chosen or methods
    return points[points["method"].isin(kept)], measured[measured["method"].isin(kept)]


def _choose_layers(
    place: DeltaGenerator, points: pd.DataFrame, measured: pd.DataFrame, published: pd.DataFrame
) -> frozenset[str]:
    """Draw the switches of what is drawn beside the points; what there is nothing of has none."""
    there = {
        FRONT: len(points) > 0,
        BARS: len(points) > 0,
        STAGES: len(points) > 0,
        MEASURED: len(points) > 0 and len(measured) > 0,
        PUBLISHED: len(points) > 0 and len(published) > 0,
    }
    options = [name for name, found in there.items() if found]
    if not options:
        return frozenset()
    _keep_valid(SHOW, options)
    first = [FRONT, BARS, STAGES] if len(points) == 1 else [FRONT]
    chosen = place.pills(
        "Show", options, default=first, selection_mode="multi", key=SHOW, bind="query-params", wrap=True,
    )  # fmt: skip
    return frozenset(chosen)


def _keep_valid(key: str, options: list[str]) -> None:
    """Drop from a control what other controls have taken from its options."""
    chosen = st.session_state.get(key)
    if isinstance(chosen, list):
        valid = [each for each in chosen if each in options]
        if valid != chosen:
            st.session_state[key] = valid
    elif chosen is not None and chosen not in options:
        del st.session_state[key]
