"""Networks of the user's own classes: those that the person who started the server named, and no others.

They are named by `pdc app --build`, by `streamlit run app.py -- --build` or by the environment variable PDC_BUILD.
Nothing that a visitor sends (an address, an upload, a form) is ever imported.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import streamlit as st

from pdc_core.errors import PDCError
from pdc_core.models import MODELS, environment_targets, is_custom, register_all


def register_own() -> tuple[str, ...]:
    """Register what the server was started with, and return a sentence for everything that cannot be used.

    A module that fails is tried once per server and reported on its terminal too.
    """
    failed = _failures()
    try:
        targets = _arguments()
    except PDCError as error:
        return (str(error), *failed.values())
    for target in dict.fromkeys([*targets, *environment_targets()]):
        if target not in MODELS and target not in failed:
            try:
                register_all([target])
            except PDCError as error:
                failed[target] = str(error)
                print(f"error: {error}", file=sys.stderr)
    return tuple(failed.values())


@st.cache_resource(show_spinner=False)
def _failures() -> dict[str, str]:
    """Return what could not be registered, with the reason; shared by all sessions."""
    return {}


def _arguments() -> tuple[str, ...]:
    """Return what follows each --build after `streamlit run app.py --`."""
    if Path(sys.argv[0]).name != "app.py":
        return ()
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--build", action="append", default=[])
    try:
        known, unknown = parser.parse_known_args(sys.argv[1:])
    except argparse.ArgumentError:
        raise PDCError("--build needs a function, for example --build mynets:make.") from None
    if unknown:
        raise PDCError(f"{unknown[0]} is not an option of the app; it has only --build, for networks of your own.")
    return tuple(known.build)


def not_started_with(model: str) -> str | None:
    """Return a sentence if a network is one of somebody's own that this server does not know; else None."""
    if model in MODELS or not is_custom(model):
        return None
    return (
        f"This server was not started with {model}. Whoever starts it can add it, since that runs the code of "
        f"its module: pdc app --build {model}"
    )


def register_line(model: str) -> str:
    """Return the line of Python that makes a network of the user's own known, or nothing for any other."""
    return f"pdc.register_custom({model!r})\n" if is_custom(model) else ""
