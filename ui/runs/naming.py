"""The name of a run on the page Distil: change it, or remove the run."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pdc_core.errors import PDCError
from pdc_core.runs import Run, given_name, remove_run, rename_run, run_name
from pdc_core.runs.names import LONGEST_NAME
from ui.job_view import in_words
from ui.runs.progress import RUN, is_live

_FAILED = "naming_failed"


def draw_naming(run: Run, place: DeltaGenerator) -> None:
    """Draw what renames or removes a run."""
    with place.popover("Rename or remove"):
        key = f"name_of_{run.id}"
        st.text_input(
            "Name", given_name(run.folder), max_chars=LONGEST_NAME, key=key, placeholder=run_name(run),
            on_change=_rename, args=(run, key), help="Leave it empty for the name that is made from its results.",
        )  # fmt: skip
        st.button(
            "Remove this run", on_click=_remove, args=(run,), disabled=is_live(run), key="remove_run",
            help="Deletes its folder with everything in it. This cannot be undone."
            if not is_live(run)
            else "Stop it first.",
        )  # fmt: skip
    if failed := st.session_state.pop(_FAILED, None):
        st.error(failed)


def _rename(run: Run, key: str) -> None:
    try:
        rename_run(run.folder, st.session_state[key])
    except PDCError as error:
        st.session_state[_FAILED] = in_words(error)


def _remove(run: Run) -> None:
    try:
        remove_run(run.folder)
    except PDCError as error:
        st.session_state[_FAILED] = in_words(error)
    else:
        st.query_params.pop(RUN, None)
