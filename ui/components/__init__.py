"""What streamlit has no element for: components written by hand, each the HTML, CSS and JavaScript of its name here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent


def component(name: str) -> Any:
    """Register a component; the button that saves a picture (`saving`) is at hand in every one."""
    return st.components.v2.component(
        f"pdc_{name}", html=_text(f"{name}.html"), css=_with_saving(name, "css"), js=_with_saving(name, "js")
    )


def _with_saving(name: str, kind: str) -> str:
    return _text(f"saving.{kind}") + _text(f"{name}.{kind}")


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
