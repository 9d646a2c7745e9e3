"""Export of plans: files, named plans and their differences, the command, the link."""

from __future__ import annotations

import pprint
from dataclasses import asdict, replace
from urllib.parse import urlencode

import streamlit as st

from pdc_core.errors import PDCError
from pdc_core.models.load import SHIPPED
from pdc_core.plan import Plan, difference
from pdc_core.runs import RunSpec, default_training, run_command
from ui.choice import choose
from ui.current_plan import current_plan, link_is_whole, named_plans, refuse, set_plan
from ui.network import DESCRIBED, Network, load_network
from ui.own_networks import register_line

_FILES, _FOLDER = "plan_files", "IMAGENET"
NAME_LIMIT = 40
_BOX_AND_BUTTON = (4, 1.4)  # widths, relative to each other


def draw_save(network: Network, plan: Plan) -> None:
    """Draw the downloads, the upload, the commands and the link."""
    take, load = st.columns([5, 4], gap="large", vertical_alignment="top")
    with take:
        with st.container(horizontal=True):
            for text, name, content, mime in (
                ("Download JSON", "plan.json", plan.to_json(), "application/json"),
                ("Download YAML", "plan.yaml", plan.to_yaml(), "application/yaml"),
            ):
                st.download_button(text, content, file_name=name, mime=mime, on_click="ignore")
        st.markdown("Run this plan without the app:")
        language = st.segmented_control(
            "Language", ["Command line", "Python"], default="Command line", required=True, key="plan_language",
            label_visibility="collapsed",
        )  # fmt: skip
        if language == "Python":
            st.code(python(network, plan), language="python")
        else:
            st.code(command(network, plan), language="bash", wrap_lines=True)
        if network.data_name == DESCRIBED:
            st.caption(f"Replace {_FOLDER} with the folder that holds the images in train/CLASS and val/CLASS.")
    with load:
        file_key = f"plan_file_{st.session_state.setdefault(_FILES, 0)}"
        st.file_uploader(
            "Load a plan (JSON or YAML)",
            type=["json", "yaml", "yml"],
            key=file_key,
            on_change=_take_file,
            args=(network, file_key),
        )
        st.markdown("Link to this plan:")
        st.code(f"{st.context.url or ''}?{urlencode(st.query_params.to_dict())}", language=None, wrap_lines=True)
        if not link_is_whole():
            st.caption("The manual clusters do not fit in a link. Download the plan to keep them.")


def command(network: Network, plan: Plan) -> str:
    """Return the command that distils this network with this plan."""
    data = _data(network)
    settings = default_training("distil", data)
    if network.has_images:
        settings = settings.for_images(len(network.data.train))  # as the page Distil does
    weights = network.choice.weights
    return run_command(RunSpec(model=network.model, data=data, weights=weights, plan=plan, training=settings))


def python(network: Network, plan: Plan) -> str:
    """Return the Python that distils this network with this plan, the plan written out."""
    weights = network.choice.weights
    given = "" if weights == SHIPPED else f", weights={weights!r}"
    content = pprint.pformat(plan.model_dump(exclude_defaults=True), width=100, sort_dicts=False)
    return (
        f"import pdc_core as pdc\n\n{register_line(network.model)}"
        f"model = pdc.load_model({network.model!r}, data={_data(network)!r}{given})\n"
        f"data = pdc.load_data({_data(network)!r})\n"
        f"plan = pdc.Plan(**{content})\n"
        "result = pdc.distil(model, plan, data, seed=0)\n"
        'pdc.save(result.folded, "small.safetensors")\n'
    )


def _data(network: Network) -> str:
    """Return the data that a command trains on: a folder where only the shape of the data is known here."""
    return f"folder:{_FOLDER}" if network.data_name == DESCRIBED else network.data_name


def _take_file(network: Network, key: str) -> None:
    """Load a plan file if it fits this network, with the residual treatment and the part of it that the plan is for."""
    file = st.session_state[key]
    st.session_state[_FILES] += 1  # the next file meets a fresh uploader
    if file is None:
        return
    try:
        plan = Plan.from_json(file.getvalue().decode("utf-8"))
        traced = {"residual": plan.residual, "inside": plan.inside}
        same = traced == {"residual": network.graph.residual, "inside": network.graph.inside}
        of = network if same else load_network(**asdict(replace(network.choice, **traced)))
        set_plan(plan, of, f"loaded {file.name}")
        choose(of.choice)
    except (PDCError, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, PDCError) else "It is not a text file."
        refuse(f"{file.name} was not loaded. {reason}")


def draw_named(network: Network, plan: Plan) -> None:
    """Draw the named plans of this session, and how the current plan differs from one."""
    named = named_plans(network)
    naming, saving = st.columns(_BOX_AND_BUTTON, vertical_alignment="bottom")
    naming.text_input("Name of this plan", max_chars=NAME_LIMIT, key="plan_name", placeholder="e.g. half, by hand")
    saving.button("Save", on_click=_store, args=(network,), width="stretch", disabled=not st.session_state["plan_name"])
    if not named:
        st.caption("Named plans last for this session. Download a plan to keep it longer.")
        return
    pick, reopen = st.columns(_BOX_AND_BUTTON, vertical_alignment="bottom")
    chosen = pick.selectbox("Compare with", list(named), key="plan_compared")
    reopen.button("Open", on_click=_open, args=(network, chosen), width="stretch", disabled=named[chosen] == plan)
    changes = difference(named[chosen], plan)
    if changes:
        rows = [{"layer or setting": c.what, chosen: c.before, "this plan": c.after} for c in changes]
        st.dataframe(rows, hide_index=True, alt=f"{len(changes)} differences between {chosen} and this plan.")
    else:
        st.caption(f"This plan is the same as “{chosen}”.")


def _store(network: Network) -> None:
    named_plans(network)[st.session_state["plan_name"].strip() or "unnamed"] = current_plan()


def _open(network: Network, name: str) -> None:
    set_plan(named_plans(network)[name], network, f"opened “{name}”")
