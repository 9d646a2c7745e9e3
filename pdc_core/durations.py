"""Times in words, and words as times, the same on the command line and in the app."""

from __future__ import annotations

import math
import re

from pdc_core.errors import PDCError

_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


def duration(seconds: float) -> str:
    """Return a time in words.

    Parameters
    ----------
    seconds : float
        0 or more.

    Returns
    -------
    str
        In whole seconds, minutes and seconds, or hours and minutes; at least 1 s. What is 0 is left out.

    Examples
    --------
    >>> duration(0.2), duration(40), duration(180), duration(200), duration(7_500)
    ('1 s', '40 s', '3 min', '3 min 20 s', '2 h 5 min')
    """
    whole = max(1, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    parts = ((hours, "h"), (minutes, "min"), (0 if hours else whole % 60, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def seconds_of(text: str | float) -> float:
    """Return the seconds that a time in words means.

    Parameters
    ----------
    text : str or float
        A number of seconds, or a number and s, min or h, such as "30 s" or "2min".

    Returns
    -------
    float
        Above 0.

    Raises
    ------
    PDCError
        It is written otherwise.

    Examples
    --------
    >>> seconds_of("30 s"), seconds_of("2min"), seconds_of("1.5h"), seconds_of(90)
    (30.0, 120.0, 5400.0, 90.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)", str(text).strip().lower())
    seconds = float(found[1]) * _UNITS.get(found[2], 0.0) if found else 0.0
    if not 0 < seconds < math.inf:
        raise PDCError(f"{text} is no time; give a number above 0 with s, min or h, such as 30s, 2min or 1h.")
    return seconds
