"""How a server of the app is told that it serves a class: two environment variables, which `pdc app --class` sets."""

from __future__ import annotations

import os
import secrets

from pdc_core.errors import PDCError

CLASS, PIN = "PDC_CLASS", "PDC_CLASS_PIN"
SHORTEST_PIN = 6  # characters


def class_environment(pin: str = "") -> dict[str, str]:
    """Return the environment variables by which the app serves a class.

    Parameters
    ----------
    pin : str, default ""
        The lecturer's PIN; by default that of the environment variable PDC_CLASS_PIN, else 6 digits that are made up.

    Returns
    -------
    dict of str to str
        PDC_CLASS and PDC_CLASS_PIN.

    Raises
    ------
    PDCError
        The PIN is too short.

    Examples
    --------
    >>> class_environment("correct horse")
    {'PDC_CLASS': '1', 'PDC_CLASS_PIN': 'correct horse'}
    """
    pin = (pin or os.environ.get(PIN, "")).strip()
    if pin and len(pin) < SHORTEST_PIN:
        raise PDCError(f"The PIN has {len(pin)} characters; give {SHORTEST_PIN} or more, or leave it out.")
    return {CLASS: "1", PIN: pin or f"{secrets.randbelow(10**SHORTEST_PIN):0{SHORTEST_PIN}}"}
