"""How figures name, colour and mark a method; equal in every figure, whatever else is drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pdc_core.baselines import METHOD_HELP
from pdc_core.charts.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, colour, symbol


@dataclass(frozen=True)
class MethodLook:
    """A method in a figure.

    Attributes
    ----------
    name : str
        For legends.
    colour : str
        A CSS colour.
    symbol : str
        A marker symbol of plotly's.
    """

    name: str
    colour: str
    symbol: str

    @property
    def plain(self) -> str:
        """The name without its line break."""
        return self.name.replace("<br>", " ")


_KNOWN = {
    "pdc": MethodLook("PDC", BLUE, "circle"),
    "l1": MethodLook("L1 norm", ORANGE, "square"),
    "fpgm": MethodLook("FPGM", GREEN, "diamond"),
    "folding": MethodLook("folding", SKY, "triangle-up"),
    "folding_bn": MethodLook("folding, norms", PURPLE, "triangle-down"),
    "random": MethodLook("random", GREY, "x"),
    "scratch": MethodLook("from scratch", GREY, "cross"),
    "whole": MethodLook("trained as long,<br>not pruned", VERMILION, "star"),
}


def method_look(method: str) -> MethodLook:
    """Return the name, colour and symbol of a method.

    Parameters
    ----------
    method : str
        Its name in a run; methods that were registered later have a look too.

    Returns
    -------
    MethodLook
        The same for every call.

    Examples
    --------
    >>> method_look("l1").name, method_look("l1").symbol
    ('L1 norm', 'square')
    """
    if method in _KNOWN:
        return _KNOWN[method]
    others = [name for name in METHOD_HELP if name not in _KNOWN]
    place = others.index(method) if method in others else len(others)
    return MethodLook(method, colour(place), f"{symbol(place)}-dot")


def method_order(methods: Iterable[str]) -> list[str]:
    """Return methods, each once, in the order in which figures list them: PDC first, the reference last.

    Parameters
    ----------
    methods : iterable of str
        Their names, in any order.

    Examples
    --------
    >>> method_order(["whole", "l1", "pdc", "l1"])
    ['pdc', 'l1', 'whole']
    """
    known = [name for name in _KNOWN if name != "whole"]
    places = {name: i for i, name in enumerate([*known, *(name for name in METHOD_HELP if name not in _KNOWN)])}
    return sorted(dict.fromkeys(methods), key=lambda name: (name == "whole", places.get(name, len(places))))
