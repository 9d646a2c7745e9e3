"""Pictures that need no charting library: SVG written by hand, which a page or a notebook shows at once."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pdc_core.charts.palette import signed_colour

_LETTER = 17  # pixels of a letter on the page beside which a unit is a pixel; with larger ones the picture grows
_INK = "#1c2126"  # on cells, which are light on a dark page too


@dataclass(frozen=True)
class Drawing:
    """A picture with its title.

    Attributes
    ----------
    title : str
        Shown above the picture.
    alt : str
        The picture in words, for those who do not see it.
    width, height : int
        Its size in the units of `body`.
    body : str
        SVG elements; text without a colour has the page's.
    """

    title: str
    alt: str
    width: int
    height: int
    body: str

    @property
    def html(self) -> str:
        """The picture as an HTML element, as wide as there is room, at most its own width."""
        alt = escape(f"{self.title}. {self.alt}", quote=True)
        return (
            f'<div style="max-width:{self.width / _LETTER:.1f}em"><div style="font-weight:600;margin-bottom:.4em">'
            f'{escape(self.title)}</div><svg role="img" aria-label="{alt}" viewBox="0 0 {self.width} {self.height}" '
            f'style="display:block;width:100%;font-size:14px">{self.body}</svg></div>'
        )

    def _repr_html_(self) -> str:
        """Show the picture in a notebook."""
        return self.html


def panel(
    values: NDArray[Any], x: float, y: float, side: float, name: str, bound: float, digits: int | None = None
) -> str:
    """Draw an array as cells in signed colours, with its name above it; on hover its numbers.

    Parameters
    ----------
    values : array of float, shape (rows, columns)
        The array.
    x, y : float
        Upper left corner.
    side : float
        Width and height of the panel.
    name : str
        Written above it.
    bound : float
        The |value| of full colour.
    digits : int, optional
        Write the numbers into the cells, with this many decimals.

    Returns
    -------
    str
        SVG elements.
    """
    rows, columns = values.shape
    wide, high = side / columns, side / rows
    parts = [f'<text x="{x + side / 2:g}" y="{y - 7:g}" text-anchor="middle" fill="currentColor">{escape(name)}</text>']
    for (i, j), value in np.ndenumerate(values):
        left, top, shade = x + j * wide, y + i * high, signed_colour(value / bound)
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide - 1:.1f}" height="{high - 1:.1f}" '
            f'fill="{shade}"><title>{escape(name)}, row {i}, column {j}: {value:.3f}</title></rect>'
        )
        if digits is not None:
            parts.append(
                f'<text x="{left + wide / 2:.1f}" y="{top + high / 2 + 4.5:.1f}" text-anchor="middle" font-size="13" '
                f'fill="{_INK}" pointer-events="none">{value:.{digits}f}</text>'
            )
    return "".join(parts)
