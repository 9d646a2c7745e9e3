"""Running a sweep: its runs one after the other in this process, or several at once in processes of their own."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pdc_core.durations import duration
from pdc_core.errors import PDCError
from pdc_core.runs.files import write
from pdc_core.runs.launching import launch
from pdc_core.runs.read import read_run
from pdc_core.runs.recorder import WeakTeacher, new_status, read_request
from pdc_core.runs.spec import create_run
from pdc_core.runs.sweeps.plans import sweep_plans
from pdc_core.runs.sweeps.processes import Processes
from pdc_core.runs.sweeps.read import Sweep, read_sweep
from pdc_core.runs.sweeps.spec import SweepSpec, read_sweep_spec
from pdc_core.runs.turn import Turn
from pdc_core.runs.waiting import is_locked, read_json
from pdc_core.runs.worker import Say, clear_request, run_worker
from pdc_core.train import Stopped
from pdc_core.train.recorder import Request

POLL = 0.3  # seconds between two looks at processes
Show = Callable[[int, int, Mapping[str, tuple[int, int]]], None]


def run_sweep(
    folder: str | Path, *, jobs: int = 1, queue: bool = False, show: Show | None = None, say: Say | None = None
) -> Sweep:
    """Do the runs of a sweep that are not finished, and return the sweep.

    A run that fails does not end the others; the state and the message of the sweep name it. Runs that were stopped,
    killed or failed earlier go on from their last checkpoints.

    Parameters
    ----------
    folder : str or Path
        The sweep folder.
    jobs : int, default 1
        Runs at the same time, 1 or more. With more than one, each is a process of its own, the cores are divided among
        them, and GPUs are dealt out in turn.
    queue : bool, default False
        Whether to wait until no other queued run or sweep of the same root trains.
    show : callable, optional
        Called with (runs that ended, runs in all, {name of a run under way: (step, steps)}).
    say : callable, optional
        Called with a sentence about each run that ends.

    Raises
    ------
    PDCError
        The sweep cannot be read, its plans cannot be made, another worker has it, or its folder cannot be written.
    WeakTeacher
        The network to learn from is near chance, and the sweep does not allow that. It is a PDCError.
    Stopped
        Somebody asked to stop or to pause the sweep.
    """
    from filelock import FileLock, Timeout

    folder, spec = Path(folder), read_sweep_spec(folder)
    if jobs < 1:
        raise PDCError(f"jobs={jobs}: give how many runs train at the same time, 1 or more.")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise PDCError("A sweep starts its own processes: give it to `pdc run`, not to torchrun; --jobs sets how many.")
    lock = FileLock(folder / "worker.lock", timeout=2)
    try:
        lock.acquire()
    except Timeout as error:
        raise PDCError(f"Another process is at work on {folder}; wait for it or stop it first.") from error
    except OSError as error:
        raise PDCError(f"The sweep folder {folder} cannot be written: {error.strerror}.") from error
    worker = _Worker(folder, spec, jobs, show, say)
    try:
        if not queue:
            clear_request(folder)
            return worker.work()
        with Turn(folder, worker.requested, lambda message: worker.state("queued", message)):
            return worker.work()
    except Stopped as stop:
        worker.last_state(stop.state, str(stop))
        clear_request(folder)
        raise
    except PDCError as error:
        worker.last_state("failed", str(error))
        raise
    except KeyboardInterrupt:
        worker.last_state("stopped", "Interrupted from the keyboard.")
        raise
    except BaseException as error:
        worker.last_state("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        lock.release()


def resume_sweep(folder: str | Path, home: str | Path | None = None) -> int:
    """Launch a worker that goes on with a sweep that is not done; return its process id.

    Parameters
    ----------
    folder : str or Path
        The sweep folder.
    home : str or Path, optional
        As `launch` takes it.

    Raises
    ------
    PDCError
        The sweep is done, or a worker is at work on it.
    """
    sweep = read_sweep(folder)
    if sweep.state == "done":
        raise PDCError(f"The sweep {sweep.id} is done; there is nothing left to do.")
    if sweep.alive:
        raise PDCError(f"A worker is at work on the sweep {sweep.id} already.")
    return launch(folder, home)


class _Worker:
    """Does the runs of one sweep, whose lock this process holds."""

    def __init__(self, folder: Path, spec: SweepSpec, jobs: int, show: Show | None, say: Say | None) -> None:
        self.folder, self.spec, self.jobs, self.show = folder, spec, jobs, show
        self.say: Say = say or (lambda _: None)
        self.names = [member.name for member in spec.members]
        self.ended: list[str] = []
        self.status: dict[str, Any] = {**new_status(folder), "jobs": jobs}

    def state(self, state: str, message: str) -> None:
        self.status.update(state=state, message=message, heartbeat=time.time())
        write(self.folder / "status.json", json.dumps(self.status))

    def last_state(self, state: str, message: str) -> None:
        with suppress(PDCError):  # on a full disk the error that is already on its way says enough
            self.state(state, message)

    def requested(self) -> Request | None:
        return read_request(self.folder)

    def work(self) -> Sweep:
        self._prepare()
        self.ended = [name for name in self.names if self._is_done(name)]
        left = [name for name in self.names if name not in self.ended]
        own_processes = self.jobs > 1 or self.spec.base.training.devices > 1
        (self._together if own_processes else self._in_turn)(left)
        failed = read_sweep(self.folder).failures
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(failed.items())[:3])
        undone = [name for name in self.names if not self._is_done(name)]
        if undone:
            which = f"{len(undone)} of {len(self.names)} runs have no result"
            self.state("failed", f"{which}. {reasons}" if reasons else f"{which}: {', '.join(undone[:3])}.")
        else:
            self.state("done", "done")
        clear_request(self.folder)
        return read_sweep(self.folder)

    def _prepare(self) -> None:
        """Make the run folders that are not there yet."""
        missing = [member for member in self.spec.members if not (self.folder / member.name / "run.yaml").exists()]
        if not missing:
            return
        self.state("running", "making the plans")
        try:
            plans = sweep_plans(
                self.spec,
                cache=self.folder.parent / "sensitivity",
                stop=lambda: self.requested() is not None,
                progress=lambda done, of: self.state("running", f"measuring the sensitivity, {done} of {of}"),
            )
        except Stopped:
            self._go_on_unless_asked()
            raise
        for member in missing:
            create_run(self.spec.run_of(member, plans[member.keep]), folder=self.folder / member.name)

    def _in_turn(self, left: list[str]) -> None:
        while (name := self._next(left)) is not None:
            self._began([name])
            try:
                run_worker(self.folder / name, show=self._steps_of(name), say=self.say)
            except Stopped:
                self._go_on_unless_asked()
            except WeakTeacher:  # nor would any other run begin
                raise
            except PDCError as error:
                self.say(f"{name} failed: {error}")
            except Exception:  # an error of ours, or of torch: the other runs may be well
                self.say(f"{name} failed:\n{traceback.format_exc()}")
            self._ended(name)

    def _together(self, left: list[str]) -> None:
        with Processes(self.jobs) as processes:
            while left or processes.names:
                while len(processes.names) < self.jobs and (free := self._free(left)):
                    left.remove(free)
                    processes.start(self.folder / free)
                    self._began(processes.names)
                for name in processes.that_ended():
                    self._ended(name)
                if not processes.names:
                    self._go_on_unless_asked()
                self._show({name: self._steps(name) for name in processes.names})
                time.sleep(POLL)
        self._go_on_unless_asked()

    def _next(self, left: list[str]) -> str | None:
        """Take the next run that nobody else trains; wait while others train all that are left."""
        self._go_on_unless_asked()
        while left:
            if free := self._free(left):
                left.remove(free)
                return free
            self._go_on_unless_asked()
            self._show({})
            time.sleep(POLL)
        return None

    def _free(self, left: list[str]) -> str | None:
        """Return a run that can be started; those that another process finished meanwhile are taken from the list."""
        if self.requested() is not None:
            return None
        for name in list(left):
            if is_locked(self.folder / name / "worker.lock"):
                continue
            if not self._is_done(name):
                return name
            left.remove(name)
            self._ended(name)
        return None

    def _go_on_unless_asked(self) -> None:
        asked = self.requested()
        if asked is not None:
            state = "paused" if asked == "pause" else "stopped"
            raise Stopped(f"{state.capitalize()} with {len(self.ended)} of {len(self.names)} runs done.", state)

    def _is_done(self, name: str) -> bool:
        try:
            return read_run(self.folder / name).state == "done"
        except PDCError:
            return False

    def _began(self, names: list[str]) -> None:
        self.state("running", f"training {', '.join(names)}")
        self._show(dict.fromkeys(names, (0, 0)))

    def _ended(self, name: str) -> None:
        """Count a run and say how it ended."""
        self.ended.append(name)
        try:
            run = read_run(self.folder / name)
        except PDCError as error:
            self.say(f"{name} failed: {error}")
        else:
            if run.results is not None and run.state == "done":
                result, seconds = run.results.result, run.results.seconds
                took = f", {duration(seconds)}" if seconds is not None else ""
                self.say(f"{name}: test accuracy {result.test_accuracy:.2%}, {result.macs:,} MACs{took}")
            elif run.state != "failed" or self.jobs > 1:
                self.say(f"{name} is {run.state}: {run.status.get('message', '')}")
        self._show({})

    def _steps_of(self, name: str) -> Callable[[int, int], None]:
        return lambda step, steps: self._show({name: (step, steps)})

    def _steps(self, name: str) -> tuple[int, int]:
        status = read_json(self.folder / name / "status.json") or {}
        return int(status.get("step") or 0), int(status.get("steps") or 0)

    def _show(self, active: Mapping[str, tuple[int, int]]) -> None:
        if self.show is not None:
            self.show(len(self.ended), len(self.names), active)
