"""The exception that users of PDC see. Every public function raises it, and its message is printed as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class PDCError(ValueError):
    """Report what was given, what is allowed and what to do about it, in one or two sentences.

    The command line and the pages print the message without a traceback; any other exception that reaches the user is a
    bug in PDC.
    """


class Untraceable(PDCError):
    """Report that a forward pass cannot be followed, and which part of the network can.

    Attributes
    ----------
    why : str
        What cannot be followed, a sentence.
    part : str
        Dotted name of a part that can be traced, as `trace(inside=...)` takes it; empty where there is none.
    """

    def __init__(self, why: str, part: str = "") -> None:
        advice = f" Its part {part} can: inside={part!r} (on the command line --inside {part}) prunes that part alone."
        super().__init__(why + advice if part else why)
        self.why, self.part = why, part


def first_reason(error: ValidationError) -> tuple[str, str]:
    """Return where the first thing is that pydantic refused, in dotted names, and what is wrong with it.

    Parameters
    ----------
    error : ValidationError
        What pydantic raised.

    Returns
    -------
    tuple of str
        The place, empty for the whole; and the reason, without a full stop.
    """
    first = error.errors()[0]
    return ".".join(str(part) for part in first["loc"]), str(first["msg"]).removeprefix("Value error, ")
