"""Times in words, the same on the command line and in the app."""

from __future__ import annotations


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
