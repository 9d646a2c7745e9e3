"""Files of a run folder: written whole and kept through a power cut, read whatever state they are in."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pdc_core.errors import PDCError
from pdc_core.files import cannot_write, write_whole

SWEEP_FILE = "sweep.yaml"  # what a folder of runs that belong together holds
_FIRST = {"status.json", "request", "worker.lock", ".DS_Store"}  # of a run that was killed while it was made
ADVICE = "Free some space or make the folder writable; the run then continues from its last checkpoint."


def make_folder(path: Path, kind: str) -> None:
    """Make the folder of a new run or sweep. Whoever removes that removes the folder, so it has to be its own.

    Raises
    ------
    PDCError
        It holds a run, a sweep or other files already, or cannot be made.
    """
    advice = f"choose another folder for this {kind}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        found = {file.name for file in path.iterdir()}
    except OSError as error:
        raise PDCError(f"The {kind} folder {path} cannot be written: {error.strerror}.") from error
    for file, what in ((SWEEP_FILE, "sweep"), ("run.yaml", "run")):
        if file in found:
            raise PDCError(f"{path} holds a {what} already; {advice}, or go on with it: pdc run {path}")
    if others := sorted(name for name in found - _FIRST if not name.endswith(".part")):
        some = ", ".join(others[:3]) + (" and others" if len(others) > 3 else "")
        raise PDCError(f"{path.absolute()} holds other files ({some}); {advice}, one that is new or empty.")


def remove_folder(folder: Path) -> None:
    """Delete the folder of a run or sweep with everything in it.

    Raises
    ------
    PDCError
        Somebody works in it, or it cannot be deleted.
    """
    if Path.cwd().is_relative_to(folder.resolve()):
        raise PDCError(f"{folder.resolve()} is the folder that you are in; change to another one to delete it.")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise PDCError(f"{folder} cannot be deleted: {error.strerror}.") from error


def write(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file of a run whole or not at all, see `pdc_core.files.write_whole`."""
    write_whole(path, content, durable=durable, advice=ADVICE)


def append(path: Path, line: str) -> None:
    """Append a line. Raises as `write` does."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise cannot_write(path, error, ADVICE) from error


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a history; one that is torn, or not JSON, is left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    events = []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            events.append(record)
    return events


def table(history: Sequence[dict[str, Any]]) -> str:
    """Return a history as CSV, one line a record, every key that occurs a column.

    >>> print(table([{"kind": "train", "loss": 0.5}, {"kind": "evaluation", "val_accuracy": 0.9}]).strip())
    kind,loss,val_accuracy
    train,0.5,
    evaluation,,0.9
    """
    columns = list(dict.fromkeys(key for record in history for key in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


def write_events(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write a whole history as events.jsonl."""
    write(folder / "events.jsonl", "".join(json.dumps(record) + "\n" for record in history))


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write a whole history as events.jsonl and as history.csv."""
    write_events(folder, history)
    write(folder / "history.csv", table(history))


def write_labels(folder: Path, labels: Mapping[str, NDArray[np.int64]]) -> None:
    """Write labels.npz."""
    buffer = io.BytesIO()
    np.savez(buffer, **labels)  # type: ignore[arg-type]
    write(folder / "labels.npz", buffer.getvalue())
