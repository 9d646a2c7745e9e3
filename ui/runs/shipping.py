"""What ships: both networks of a run as float and INT8 files, measured by `pdc export` in a process of its own."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from pdc_core.deployment import Exported, Variant, read_exported
from pdc_core.deployment.exporting import CARD
from pdc_core.errors import PDCError
from pdc_core.runs import Run, start_command
from ui.classroom import home
from ui.drawing import percent
from ui.job_view import draw_job
from ui.jobs import Cancelled, Job, Key, jobs, request

FORMS = 6  # files that are measured
LANE = "export"  # it takes a minute, and no page should wait behind it
_NETWORK = {"before": "original", "folded": "folded", "taught": "trained"}
_STAY: dict[str, Any] = {"on_click": "ignore"}


def draw_shipping(run: Run) -> None:
    """Draw the table of what ships, or the button that measures it."""
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        st.info(f"ONNX files need packages that the server lacks ({', '.join(missing)}): pip install -e '.[onnx]'.")
        return
    found, job = read_exported(_folder(run)), jobs().known(_key(run))
    if found is not None and (job is None or job.done):
        _draw(run, found)
        return
    if job is None:
        st.markdown(
            "Writes the original and the folded network for ONNX Runtime, as float and as 8-bit integers calibrated on "
            "training images, and measures accuracy, size and latency of every file beside PyTorch on this machine."
        )
        st.button("Measure what ships", type="primary", on_click=_start, args=(run,), key="ship")
        return
    draw_job(job, "Writing and measuring six files", lambda made: _draw(run, made), "ship")


def _start(run: Run) -> None:
    where = home()  # asked here: the work is done in a thread that knows no visitor
    request(_key(run), lambda job: _export(run, where, job), lane=LANE)


def _key(run: Run) -> Key:
    return "export", str(run.folder.resolve())


def _folder(run: Run) -> Path:
    return run.folder / "export"


def _export(run: Run, where: Path | None, job: Job[Exported]) -> Exported:
    """Run the command: its threads and its memory are not those of the server."""
    with start_command(
        ["export"], run.folder, where, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stderr is not None
        reason = ""
        for line in worker.stderr:
            done = line.split(" of ")[0]
            if done.isdigit():
                job.report(int(done), FORMS)
            elif line.startswith("error: "):
                reason = line.removeprefix("error: ").strip()
            if job.stopping:
                worker.terminate()
                raise Cancelled
    found = read_exported(_folder(run))
    if worker.returncode or found is None:
        raise PDCError(reason or f"pdc export ended with exit code {worker.returncode}.")
    return found


def _draw(run: Run, found: Exported) -> None:
    st.dataframe(
        pd.DataFrame([_row(variant) for variant in found.variants]),
        hide_index=True,
        column_config={
            "size": st.column_config.NumberColumn(format="%.2f MB"),
            "test accuracy": st.column_config.NumberColumn(format="%.2f %%"),
            "same class": st.column_config.NumberColumn(
                format="%.1f %%", help="Test images that get the class which PyTorch gives them."
            ),
            **{_column(batch): st.column_config.NumberColumn(format="%.2f ms") for batch in _batches(found)},
        },
    )
    threads = f"{found.threads} thread{'s' if found.threads > 1 else ''}"
    st.caption(
        f"Median latency with {threads} on {found.machine}, {found.created[:10]}; the middle half of the calls lies "
        f"within {percent(_spread(found))} of it or less. INT8: one scale per filter, calibrated on "
        f"{found.calibration_images:,} training images."
    )
    files = [_folder(run) / variant.file for variant in found.variants if variant.engine != "PyTorch"]
    with st.container(horizontal=True):
        for file in (*files, _folder(run) / CARD):
            if file.is_file():
                name = "Model card" if file.name == CARD else file.name
                download = f"{run.id}-{'model-card.md' if file.name == CARD else file.name}"
                st.download_button(name, file.read_bytes(), download, "application/octet-stream", key=name, **_STAY)


def _row(variant: Variant) -> dict[str, Any]:
    return {
        "network": _NETWORK[variant.network],
        "runs in": variant.engine,
        "precision": "INT8" if variant.precision == "int8" else variant.precision,
        "size": variant.size / 1e6,
        "test accuracy": 100 * variant.test_accuracy,
        "same class": 100 * variant.agreement,
        **{_column(batch): 1e3 * timing.median for batch, timing in variant.latency.items()},
    }


def _batches(found: Exported) -> list[int]:
    return list(found.variants[0].latency)


def _column(batch: int) -> str:
    return f"{batch} image{'s' if batch > 1 else ''}"


def _spread(found: Exported) -> float:
    """Return the largest distance of a quartile from its median, relative to it."""
    times = [timing for variant in found.variants for timing in variant.latency.values()]
    return max(max(t.high - t.median, t.median - t.low) / t.median for t in times)
