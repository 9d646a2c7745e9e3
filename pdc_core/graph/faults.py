"""What the errors of a trace quote: the line of the user's code at which it stopped, and what code of theirs raised."""

from __future__ import annotations

import linecache
import sys

import torch


def user_line() -> str:
    """Return «, in file.py, line 12: `code`» for the innermost line of code that is neither torch's nor PDC's."""
    frame = sys._getframe(1)
    own = (f"{torch.__path__[0]}/", __file__.rpartition("graph")[0])
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(own) and not name.startswith("<"):
            code = linecache.getline(name, frame.f_lineno).strip()
            return f", in {name.rpartition('/')[2]}, line {frame.f_lineno}: `{code}`"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def needs_values(error: BaseException) -> bool:
    """Return whether an operation failed on the meta device since torch needs values to tell its result."""
    return isinstance(error, NotImplementedError | RuntimeError) and "meta" in str(error).lower()
