"""Reading sweep folders, also while their workers write: one sweep, all sweeps, and how far they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from pdc_core.errors import PDCError
from pdc_core.runs.files import SWEEP_FILE, remove_folder
from pdc_core.runs.read import Run, last_message, read_run, state_of
from pdc_core.runs.spec import runs_root
from pdc_core.runs.sweeps.spec import Member, SweepSpec, read_sweep_spec
from pdc_core.runs.waiting import is_locked, read_json


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is.

    Attributes
    ----------
    done : int
        Runs that are finished.
    failed : int
        Runs that ended with an error.
    total : int
        Planned runs.
    share : float
        Steps that are done, as a share of all: 0 to 1.
    eta_seconds : float or None
        Seconds that the rest will take, from the runs that are finished; None while none is and no step was timed.
    """

    done: int
    failed: int
    total: int
    share: float
    eta_seconds: float | None


@dataclass(frozen=True)
class Sweep:
    """One sweep folder as it is now.

    Attributes
    ----------
    folder : Path
        The folder.
    spec : SweepSpec
        Its sweep.yaml.
    runs : tuple of Run
        Its runs that have begun or wait, in the order in which they are done.
    state : {"queued", "running", "paused", "done", "stopped", "failed", "interrupted"}
        "done" once every run is, "failed" if all ended and some of them with an error. Every other one can be
        continued.
    status : dict
        The last status.json: message, heartbeat, pid, host, jobs.
    alive : bool
        Whether a worker holds the sweep right now.
    id : str
        The name of the folder.
    message : str
        What its worker said last, and of one that is gone, that it is.
    """

    folder: Path
    spec: SweepSpec
    runs: tuple[Run, ...]
    state: str
    status: dict[str, Any] = field(repr=False)
    alive: bool

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def message(self) -> str:
        return last_message(self.status, self.state)

    @cached_property
    def failures(self) -> dict[str, str]:
        """Why runs failed, by the names of their folders."""
        return {run.folder.name: str(run.status.get("message", "")) for run in self.runs if run.state == "failed"}

    @cached_property
    def progress(self) -> SweepProgress:
        """How far it is."""
        planned, runs = self.spec.members, {run.folder.name: run for run in self.runs}
        done = [run for run in self.runs if run.state == "done"]
        shares = [_share(runs[member.name]) if member.name in runs else 0.0 for member in planned]
        return SweepProgress(
            done=len(done),
            failed=len(self.failures),
            total=len(planned),
            share=sum(shares) / len(planned),
            eta_seconds=0.0 if len(done) == len(planned) else self._rest(dict(zip(planned, shares, strict=True))),
        )

    def _rest(self, shares: dict[Member, float]) -> float | None:
        """Return the seconds that are left, of all processes together: runs take as long as those most like them."""
        known = {
            _member(run): float(run.report["seconds"]) for run in self.runs if run.report and "seconds" in run.report
        }
        for run in self.runs:
            left, share = run.status.get("eta_seconds"), _share(run)
            if run.state == "running" and left and share:
                known[_member(run)] = float(left) / max(1e-9, 1 - share)
        if not known:
            return None
        rest = sum(_expected(member, known) * (1 - share) for member, share in shares.items())
        return rest / max(1, int(self.status.get("jobs", 1)))


def _member(run: Run) -> Member:
    """Return which planned run a run is: its folder says the keep ratio, which its plan holds only rounded."""
    ratio = run.folder.name.partition("-keep")[2].rpartition("-seed")[0]
    return Member(run.spec.method, float(ratio) if ratio else None, run.spec.seed)


def _expected(member: Member, known: dict[Member, float]) -> float:
    """Return the mean seconds of the known runs of the nearest keep ratio: of the same method, else of all."""
    own = {other: seconds for other, seconds in known.items() if other.method == member.method} or known
    away = {other: abs((other.keep or 1.0) - (member.keep or 1.0)) for other in own}
    nearest = [seconds for other, seconds in own.items() if away[other] <= min(away.values())]
    return sum(nearest) / len(nearest)


def _share(run: Run) -> float:
    step, steps = int(run.status.get("step") or 0), int(run.status.get("steps") or 0)
    return 1.0 if run.state == "done" else min(1.0, step / steps) if steps else 0.0


def is_sweep(path: str | Path) -> bool:
    """Return whether a path is a sweep folder.

    Parameters
    ----------
    path : str or Path
        Any path.
    """
    return (Path(path) / SWEEP_FILE).is_file()


def is_sweep_recipe(path: str | Path) -> bool:
    """Return whether a path is a recipe that describes a sweep, rather than a run.

    Parameters
    ----------
    path : str or Path
        Any path; only files that end in .yaml or .yml are recipes.
    """
    path = Path(path)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):  # whoever reads it says what is wrong
        return False
    return isinstance(content, dict) and "base" in content


def read_sweep(folder: str | Path) -> Sweep:
    """Read a sweep folder as it is now, also while its worker writes.

    Parameters
    ----------
    folder : str or Path
        The sweep folder.

    Raises
    ------
    PDCError
        It holds no valid sweep.yaml.
    """
    folder = Path(folder)
    spec, alive = read_sweep_spec(folder), is_locked(folder / "worker.lock")
    runs = []
    for member in spec.members:
        try:
            runs.append(read_run(folder / member.name))
        except PDCError:  # not made yet, or damaged: then its worker says so when its turn comes
            continue
    status = read_json(folder / "status.json") or {}
    complete = len(runs) == len(spec.members) and all(run.state == "done" for run in runs)
    state = state_of(status, alive, "done" if complete else "interrupted")
    if complete and not alive:
        state = "done"
    elif state == "done" and not complete:  # a run was removed, or its report is damaged
        state = "interrupted"
    return Sweep(folder, spec, tuple(runs), state, status, alive)


def list_sweeps(root: str | Path | None = None) -> list[Sweep]:
    """Return all sweeps under the root that can be read, newest first.

    Parameters
    ----------
    root : str or Path, optional
        Folder of all runs, see `runs_root`.
    """
    found = []
    for path in sorted(runs_root(root).glob(f"*/{SWEEP_FILE}"), key=lambda p: p.parent.name, reverse=True):
        try:
            found.append(read_sweep(path.parent))
        except PDCError:  # from another version: listed by nobody, deleted by nobody
            continue
    return sorted(found, key=lambda sweep: sweep.spec.created or "", reverse=True)


def unreadable_sweeps(root: str | Path | None = None) -> list[str]:
    """Return a sentence for each folder under the root whose sweep.yaml cannot be read.

    Parameters
    ----------
    root : str or Path, optional
        Folder of all runs, see `runs_root`.
    """
    reasons = []
    for path in sorted(runs_root(root).glob(f"*/{SWEEP_FILE}")):
        try:
            read_sweep_spec(path.parent)
        except PDCError as error:
            reasons.append(str(error))
    return reasons


def remove_sweep(folder: str | Path) -> None:
    """Delete a sweep folder with all its runs.

    Parameters
    ----------
    folder : str or Path
        The sweep folder.

    Raises
    ------
    PDCError
        It is no sweep folder or the present one, a worker is at work on it, or it cannot be deleted.
    """
    sweep = read_sweep(folder)
    if sweep.alive or any(run.alive for run in sweep.runs):
        raise PDCError(f"A worker is at work on {folder}; stop it first: pdc stop {folder}")
    remove_folder(sweep.folder)
