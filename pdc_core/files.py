"""The one way in which PDC writes files: whole or not at all, so that no reader ever sees half of one.

The content goes to a temporary file beside the target, which is then renamed. Writers of the same file, in threads or
in processes, use temporary files of their own.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pdc_core.errors import PDCError

ADVICE = "Free some space or choose another folder."


def write_whole(path: str | Path, content: str | bytes, *, durable: bool = False, advice: str = ADVICE) -> None:
    """Write a file; readers see the old content or the new one, never a part of it.

    Parameters
    ----------
    path : str or Path
        The file. Its folder has to exist.
    content : str or bytes
        Text is written as UTF-8.
    durable : bool, default False
        Wait until the content and the name of the file are on the disk, so that a power cut cannot undo the write.
    advice : str
        What to do if the file cannot be written, the last sentence of the error.

    Raises
    ------
    PDCError
        If the disk is full or the folder cannot be written to; the old file stays.
    """
    with replacing(path, durable=durable, advice=advice) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(
    path: str | Path, *, durable: bool = False, previous: Path | None = None, advice: str = ADVICE
) -> Iterator[Path]:
    """Give a temporary path to write to, and put that file in the place of `path` at the end of the with block.

    If the block raises, the temporary file is removed and `path` stays as it was.

    Parameters
    ----------
    path : str or Path
        The file to replace. Its folder has to exist.
    durable : bool, default False
        Wait until the content and the name of the file are on the disk.
    previous : Path, optional
        Where to keep the file that was there before. Between the two renames there is no file at `path`;
        `unfinished` finds the new one for readers who come after a kill at that moment.
    advice : str
        What to do if the file cannot be written, the last sentence of the error.

    Yields
    ------
    Path
        A file in the folder of `path` that does not exist yet.

    Raises
    ------
    PDCError
        If the disk is full or the folder cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        if durable:
            _sync(temporary)
        if previous is not None and path.exists():
            path.replace(previous)
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, advice) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def unfinished(path: str | Path) -> list[Path]:
    """Return the temporary files of a path that killed writers left behind.

    Parameters
    ----------
    path : str or Path
        The file that they were to replace. Nobody may be writing it now.

    Returns
    -------
    list of Path
        Newest first. Any of them may be cut off.
    """
    path = Path(path)
    found = [f for f in path.parent.glob(".*.part") if f.name.startswith(f".{path.name}.")]
    return sorted(found, key=lambda file: file.stat().st_mtime_ns, reverse=True)


def cannot_write(path: str | Path, error: OSError, advice: str = ADVICE) -> PDCError:
    """Return the error for a file that cannot be written.

    Parameters
    ----------
    path : str or Path
        The file.
    error : OSError
        What the system raised.
    advice : str
        What to do about it, a sentence.

    Returns
    -------
    PDCError
        To be raised from `error`.
    """
    return PDCError(f"{path} cannot be written: {error.strerror or error}. {advice}")


def _sync(file: Path) -> None:
    with file.open("r+b") as opened:  # Windows flushes only files that are open for writing
        os.fsync(opened.fileno())


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system offers that."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
