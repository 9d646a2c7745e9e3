"""Pictures that need no charting library: SVG written by hand, which a page or a notebook shows at once."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pdc_core.charts.palette import signed_colour
from pdc_core.errors import PDCError
from pdc_core.files import write_whole

_LETTER = 17  # pixels of a letter on the page beside which a unit is a pixel; with larger ones the picture grows
_MARGIN, _HEADING = 16, 26  # around a saved picture, and above it for its title
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

    @property
    def svg(self) -> str:
        """The picture as the text of an SVG file, dark on white, with its title."""
        width, height = self.width + 2 * _MARGIN, self.height + 2 * _MARGIN + _HEADING
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img" color="{_INK}" '
            f'viewBox="{-_MARGIN} {-_MARGIN - _HEADING} {width} {height}" font-family="sans-serif" font-size="14">'
            f"<title>{escape(self.title)}</title><desc>{escape(self.alt)}</desc>"
            f'<rect x="{-_MARGIN}" y="{-_MARGIN - _HEADING}" width="{width}" height="{height}" fill="#ffffff"/>'
            f'<text y="{8 - _HEADING}" font-size="17" font-weight="600" fill="currentColor">{escape(self.title)}</text>'
            f"{self.body}</svg>\n"
        )

    def save(self, path: str | Path) -> None:
        """Write the picture to an SVG file.

        Parameters
        ----------
        path : str or Path
            The file; its name ends in .svg, and its folder has to exist.

        Raises
        ------
        PDCError
            The name ends otherwise, or the file cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "square.svg"
        >>> Drawing("A square", "One square.", 9, 9, '<rect width="9" height="9"/>').save(file)
        >>> file.read_text(encoding="utf-8")[:4]
        '<svg'
        """
        if Path(path).suffix.lower() != ".svg":
            raise PDCError(f"{path} does not end in .svg; pictures of this kind are written as SVG.")
        write_whole(path, self.svg)

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
