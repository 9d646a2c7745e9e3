"""The page Model shows the numbers of pdc_core."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from ui.drawing import percent, short

PAGES = Path(__file__).parents[3] / "pages"
Open = Callable[..., AppTest]
Texts = Callable[[AppTest], dict[str, str]]
Press = Callable[[AppTest, str], AppTest]


def _network() -> tuple[pdc.ChannelGraph, pdc.Cost, float]:

    model, data = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
    example = torch.zeros(1, *data.shape)
    return pdc.trace(model, example), pdc.cost(model, example), pdc.evaluate(model, data, data.test).accuracy


def test_model_shows_the_accuracy_macs_and_parameters_of_the_network(opened: Open, metrics: Texts) -> None:
    graph, cost, accuracy = _network()
    app = opened("model")
    shown = metrics(app)
    assert shown["Test accuracy"] == percent(accuracy)
    assert shown["MACs"] == short(cost.macs)
    assert shown["Parameters"] == short(cost.params)
    assert shown["Filters to cluster"] == f"{sum(group.size for group in graph.clusterable):,}"
    table = app.dataframe[0].value
    assert list(table["MACs"]) == [layer.macs for layer in cost.layers]
    assert table["Parameters"].sum() <= cost.params
