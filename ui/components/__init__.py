"""What streamlit has no element for: components written by hand, each the HTML, CSS and JavaScript of its name here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent


def component(name: str) -> Any:
    """Register a component, of the HTML, CSS and JavaScript of `source`."""
    return st.components.v2.component(
        f"pdc_{name}", html=source(name, "html"), css=source(name, "css"), js=source(name, "js")
    )


def source(name: str, kind: str) -> str:
    """Return a component's "html", "css" or "js"; in the last two `saving`, the button that saves a picture."""
    return _text(f"{name}.{kind}") if kind == "html" else _text(f"saving.{kind}") + _text(f"{name}.{kind}")


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
