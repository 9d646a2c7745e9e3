"""Starting and continuing runs and sweeps: in a class only what its visitors may start, in their own folders."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from pdc_core.errors import PDCError
from pdc_core.runs import RunSpec, SweepSpec, create_run, create_sweep, launch, list_runs, read_spec, resume
from pdc_core.runs.spec import write_spec
from pdc_core.runs.sweeps import resume_sweep
from ui.class_queue import admission, expect
from ui.classroom import check_run, home, in_class, located, located_data, name_of, own_root, prepare_own_root
from ui.job_view import in_words
from ui.runs.progress import session_runs


def start_run(spec: RunSpec, seconds: float) -> Path | None:
    """Write a run folder and launch its worker, which waits while another run trains; say it where that fails.

    Parameters
    ----------
    spec : RunSpec
        The run, its files named as pages name them.
    seconds : float
        How long it takes, as far as it is known.
    """
    try:
        check_run(spec, seconds, [run.id for run in list_runs(own_root())] if in_class() else [])
        with admission():
            folder = _created(spec)
            if in_class():
                expect(folder, spec.budget or seconds)
            launch(folder, home())
    except (PDCError, OSError) as error:
        st.error(in_words(error))
        return None
    session_runs().add(folder.name)
    return folder


def start_sweep(spec: SweepSpec) -> Path | None:
    """Write a sweep folder and launch its worker, which waits while a run trains; say it where that fails."""
    try:
        if in_class():
            raise PDCError("In a class, visitors start single runs: a sweep would keep all others waiting.")
        folder = create_sweep(spec)
        launch(folder, home())
    except (PDCError, OSError) as error:
        st.error(in_words(error))
        return None
    session_runs().add(folder.name)
    return folder


def continue_run(folder: Path, sweep: bool = False) -> bool:
    """Launch a worker for a run or sweep that ended early, and return whether that worked; say it where it fails."""
    try:
        with admission():
            if sweep:
                resume_sweep(folder)
            else:
                resume(folder, home())
    except (PDCError, OSError) as error:
        st.error(in_words(error))
        return False
    return True


def _created(spec: RunSpec) -> Path:
    """Write the run folder; in a class, files are named relative to the visitor's folder, where the worker starts."""
    if not in_class():
        return create_run(spec)
    root = prepare_own_root()
    paths = {"data": located_data(spec.data), "weights": located(spec.weights)}
    folder = create_run(spec.model_copy(update=paths), root)
    written = read_spec(folder)
    teacher = written.teacher
    if teacher is not None and Path(teacher).is_absolute():
        teacher = name_of(Path(teacher))
    write_spec(folder, written.model_copy(update={"data": spec.data, "weights": spec.weights, "teacher": teacher}))
    return folder
