"""Running a run folder in this process: wait for a turn, train, fold and report; requests to a worker."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from pdc_core.errors import PDCError
from pdc_core.runs.checkpoint import newest_checkpoint
from pdc_core.runs.files import SWEEP_FILE, read_events, remove_folder, write, write_history, write_labels
from pdc_core.runs.read import read_run
from pdc_core.runs.recorder import FolderRecorder
from pdc_core.runs.spec import RunSpec, read_spec, write_spec
from pdc_core.runs.teachers import RESULT
from pdc_core.runs.training import Say, train_run
from pdc_core.runs.turn import Turn
from pdc_core.runs.waiting import is_locked, read_json
from pdc_core.train import Recorder, Result, Stopped
from pdc_core.train.recorder import Request

Show = Callable[[int, int], None]


def request_stop(folder: str | Path) -> None:
    """Ask the worker of a run to stop after its current step; `resume` can go on with it.

    Parameters
    ----------
    folder : str or Path
        The run folder.
    """
    _request(folder, "stop")


def request_pause(folder: str | Path) -> None:
    """Ask the worker of a run to write a checkpoint after its current step and to end; `resume` goes on with it.

    Parameters
    ----------
    folder : str or Path
        The run folder.
    """
    _request(folder, "pause")


def request_finish(folder: str | Path) -> None:
    """Ask the worker of a run to end after its current step: tie the filters as they are, fold and report.

    Parameters
    ----------
    folder : str or Path
        The run folder.
    """
    _request(folder, "finish")


def _request(folder: str | Path, what: Request) -> None:
    write(Path(folder) / "request", what)


def clear_request(folder: str | Path) -> None:
    """Forget the requests to the worker of a run, and those to its sweep that a killed worker left behind.

    Parameters
    ----------
    folder : str or Path
        The run folder or sweep folder.
    """
    (Path(folder) / "request").unlink(missing_ok=True)
    sweep = Path(folder).parent
    if (sweep / SWEEP_FILE).exists() and not is_locked(sweep / "worker.lock"):
        (sweep / "request").unlink(missing_ok=True)


def remove_run(folder: str | Path) -> None:
    """Delete a run folder and everything in it.

    Parameters
    ----------
    folder : str or Path
        The run folder.

    Raises
    ------
    PDCError
        It is no run folder or the present one, a worker is at work on it, or it cannot be deleted.
    """
    folder = Path(folder)
    if read_run(folder).alive:
        raise PDCError(f"A worker trains {folder}; stop it first: pdc stop {folder}")
    remove_folder(folder)


def run_worker(
    folder: str | Path,
    *,
    queue: bool = False,
    show: Show | None = None,
    tensorboard: bool = False,
    say: Say | None = None,
    tell: Say | None = None,
) -> Result:
    """Run a run folder in this process: train, fold, write the report.

    Under torchrun every process calls this; the first writes the folder.

    Parameters
    ----------
    folder : str or Path
        The run folder.
    queue : bool, default False
        Whether to wait until no other queued run of the same root trains.
    show : callable, optional
        Called with (step, steps).
    tensorboard : bool, default False
        Whether event files for TensorBoard are written as well.
    say : callable, optional
        Called with sentences about the network before it is trained, such as that its last layer is new.
    tell : callable, optional
        Called with what the run does beside its steps, in a few words.

    Raises
    ------
    PDCError
        The run cannot be read, another worker has it, it is done already, or training failed (the status says so too).
    WeakTeacher
        The network to learn from is near chance, and run.yaml does not allow that. It is a PDCError.
    Stopped
        Somebody asked to stop or to pause.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    spec = read_spec(folder)
    if spec.budget is not None and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise PDCError(
            f"The run {folder} has a time budget, which one process turns into images and epochs; for several "
            "processes give images and epochs instead."
        )
    if int(os.environ.get("RANK", 0)) > 0:
        return train_run(spec, Recorder())
    if _finished(folder):
        repair_run(folder)
        raise PDCError(f"The run {folder} is done; its report.json holds the result. Start a new run for another one.")
    lock = FileLock(folder / "worker.lock", timeout=2)
    try:
        lock.acquire()
    except Timeout as error:
        raise PDCError(f"Another process trains {folder}; wait for it or stop it first.") from error
    except OSError as error:
        raise PDCError(
            f"The run folder {folder} cannot be written: {error.strerror}. Copy it to a place that you can write "
            "to, and resume it there."
        ) from error
    recorder = FolderRecorder(
        folder,
        show,
        tell=tell,
        checkpoint_seconds=spec.training.checkpoint_seconds,
        tensorboard=tensorboard,
        allow_weak_teacher=spec.allow_weak_teacher,
    )
    try:
        if not queue:
            clear_request(folder)  # a worker that waits for its turn was launched, and may be asked something already
            return _work(folder, spec, recorder, say)
        with Turn(folder, recorder.requested, lambda message: recorder.state("queued", message)):
            return _work(folder, spec, recorder, say)
    except Stopped as stop:
        _say(recorder, stop.state, str(stop))
        clear_request(folder)
        raise
    except PDCError as error:
        _say(recorder, "failed", str(error))
        raise
    except KeyboardInterrupt:
        _say(recorder, "stopped", "Interrupted from the keyboard.")
        raise
    except BaseException as error:
        _say(recorder, "failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        lock.release()


def _say(recorder: FolderRecorder, state: str, message: str) -> None:
    """Write a last status and the history; on a full disk the error that is already on its way says enough."""
    with suppress(PDCError):
        recorder.state(state, message)
        recorder.close()


def _finished(folder: Path) -> bool:
    """Return whether a run has its report and the network that it reports."""
    from pdc_core.export import header

    if read_json(folder / "report.json") is None:
        return False
    try:
        header(folder / RESULT)
    except PDCError:  # torn by a power cut: made again from the last checkpoint
        return not (folder / "last.ckpt").exists()
    return True


def repair_run(folder: str | Path) -> list[str]:
    """Restore the files of a finished run that a power cut tore; return their names.

    The history comes from the last whole checkpoint, the labels from the header of the folded network.

    Parameters
    ----------
    folder : str or Path
        The run folder.
    """
    from pdc_core.export import header

    folder, repaired = Path(folder), []
    found = newest_checkpoint(folder)
    if found is not None and len(read_events(folder / "events.jsonl")) < len(found[1]["history"]):
        write_history(folder, found[1]["history"])
        repaired += ["events.jsonl", "history.csv"]
    if (folder / "labels.npz").exists() and not _whole(folder / "labels.npz"):
        folds = header(folder / RESULT)["folds"]
        labels = {name: np.asarray(a) for name, a in folds[-1]["labels"].items()} if folds else {}
        write_labels(folder, labels)
        repaired.append("labels.npz")
    return repaired


def _whole(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.testzip() is None
    except (zipfile.BadZipFile, OSError):
        return False


def _work(folder: Path, spec: RunSpec, recorder: FolderRecorder, say: Say | None) -> Result:
    from pdc_core.export import save

    def choose(spec: RunSpec, sentence: str) -> None:
        """Write what a budget became into run.yaml, before the first step, and say it."""
        write_spec(folder, spec)
        recorder.state("running", sentence)
        if say is not None:
            say(sentence)

    timing = "" if spec.budget is None else ", timing some steps"
    recorder.state("running", f"loading data and network{timing}")
    result = train_run(spec, recorder, say, choose)
    recorder.activity("writing the result")
    save(result.folded, folder / RESULT)
    if result.best is not None:
        save(result.best, folder / "best.safetensors")
    recorder.close()
    write(folder / "report.json", json.dumps(result.report, indent=2), durable=True)
    recorder.state("done", "done", eta_seconds=0.0)
    clear_request(folder)
    return result
