"""The pages of the app, in the order in which people ask."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.navigation.page import Page

from ui.classroom import in_class

_FOLDER = Path(__file__).resolve().parent.parent / "pages"
PAGES = ("Model", "Filters", "Plan", "Distil", "Compare", "Learn")
_ROUTED = "routed"
SIDEBAR_PIXELS = 200


def navigation() -> Page:
    """Draw the list of pages and return the one that the address asks for."""
    st.session_state[_ROUTED] = True
    st.set_page_config(layout="wide", initial_sidebar_state=SIDEBAR_PIXELS)
    # The first page lives at /. Its own name is a second, hidden address, so that a link to /model works too.
    first = st.Page(_FOLDER / f"{PAGES[0].lower()}.py", title=PAGES[0], url_path="start", default=True)
    titles = (*PAGES, "Class") if in_class() else PAGES
    files = [(title, _FOLDER / f"{title.lower()}.py") for title in titles]
    named = [
        st.Page(file, title=title, url_path=title.lower(), visibility="hidden" if i == 0 else "visible")
        for i, (title, file) in enumerate(files)
    ]
    return st.navigation([first, *named])


def route() -> None:
    """Hand over to app.py when a deep link to a fresh server ran a page without it."""
    if _ROUTED not in st.session_state:
        navigation()
        st.rerun()
