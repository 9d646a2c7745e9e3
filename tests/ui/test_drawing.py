"""Figures in lecture mode."""

from __future__ import annotations

import pandas as pd

from pdc_core import charts
from ui.drawing import _enlarged


def test_letters_of_figures_grow_in_a_lecture_but_for_title_and_legend() -> None:
    chart = charts.before_after_bars(
        pd.DataFrame({"name": ["a"], "before": [4], "after": [1]}), "MACs", "for one image"
    )
    large = _enlarged(chart)
    assert large.layout.xaxis.tickfont.size > chart.layout.xaxis.tickfont.size
    assert large.layout.yaxis.title.font.size > chart.layout.yaxis.title.font.size
    assert large.layout.title == chart.layout.title
    assert large.layout.legend.font.size == chart.layout.font.size
    assert large.layout.height == chart.layout.height
    assert [list(trace.x) for trace in large.data] == [list(trace.x) for trace in chart.data]
