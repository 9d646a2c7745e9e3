"""Uploaded files: stored beside the runs under a name made from their content, never from the name they had.

A worker finds them there later. Nothing in them is trusted: only the loaders of `pdc_core` read them.
"""

from __future__ import annotations

import hashlib

from pdc_core.errors import PDCError
from pdc_core.files import write_whole
from ui.classroom import UPLOADS, check_content, check_upload, in_class, name_of, own_root, prepare_own_root

MOST_BYTES = 4 * 2**30
CHECKPOINTS = ("safetensors", "pt", "pth", "th")
KINDS = ("npz", *CHECKPOINTS)


def store_upload(content: bytes, kind: str) -> str:
    """Store an uploaded file and return how pages name it (`classroom.name_of`); the same content is stored once.

    Parameters
    ----------
    content : bytes
        The file.
    kind : str
        Its suffix without the dot, one of `KINDS`.

    Raises
    ------
    PDCError
        The suffix is another, the uploads of this server or this visitor have used up their space, the disk is full,
        or a class does not allow what is in the file.
    """
    if kind not in KINDS:
        raise PDCError(f"A file .{kind[:20]} cannot be read; upload one that ends in .{', .'.join(KINDS)}.")
    folder = (own_root() / UPLOADS).resolve()
    path = folder / f"{hashlib.sha256(content).hexdigest()}.{kind}"
    if path.exists():
        return name_of(path)
    if in_class():
        check_upload(content, kind, own_root())
    used = sum(file.stat().st_size for file in folder.glob("*"))
    if used + len(content) > MOST_BYTES:
        raise PDCError(
            f"Uploads on this server take up {used / 2**30:.1f} of {MOST_BYTES >> 30} GiB. Empty {folder}, or give the "
            "path of a file that is already on the server."
        )
    prepare_own_root()
    folder.mkdir(exist_ok=True)
    write_whole(path, content)
    if in_class():
        try:
            check_content(path)
        except PDCError as error:
            path.unlink()
            raise PDCError(str(error).replace(str(path), "the file")) from error
    return name_of(path)
