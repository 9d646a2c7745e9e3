"""How numbers, figures and pictures appear on every page."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pdc_core import charts
from ui.choice import lecture
from ui.components import component

if TYPE_CHECKING:
    import plotly.graph_objects as go

_CHART = {"displaylogo": False, "scrollZoom": False, "modeBarButtons": [["toImage"]]}  # a camera button on hover
# The grey text of Streamlit's chart theme is too faint on a projector.
_FONT = '"Source Sans", sans-serif'
_FLUSHED, _FIRST = "waited_before_charts", 0.6  # seconds
_LARGER = 1.25  # figures in a lecture: their font sizes are in pixels and would not grow
_drawing = component("drawing")
INK = {"light": "#2b3138", "dark": "#e3e7eb"}
# The plotly symbols of `charts.SYMBOLS` as characters, so that a heading names a cluster as the map does.
_GLYPHS = dict(zip(charts.SYMBOLS, "●■◆▲✚✖★▼", strict=True))


def short(value: float) -> str:
    """Write a large number with three digits, such as 2.53 M."""
    return charts.short(value)


def percent(share: float, digits: int = 1) -> str:
    """Write a share from 0 to 1 in percent."""
    return f"{100 * share:.{digits}f} %"


def cut(before: float, after: float) -> str:
    """Write how much less `after` is than `before`, signed, in percent."""
    return f"{100 * (after / before - 1):+.1f} %" if before else "0 %"


def figure(chart: go.Figure, key: str, on_select: Callable[[], None] | None = None) -> None:
    """Draw a chart of `pdc_core.charts` with its description for screen readers; `on_select` is called at clicks."""
    draw_finished(finished(chart, look()), key, on_select)


def look() -> tuple[str, bool]:
    """Return what this session's charts are drawn for: the theme of the browser, and whether it is in lecture mode."""
    return st.context.theme.type or "", lecture()


def finished(chart: go.Figure, look: tuple[str, bool]) -> go.Figure:
    """Return a chart with the letters of a theme, larger ones in a lecture; the chart itself is changed."""
    theme, large = look
    chart.layout.font.update(color=INK.get(theme, charts.GREY), family=_FONT)
    return _enlarged(chart) if large else chart


def draw_finished(chart: go.Figure, key: str, on_select: Callable[[], None] | None = None) -> None:
    """Draw a chart that is `finished`; it is not changed, so that sessions may share it."""
    flush_to_browser()
    fixed: dict[str, Any] = {
        "key": key,
        "theme": None,
        "config": {**_CHART, "toImageButtonOptions": _picture_of(key)},
        "alt": chart.layout.meta["alt"],
        "width": "stretch" if chart.layout.width is None else "content",
    }
    if on_select is None:
        st.plotly_chart(chart, **fixed)
    else:  # with a box or a lasso in the mode, streamlit turns off clicks on points
        st.plotly_chart(chart, **fixed, on_select=on_select, selection_mode="points")


def draw_picture(picture: charts.Drawing | charts.Pointed, key: str) -> None:
    """Show a picture of `pdc_core.charts` that needs no charting library; a `Pointed` explains what is pointed at."""
    drawing = picture.drawing if isinstance(picture, charts.Pointed) else picture
    data: dict[str, Any] = {
        "html": drawing.html,
        "title": drawing.title,
        "name": f"pdc-{key}",
        "format": picture_format(),
    }
    if isinstance(picture, charts.Pointed):
        data["pointing"] = picture.data()
    _drawing(key=key, data=data)
    flush_to_browser()  # formulas and charts come after it


def flush_to_browser(seconds: float = 0.0) -> None:
    """Wait so that the browser shows what it was sent, before something that takes it long to draw.

    What arrives within 10 ms appears together, when the last of it is drawn; 0.03 seconds part two pieces. The first
    call of a session waits 0.6 seconds at least: the browser has plotly's 5 MB still to read.

    Parameters
    ----------
    seconds : float, default 0
        How long to wait after the first call of a session, 0 or more.
    """
    first = _FLUSHED not in st.session_state
    st.session_state[_FLUSHED] = True
    time.sleep(max(seconds, _FIRST if first else 0.0))


def _enlarged(chart: go.Figure) -> go.Figure:
    """Return the chart with larger letters, but for its title and its legend, which have no room to grow."""
    import plotly.graph_objects as go

    def grow(node: Any, of_font: bool = False) -> Any:
        if isinstance(node, dict):
            return {
                key: round(_LARGER * value) if of_font and key == "size" else grow(value, key.endswith("font"))
                for key, value in node.items()
            }
        return [grow(item) for item in node] if isinstance(node, list | tuple) else node

    layout = chart.layout.to_plotly_json()
    legend = {**layout.get("legend", {}), "font": layout["font"]}
    fixed = {"title": layout["title"], "legend": legend}
    return go.Figure(data=chart.data, layout={**grow(layout), **fixed}, frames=chart.frames)


def _picture_of(name: str) -> dict[str, Any]:
    """Return how plotly saves a chart as a picture."""
    return {"format": picture_format(), "filename": f"pdc-{name}", "scale": 2}


def picture_format() -> str:
    """Return the format in which charts are saved, "png" or "svg", as chosen on the page Compare."""
    return str(st.session_state.get("picture", "PNG")).lower()


def cluster_mark(cluster: int) -> str:
    """Write the coloured symbol of a cluster as an HTML element."""
    return f'<span style="color:{charts.colour(cluster)}">{_GLYPHS[charts.symbol(cluster)]}</span>'


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an image, (h, w), (h, w, 3) or (h, w, 4), as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=False)
    return buffer.getvalue()


def gallery(images: NDArray[np.uint8], captions: list[str], side: int = 60) -> None:
    """Show images (n, c, h, w) of one or three channels in a row that wraps, each with its caption below."""
    cells = []
    for image, caption in zip(images, captions, strict=True):
        pixels = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
        text = escape(caption)
        cells.append(
            f'<figure style="margin:0;text-align:center">{picture(pixels, text, f"width:{side}px")}'
            f'<figcaption style="font-size:.9rem">{text}</figcaption></figure>'
        )
    st.html(f'<div style="display:flex;flex-wrap:wrap;gap:.5rem .9rem">{"".join(cells)}</div>')


def picture(pixels: NDArray[np.uint8], alt: str, style: str) -> str:
    """Write an image as an HTML element that is not smoothed when enlarged."""
    source = base64.b64encode(png(pixels)).decode()
    return f'<img src="data:image/png;base64,{source}" alt="{alt}" style="image-rendering:pixelated;{style}">'
