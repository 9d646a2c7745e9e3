"""Reading run folders, also while their workers write: one run, all runs, and whether a worker is alive."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pdc_core.errors import PDCError
from pdc_core.runs.files import SWEEP_FILE, read_events
from pdc_core.runs.results import Report
from pdc_core.runs.spec import RunSpec, read_spec, runs_root
from pdc_core.runs.waiting import is_locked, is_starting, read_json

STATES = ("queued", "running", "paused", "done", "stopped", "failed", "interrupted")


@dataclass(frozen=True)
class Run:
    """One run folder as it is now.

    Attributes
    ----------
    folder : Path
        The folder.
    spec : RunSpec
        Its run.yaml.
    state : {"queued", "running", "paused", "done", "stopped", "failed", "interrupted"}
        "interrupted" if its worker is gone. Paused, stopped, failed and interrupted runs can be resumed from their last
        checkpoint.
    status : dict
        The last status.json: step, steps, epoch, epochs, heartbeat, pid, eta_seconds, message.
    alive : bool
        Whether a worker holds the run right now.
    report : dict or None
        report.json, once the run is done.
    results : Report or None
        The same with types.
    events : list of dict
        The history so far, read on first use.
    sweep : str
        The id of the sweep that it belongs to, or "".
    id : str
        What it is called among all runs of a root: SWEEP/NAME in a sweep, else the name of its folder.
    message : str
        What its worker said last, and of one that is gone, that it is.
    """

    folder: Path
    spec: RunSpec
    state: str
    status: dict[str, Any] = field(repr=False)
    alive: bool
    report: dict[str, Any] | None = field(repr=False)

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        return read_events(self.folder / "events.jsonl")

    @cached_property
    def results(self) -> Report | None:
        return None if self.report is None else Report.of(self.report)

    @cached_property
    def sweep(self) -> str:
        """The id of the sweep that it belongs to, or ""."""
        return self.folder.parent.name if (self.folder.parent / SWEEP_FILE).exists() else ""

    @property
    def id(self) -> str:
        """The name of its folder, after that of its sweep where it is part of one: one name for one run of a root."""
        return f"{self.sweep}/{self.folder.name}" if self.sweep else self.folder.name

    @property
    def message(self) -> str:
        return last_message(self.status, self.state)


def read_run(folder: str | Path) -> Run:
    """Read a run folder as it is now, also while its worker writes.

    Parameters
    ----------
    folder : str or Path
        The run folder.

    Raises
    ------
    PDCError
        It holds no valid run.yaml.
    """
    folder = Path(folder)
    spec = read_spec(folder)
    status, report = read_json(folder / "status.json") or {}, _read_report(folder)
    alive = is_locked(folder / "worker.lock")
    state = state_of(status, alive, "done" if report is not None else "interrupted")
    if state == "done" and report is None:  # the report is damaged; the last checkpoint restores it
        state = "interrupted"
    return Run(folder, spec, state, status, alive, report)


def state_of(status: dict[str, Any], alive: bool, otherwise: str) -> str:
    """Return the state that a status.json means, given whether a worker holds the folder.

    Parameters
    ----------
    status : dict
        Its content, or none.
    alive : bool
        Whether a worker holds the folder.
    otherwise : str
        The state where the file says none.
    """
    state = str(status.get("state", otherwise))
    if state not in STATES:
        state = "failed"
    if state in ("queued", "running") and not alive and not (state == "queued" and is_starting(status)):
        state = "interrupted"
    return state


def last_message(status: dict[str, Any], state: str) -> str:
    """Return what the worker of a run or sweep said last, and of one that is gone, that it is.

    Parameters
    ----------
    status : dict
        The content of a status.json, or none.
    state : str
        The state, as `state_of` reads it.

    Examples
    --------
    >>> last_message({"message": "training"}, "running"), last_message({"message": "training"}, "interrupted")
    ('training', 'Its process is gone.')
    """
    return "Its process is gone." if state == "interrupted" else str(status.get("message", ""))


def list_runs(root: str | Path | None = None) -> list[Run]:
    """Return all runs under the root that can be read, newest first.

    Parameters
    ----------
    root : str or Path, optional
        Folder of all runs, see `runs_root`.
    """
    found = []
    for path in sorted(runs_root(root).glob("*/run.yaml"), key=lambda p: p.parent.name, reverse=True):
        try:
            found.append(read_run(path.parent))
        except PDCError:  # not one of ours, or from another version: listed by nobody, deleted by nobody
            continue
    return sorted(found, key=lambda run: run.spec.created or "", reverse=True)


def unreadable_runs(root: str | Path | None = None) -> list[str]:
    """Return a sentence for each folder under the root whose run.yaml cannot be read.

    Parameters
    ----------
    root : str or Path, optional
        Folder of all runs, see `runs_root`.
    """
    reasons = []
    for path in sorted(runs_root(root).glob("*/run.yaml")):
        try:
            read_spec(path.parent)
        except PDCError as error:
            reasons.append(str(error))
    return reasons


def _read_report(folder: Path) -> dict[str, Any] | None:
    """Return report.json, or None if there is none or it is damaged."""
    content = read_json(folder / "report.json")
    try:
        return content if content is not None and Report.of(content) else None
    except PDCError:
        return None
