"""Times in words, the same on the command line and in the app."""

from __future__ import annotations

import math
import re

from pdc_core.errors import PDCError

_UNITS = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|min|m|h)\s*")


def duration(seconds: float) -> str:
    """Return a time in words.

    Parameters
    ----------
    seconds : float
        0 or more.

    Returns
    -------
    str
        In whole seconds, minutes and seconds, or hours and minutes; at least 1 s.

    Examples
    --------
    >>> duration(0.2), duration(40), duration(200), duration(7_500)
    ('1 s', '40 s', '3 min 20 s', '2 h 5 min')
    """
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def seconds_of(text: str) -> float:
    """Return the seconds in a time that a person wrote.

    Parameters
    ----------
    text : str
        Numbers with their units s, min or h, such as "30s", "2min" or "1 h 30 min". A number alone counts seconds.

    Raises
    ------
    PDCError
        It is not written like that, or not above 0.

    Examples
    --------
    >>> seconds_of("30s"), seconds_of("2 min"), seconds_of("1h30min"), seconds_of("90")
    (30.0, 120.0, 5400.0, 90.0)
    """
    parts = _PART.findall(text)
    if parts and not _PART.sub("", text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    else:
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
    if not 0 < seconds < math.inf:
        raise PDCError(f"{text!r} is not a time above 0; write 30s, 2min or 1h30min.")
    return seconds


def compact(seconds: float) -> str:
    """Return a time as `seconds_of` reads it, in the largest unit in which it is a whole number.

    Parameters
    ----------
    seconds : float
        Above 0.

    Examples
    --------
    >>> compact(120.0), compact(90.0), compact(3600), compact(1.5)
    ('2min', '90s', '1h', '1.5s')
    """
    for unit in ("h", "min"):
        if seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds:.0f}s" if float(seconds).is_integer() else f"{float(seconds)!r}s"
