"""Checkpoints on disk: a checksum, then what torch saved. The one before the last is kept until the next is whole."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

from pdc_core.files import replacing, unfinished
from pdc_core.runs.files import ADVICE

MAGIC = b"PDC checkpoint 1\n"
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write last.ckpt; the one that was there becomes previous.ckpt. At any instant one of the two is whole.

    Raises
    ------
    PDCError
        The disk is full or cannot be written; the checkpoints that were there stay.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    content, last = buffer.getbuffer(), folder / LAST
    left = unfinished(last)
    with (
        replacing(last, durable=True, previous=folder / PREVIOUS, advice=ADVICE) as temporary,
        temporary.open("wb") as file,
    ):
        file.write(MAGIC + hashlib.sha256(content).digest())
        file.write(content)
    for part in left:  # of a worker that was killed; until now one of them may have been the newest
        part.unlink(missing_ok=True)


def read_run_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the state in one checkpoint file, on the CPU, or None where it is missing, torn or not PDC's.

    Parameters
    ----------
    path : Path
        The file; nothing in it is executed.
    """
    import torch

    try:
        content = path.read_bytes()
    except OSError:
        return None
    head = len(MAGIC) + hashlib.sha256().digest_size
    if content[: len(MAGIC)] != MAGIC or hashlib.sha256(content[head:]).digest() != content[len(MAGIC) : head]:
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(content[head:]), weights_only=True, map_location="cpu")
    return state


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest whole checkpoint of a run and where it was, or None where there is none.

    Parameters
    ----------
    folder : Path
        The run folder.
    """
    last = folder / LAST
    # Beside last.ckpt, an unfinished file is half written. Without last.ckpt, a kill fell between the two renames.
    for path in (*([] if last.exists() else unfinished(last)), last, folder / PREVIOUS):
        state = read_run_checkpoint(path)
        if state is not None:
            return path, state
    return None
