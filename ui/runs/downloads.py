"""Files to take away from a run: the folded network, ONNX, plan, history and the one-page report."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from pdc_core.errors import PDCError
from pdc_core.export import export_onnx, load
from pdc_core.report import html_report
from pdc_core.runs import Run
from ui.jobs import Watched, background, show_progress

_STAY: dict[str, Any] = {"on_click": "ignore", "width": "stretch"}


def takeaway(run: Run) -> None:
    """Draw one button a file; what takes time to make is made when it is asked for."""
    row = st.columns(5, gap="small")
    weights = run.folder / "folded.safetensors"
    if weights.is_file():
        row[0].download_button(
            "Folded network",
            weights.read_bytes(),
            f"{run.id}.safetensors",
            "application/octet-stream",
            type="primary",
            help="safetensors: weights and plan, no code.",
            **_STAY,
        )
        with row[1]:
            _onnx_button(run.id, weights)
    if run.spec.plan:
        row[2].download_button(
            "Plan (JSON)", run.spec.plan.to_json(), f"{run.id}-plan.json", "application/json", **_STAY
        )
    history = pd.DataFrame(run.events).to_csv(index=False)
    row[3].download_button("History (CSV)", history, f"{run.id}-history.csv", "text/csv", **_STAY)
    row[4].download_button(
        "Report (HTML)",
        lambda: html_report(run),
        f"{run.id}.html",
        "text/html",
        help="One page with numbers and charts that opens without a network.",
        **_STAY,
    )


def _onnx_button(name: str, weights: Path) -> None:
    """Offer the ONNX file: it is exported and checked in the background once somebody asks for it."""
    missing = [package for package in ("onnxruntime", "onnxscript") if find_spec(package) is None]
    if missing:
        reason = f"ONNX needs {' and '.join(missing)} on the server: pip install -e '.[onnx]'."
        st.button("ONNX", disabled=True, help=reason, width="stretch", key="onnx_missing")
        return
    key = ("onnx", str(weights.resolve()), str(weights.stat().st_mtime_ns))
    if st.session_state.get("onnx_asked") != key:
        if st.button("Make ONNX", help="Exported and checked with onnxruntime: some seconds.", width="stretch"):
            st.session_state["onnx_asked"] = key
            st.rerun()
        return
    made: Watched[bytes] = background().request(key, lambda progress: _onnx(weights))
    show_progress(made, "Writing ONNX")
    try:
        if made.value is not None:
            st.download_button("ONNX", made.value, f"{name}.onnx", "application/octet-stream", **_STAY)
    except PDCError as error:
        st.error(str(error))


def _onnx(weights: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "folded.onnx"
        export_onnx(load(weights), file)
        return file.read_bytes()
