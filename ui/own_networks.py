"""Networks and data of the user's own: those that the person who started the server named, and no others.

They are named by `pdc app --build` and `--build-data`, by the same options after `streamlit run app.py --`, or by the
environment variables PDC_BUILD and PDC_BUILD_DATA. Nothing that a visitor sends (an address, an upload, a form) is ever
imported.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import streamlit as st

from pdc_core.data import custom_data_names, environment_data_targets, is_custom_data, register_all_data
from pdc_core.errors import PDCError
from pdc_core.models import MODELS, environment_targets, is_custom, register_all


def register_own() -> tuple[str, ...]:
    """Register what the server was started with, and return a sentence for everything that cannot be used.

    A module that fails is tried once per server and reported on its terminal too.
    """
    failed = _failures()
    try:
        networks, data = _arguments()
    except PDCError as error:
        return (str(error), *failed.values())
    wanted = [(register_all, target) for target in (*networks, *environment_targets()) if target not in MODELS]
    wanted += [
        (register_all_data, target)
        for target in (*data, *environment_data_targets())
        if target not in custom_data_names()
    ]
    for register, target in dict.fromkeys(wanted):
        if target not in failed:
            try:
                register([target])
            except PDCError as error:
                failed[target] = str(error)
                print(f"error: {error}", file=sys.stderr)
    return tuple(failed.values())


@st.cache_resource(show_spinner=False)
def _failures() -> dict[str, str]:
    """Return what could not be registered, with the reason; shared by all sessions."""
    return {}


def _arguments() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what follows each --build and each --build-data after `streamlit run app.py --`."""
    if Path(sys.argv[0]).name != "app.py":
        return (), ()
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--build", action="append", default=[])
    parser.add_argument("--build-data", action="append", default=[])
    try:
        known, unknown = parser.parse_known_args(sys.argv[1:])
    except argparse.ArgumentError:
        raise PDCError("--build and --build-data need a function, for example --build mynets:make.") from None
    if unknown:
        raise PDCError(
            f"{unknown[0]} is not an option of the app; it has only --build and --build-data, for networks and data of "
            "your own."
        )
    return tuple(known.build), tuple(known.build_data)


def not_started_with(model: str) -> str | None:
    """Return a sentence if a network is one of somebody's own that this server does not know; else None."""
    if model in MODELS or not is_custom(model):
        return None
    return (
        f"This server was not started with {model}. Whoever starts it can add it, since that runs the code of "
        f"its module: pdc app --build {model}"
    )


def data_not_started_with(data: str) -> str | None:
    """Return a sentence if data is somebody's own that this server does not know; else None."""
    if data in custom_data_names() or not is_custom_data(data):
        return None
    return (
        f"This server was not started with {data}. Whoever starts it can add it, since that runs the code of "
        f"its module: pdc app --build-data {data}"
    )


def register_line(model: str) -> str:
    """Return the line of Python that makes a network of the user's own known, or nothing for any other."""
    return f"pdc.register_custom({model!r})\n" if is_custom(model) else ""
