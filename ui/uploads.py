"""Files that a person hands to the page: kept beside the runs under a name made from their content, never from theirs.

A worker finds them there later. Nothing in them is trusted: they are read by the loaders of `pdc_core` alone.
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
    content : the file.
    kind : its ending, without a dot, one of those that the page allows.

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
            f"The uploads of this server take {used / 2**30:.1f} GiB, {MOST_BYTES >> 30} are allowed: empty {folder}, "
            "or give the path of a file that lies on the server already."
        )
    write_whole(path, content)
    return path
