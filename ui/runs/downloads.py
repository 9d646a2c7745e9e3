"""Export of a run: the folded network, ONNX, plan, history and the one-page report."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from pdc_core.export import export_onnx, load
from pdc_core.report import html_report
from pdc_core.runs import Run
from pdc_core.runs.teachers import RESULT
from ui.job_view import draw_job
from ui.jobs import Job, request

_STAY: dict[str, Any] = {"on_click": "ignore", "width": "stretch"}


def file_stem(run: Run) -> str:
    """Return how the files of a run are called: its id, without the slash of a run that belongs to a sweep."""
    return run.id.replace("/", "-")


def draw_downloads(run: Run) -> None:
    """Draw one button per file; files that take time to make are made on request."""
    row, name = st.columns(5, gap="small"), file_stem(run)
    weights = run.folder / RESULT
    if weights.is_file():
        row[0].download_button(
            "Folded network",
            weights.read_bytes(),
            f"{name}.safetensors",
            "application/octet-stream",
            type="primary",
            help="A safetensors file with weights and plan, no code.",
            **_STAY,
        )
        with row[1]:
            _onnx_button(name, weights)
    if run.spec.plan:
        row[2].download_button("Plan (JSON)", run.spec.plan.to_json(), f"{name}-plan.json", "application/json", **_STAY)
    history = pd.DataFrame(run.events).to_csv(index=False)
    row[3].download_button("History (CSV)", history, f"{name}-history.csv", "text/csv", **_STAY)
    row[4].download_button(
        "Report (HTML)",
        lambda: html_report(run),
        f"{name}.html",
        "text/html",
        help="One page with numbers and charts that opens offline.",
        **_STAY,
    )


def _onnx_button(name: str, weights: Path) -> None:
    """Draw the ONNX button: the file is exported and checked in the background on request."""
    missing = [package for package in ("onnxruntime", "onnxscript") if find_spec(package) is None]
    if missing:
        reason = f"ONNX export needs {' and '.join(missing)} on the server: pip install -e '.[onnx]'."
        st.button("ONNX", disabled=True, help=reason, width="stretch", key="onnx_missing")
        return
    key = ("onnx", str(weights.resolve()), str(weights.stat().st_mtime_ns))
    if st.session_state.get("onnx_requested") != key:
        if st.button(
            "Export ONNX",
            help="Takes a few seconds; the file is checked with onnxruntime.",
            width="stretch",
        ):
            st.session_state["onnx_requested"] = key
            st.rerun()
        return
    job: Job[bytes] = request(key, lambda _: _onnx(weights))

    def offer(content: bytes) -> None:
        st.download_button("ONNX", content, f"{name}.onnx", "application/octet-stream", **_STAY)

    draw_job(job, "Exporting to ONNX", offer, "onnx")


def _onnx(weights: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "folded.onnx"
        export_onnx(load(weights), file)
        return file.read_bytes()
