"""Which network, on which data, with which weights: the choice of a session, also in its address.

A link therefore opens the same network. A choice changes nobody else's pages.
The first network is a ResNet-20 on clothing: it opens at once, and pruning it costs accuracy that can be seen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import streamlit as st

from pdc_core.data import is_custom_data
from pdc_core.graph import RESIDUALS
from pdc_core.models import is_custom
from pdc_core.models.load import NAMED, SHIPPED
from pdc_core.runs import given_name
from ui.classroom import UPLOADS, run_folder

_CHOICE, _LECTURE = "choice", "lecture"


@dataclass(frozen=True)
class Choice:
    """A network, its data, its weights (a name or a file), its residual treatment and the part of it that is pruned.

    Without a part it is the whole network, or where that cannot be traced the part that can.
    """

    model: str = "resnet20"
    data: str = "clothing"
    weights: str = SHIPPED
    residual: str = "internal"
    inside: str = ""

    @property
    def label(self) -> str:
        """What a person calls it."""
        data = self.data_label(self.data)
        weights = "" if self.weights == SHIPPED else f", {self._weights_label}"
        model = self.model if is_custom(self.model) else self.model.replace("resnet", "ResNet-")
        return f"{model} on {data}{weights}"

    @staticmethod
    def data_label(name: str) -> str:
        """Return what a person calls data, of a file the end of its name."""
        kind, _, path = name.partition(":")
        return f"{kind} {_short(path)}" if path and not is_custom_data(name) else name

    @property
    def _weights_label(self) -> str:
        if self.weights in NAMED:
            return f"{self.weights} weights"
        if (folder := run_folder(self.weights)) is not None:
            return f"weights of the run “{given_name(folder) or folder.name}”"
        return f"{_short(self.weights)} weights"


def _short(path: str) -> str:
    """Name a file for a person; an upload is stored under a name made from its content."""
    return "uploaded" if Path(path).parent.name == UPLOADS else Path(path).name[:40]


def current_choice() -> Choice:
    """Return the network of this session: chosen here, or named by the address that opened it."""
    if _CHOICE not in st.session_state:
        given = {name: st.query_params[name] for name in asdict(Choice()) if name in st.query_params}
        if given.get("residual", "internal") not in RESIDUALS:
            given.pop("residual")
        st.session_state[_CHOICE] = Choice(**given)
    choice: Choice = st.session_state[_CHOICE]
    return choice


def choose(choice: Choice | None = None, keep_plan: bool = False, **changes: str) -> None:
    """Open another network from the next run of the page on; it gets a new plan, unless it had one already.

    Parameters
    ----------
    choice : Choice, optional
        The network; by default the current one.
    keep_plan : bool, default False
        Whether the plan in the address goes with it, for the same network with other weights.
    **changes : str
        What is other than in the choice, by name.
    """
    chosen = replace(choice or current_choice(), **changes)
    if chosen != current_choice():
        st.session_state[_CHOICE] = chosen
        for name in () if keep_plan else ("plan", "edits"):  # they belong to the network that is left
            st.query_params.pop(name, None)


def write_address() -> None:
    """Write the data and what differs from the defaults to the address: a link or a reload opens the same network."""
    for name, value in asdict(current_choice()).items():
        if name == "data" or value != getattr(Choice(), name):
            if st.query_params.get(name) != value:
                st.query_params[name] = value
        else:
            st.query_params.pop(name, None)
    if lecture() and st.query_params.get(_LECTURE) != "1":
        st.query_params[_LECTURE] = "1"


def forget_choice() -> None:
    """Let the address say which network is open from the next run of the page on."""
    st.session_state.pop(_CHOICE, None)


def link_parameters() -> dict[str, str]:
    """Return what an address needs to open the network of this session, and its plan if it stands in the address."""
    given = {name: value for name, value in asdict(current_choice()).items() if value != getattr(Choice(), name)}
    return {"data": current_choice().data, **given}


def lecture() -> bool:
    """Tell whether the address asks for lecture mode: larger type, fewer controls. It stays on for the session."""
    if st.query_params.get(_LECTURE) in ("1", "true", "on"):
        st.session_state[_LECTURE] = True
    elif st.query_params.get(_LECTURE) == "0":
        st.session_state[_LECTURE] = False
    return bool(st.session_state.get(_LECTURE, False))
