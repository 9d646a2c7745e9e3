"""Uploaded files: stored beside the runs under a name made from their content, never from the name they had.

A worker finds them there later. Nothing in them is trusted: only the loaders of `pdc_core` read them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pdc_core.errors import PDCError
from pdc_core.files import write_whole
from pdc_core.runs import runs_root

FOLDER = ".uploads"
MOST_BYTES = 4 * 2**30
CHECKPOINTS = ("safetensors", "pt", "pth", "th")


def store_upload(content: bytes, kind: str) -> Path:
    """Store an uploaded file and return its absolute path; the same content is stored once.

    Parameters
    ----------
    content : bytes
        The file.
    kind : str
        Its suffix without the dot, one of those that the page allows.

    Raises
    ------
    PDCError
        The uploads of this server have used up their space, or the disk is full.
    """
    folder = (runs_root() / FOLDER).resolve()
    path = folder / f"{hashlib.sha256(content).hexdigest()}.{kind}"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    used = sum(file.stat().st_size for file in folder.iterdir())
    if used + len(content) > MOST_BYTES:
        raise PDCError(
            f"Uploads on this server take up {used / 2**30:.1f} of {MOST_BYTES >> 30} GiB. Empty {folder}, or give the "
            "path of a file that is already on the server."
        )
    write_whole(path, content)
    return path
