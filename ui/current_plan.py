"""The plan of a session: a history for each network it has looked at, named plans, and the address that reopens it.

The counts stand in the address as `plan`, all that goes beyond counts (clusters by hand, pins, constraints) as `edits`.
"""

from __future__ import annotations

import base64
import json
import time
import zlib

import streamlit as st

from pdc_core.errors import PDCError
from pdc_core.plan import History, Plan, parse_plan
from ui.classroom import public
from ui.network import Network

START_KEEP = 0.25
LINK_LIMIT = 6000  # characters; browsers and proxies cut longer addresses
REFUSAL_SECONDS = 2.0  # how long a refusal is shown: a run that another interrupts has not been seen
_PLAN, _EDITS, _HISTORIES, _NAMED, _VERSION = "plan", "edits", "plan_histories", "named_plans", "plan_version"
_REFUSED, _REFUSED_SHOWN = "plan_refused", "plan_refused_shown"
_ADOPT = "plan_from_address"
_BEYOND_COUNTS = ("hand", "pinned", "round_to", "min", "frozen", "bounds", "vectors", "algorithm")


def current_plan() -> Plan:
    """Return the plan of this session."""
    plan: Plan = st.session_state[_PLAN]
    return plan


def set_plan(plan: Plan, network: Network, what: str = "a whole plan", typed: bool = False) -> None:
    """Make `plan` the plan of this session and of its address; groups that it does not name keep all filters.

    Parameters
    ----------
    what : str
        What was done, in words, for undo.
    typed : bool, default False
        Whether the change was typed into the plan's table, which then keeps its state.

    Raises
    ------
    PDCError
        The plan does not fit the network.
    """
    histories = _histories()
    known = histories.get(network_key(network))
    whole = completed(plan, network)
    histories[network_key(network)] = known.do(whole, what) if known else History(whole)
    _show(network, remount=not typed)


def completed(plan: Plan, network: Network) -> Plan:
    """Return the plan with a count and a size for every group of the network, in its order.

    Raises
    ------
    PDCError
        The plan does not fit the network.
    """
    plan.check(network.graph)
    groups = network.graph.clusterable
    counts = {g.name: plan.counts.get(g.name, g.size) for g in groups}
    rest = {"counts": counts, "sizes": {g.name: g.size for g in groups}, "model": network.model}
    return parse_plan({**plan.model_dump(), **rest}, "this plan").check(network.graph)


def history(network: Network) -> History:
    """Return the history of this session's plans for a network."""
    return _histories()[network_key(network)]


def undo(network: Network) -> None:
    """Go one step back."""
    _histories()[network_key(network)] = history(network).undo()
    _show(network)


def redo(network: Network) -> None:
    """Go one undone step forward."""
    _histories()[network_key(network)] = history(network).redo()
    _show(network)


def draw_undo_buttons(network: Network, key: str) -> None:
    """Draw undo and redo, each with the step that it would undo or redo as its help."""
    with st.container(horizontal=True, gap="small", width="content"):
        past, future = history(network).past, history(network).future
        for name, icon, steps, act in (
            ("Undo", ":material/undo:", past[-1:], undo),
            ("Redo", ":material/redo:", future[:1], redo),
        ):
            st.button(
                name,
                icon=icon,
                key=f"{key}_{name.lower()}",
                disabled=not steps,
                help=f"{name}: {steps[0][0]}" if steps else f"Nothing to {name.lower()}.",
                on_click=act,
                args=(network,),
            )


def version() -> int:
    """Return a number that changes with every plan that was not typed into the table."""
    return int(st.session_state.setdefault(_VERSION, 0))


def forget_typing() -> None:
    """Clear what was typed into the table."""
    st.session_state[_VERSION] = version() + 1


def named_plans(network: Network) -> dict[str, Plan]:
    """Return this session's named plans of a network, by name; to be changed in place."""
    named: dict[str, dict[str, Plan]] = st.session_state.setdefault(_NAMED, {})
    return named.setdefault(network_key(network), {})


def adopt_plan(network: Network) -> None:
    """Take the plan this session had for the network, or the one in the link; a plan that does not fit is refused."""
    asked = st.session_state.pop(_ADOPT, False)
    if asked or network_key(network) not in _histories():
        start = Plan.uniform(network.graph, keep=START_KEEP, model=network.model)
        try:
            set_plan(_from_address(start), network, "the plan of the link")
        except PDCError as error:
            if network_key(network) not in _histories():
                set_plan(start, network)
            refuse(f"The plan in this link was not used. {error}")
    st.session_state[_PLAN] = history(network).present
    _write_address()


def adopt_address() -> None:
    """Let the next page take the plan of its address, also where this session had one for the network."""
    st.session_state[_ADOPT] = True


def plan_parameters() -> dict[str, str]:
    """Return what an address needs to open the plan of this session; nothing where there is none yet."""
    if _PLAN not in st.session_state:
        return {}
    found = {_PLAN: _counts(current_plan()), _EDITS: _edits(current_plan())}
    return {name: value for name, value in found.items() if value and len(value) <= LINK_LIMIT}


def refuse(message: str) -> None:
    """Show at the top of the page why the plan was not changed."""
    st.session_state[_REFUSED] = public(message)
    st.session_state.pop(_REFUSED_SHOWN, None)


def refusal() -> str | None:
    """Return why a plan was refused, for the page to show.

    A run of the page may be interrupted by the next before anybody has read it, so the sentence stays for all runs
    that begin within REFUSAL_SECONDS of the first that shows it, or until the plan changes.
    """
    message: str | None = st.session_state.get(_REFUSED)
    if message and time.monotonic() - st.session_state.setdefault(_REFUSED_SHOWN, time.monotonic()) > REFUSAL_SECONDS:
        _forget_refusal()
        return None
    return message


def network_key(network: Network) -> str:
    """Return what a plan belongs to: weights, how residual sums are treated, and the part that was traced."""
    return f"{network.digest}:{network.graph.residual}:{network.graph.inside}"


def link_is_whole() -> bool:
    """Tell whether the address holds all of the plan; long clusters by hand do not fit."""
    return len(_edits(current_plan())) <= LINK_LIMIT


def _histories() -> dict[str, History]:
    histories: dict[str, History] = st.session_state.setdefault(_HISTORIES, {})
    return histories


def _show(network: Network, remount: bool = True) -> None:
    st.session_state[_PLAN] = history(network).present
    _forget_refusal()
    if remount:
        forget_typing()
    _write_address()


def _forget_refusal() -> None:
    st.session_state.pop(_REFUSED, None)
    st.session_state.pop(_REFUSED_SHOWN, None)


def _write_address() -> None:
    """Keep the plan in the address; what is there already is left alone, so that nothing runs twice."""
    plan, edits = current_plan(), _edits(current_plan())
    for name, value in ((_PLAN, _counts(plan)), (_EDITS, edits if len(edits) <= LINK_LIMIT else "")):
        if value and st.query_params.get(name) != value:
            st.query_params[name] = value
        elif not value and name in st.query_params:
            del st.query_params[name]


def _counts(plan: Plan) -> str:
    return "-".join(map(str, plan.counts.values()))


def _edits(plan: Plan) -> str:
    """Return all that goes beyond counts as text for an address; empty where there is nothing."""
    content = plan.model_dump(mode="json", include=set(_BEYOND_COUNTS), exclude_defaults=True)
    if not content:
        return ""
    packed = zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 9)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _from_address(start: Plan) -> Plan:
    """Return the plan of the address: counts joined by dashes in the order of the network's groups, and edits.

    Raises
    ------
    PDCError
        The address is not one that this page wrote.
    """
    link, edits = st.query_params.get(_PLAN), st.query_params.get(_EDITS)
    if not link and not edits:
        return start
    counts = dict(start.counts)
    if link:
        parts = link.split("-")
        if len(parts) != len(counts) or not all(part.isascii() and part.isdigit() for part in parts):
            raise PDCError(f"Expected {len(counts)} counts joined by dashes, got {link[:60]!r}.")
        counts = {name: int(part[:9]) for name, part in zip(counts, parts, strict=True)}
    return parse_plan({**start.model_dump(), **_unpacked(edits), "counts": counts}, "this link")


def _unpacked(edits: str | None) -> dict[str, object]:
    if not edits:
        return {}
    try:
        packed = base64.urlsafe_b64decode(edits[: 2 * LINK_LIMIT] + "=" * (-len(edits) % 4))
        content = json.loads(
            zlib.decompressobj().decompress(packed, 1_000_000)
        )  # a small text cannot become a huge one
    except (ValueError, zlib.error, RecursionError) as error:
        raise PDCError("Its edits cannot be read: the link was cut off or changed.") from error
    if not isinstance(content, dict) or not content.keys() <= set(_BEYOND_COUNTS):
        raise PDCError("Its edits are not part of a plan.")
    return content
