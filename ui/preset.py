"""What the lecturer has chosen for all of a class: a page with its network, plan and step, as an address."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from pdc_core.data.load import NPZ
from pdc_core.files import write_whole
from pdc_core.runs.waiting import read_json
from ui.choice import forget_choice
from ui.classroom import share
from ui.current_plan import adopt_address
from ui.navigation import PAGES
from ui.visitors import class_root

_SEEN, _FRESH = "preset_seen", "preset_first_run"


@dataclass(frozen=True)
class Preset:
    """A page and the parameters of its address; `made` tells one preset from the next."""

    page: str
    query: dict[str, str]
    made: float

    @property
    def link(self) -> str:
        """The address, to be put behind that of the server."""
        return f"/{self.page.lower()}?{urlencode(self.query)}"

    @property
    def file(self) -> str:
        """The page's file, as `st.switch_page` takes it."""
        return f"pages/{self.page.lower()}.py"


def make_preset(page: str, query: dict[str, str]) -> Preset:
    """Return what all would open; files of the lecturer's are given to all under names made from their content.

    Raises
    ------
    PDCError
        A file cannot be read or written.
    """
    shared = dict(query)
    if "weights" in query:
        shared["weights"] = share(query["weights"])
    if query.get("data", "").startswith(NPZ):
        shared["data"] = NPZ + share(query["data"].removeprefix(NPZ))
    return Preset(page, shared, time.time())


def write_preset(preset: Preset | None) -> None:
    """Set it for all, or let everybody begin with the first network again."""
    if preset is None:
        _file().unlink(missing_ok=True)
    else:
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_whole(_file(), json.dumps(asdict(preset)))


def read_preset() -> Preset | None:
    """Return what is set for all, None where nothing is."""
    found = read_json(_file())
    if found is None or found.get("page") not in PAGES or not isinstance(found.get("query"), dict):
        return None
    query = {str(name): str(value) for name, value in found["query"].items()}
    return Preset(found["page"], query, float(found.get("made", 0.0)))


def follow_preset(page: str) -> None:
    """Open the preset in a session that asks for nothing in particular; offer it where it has changed meanwhile."""
    first = _FRESH not in st.session_state
    st.session_state[_FRESH] = False
    preset = read_preset()
    if preset is None or page == "Class":
        return
    if first and (st.query_params or page != PAGES[0]):  # a link that says what it wants
        _skip(preset)
    elif first:
        _open(preset)
    elif st.session_state.get(_SEEN) != preset.made:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(f"The lecturer has chosen a network and a plan for all, on the page {preset.page}.")
            if st.button("Open them", type="primary", key="open_preset"):
                _open(preset)
            st.button("Not now", key="skip_preset", on_click=_skip, args=(preset,))


def _open(preset: Preset) -> None:
    _skip(preset)
    forget_choice()
    adopt_address()
    st.switch_page(preset.file, query_params=preset.query)


def _skip(preset: Preset) -> None:
    st.session_state[_SEEN] = preset.made


def _file() -> Path:
    return class_root() / "preset.json"
