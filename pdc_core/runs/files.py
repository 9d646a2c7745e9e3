"""Files of a run folder: written whole and kept through a power cut, read whatever state they are in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pdc_core.files import cannot_write, write_whole

SWEEP_FILE = "sweep.yaml"  # what a folder of runs that belong together holds
ADVICE = "Free some space or make the folder writable; the run then continues from its last checkpoint."


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
