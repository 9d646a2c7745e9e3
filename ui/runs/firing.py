"""Which filters fire on one image, in the original and in the folded network of a run."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pdc_core import charts
from pdc_core.analysis.activations import activation_maps
from pdc_core.copies import twin
from pdc_core.data import Data
from pdc_core.graph import ChannelGraph, trace
from pdc_core.runs import Run
from ui.drawing import picture
from ui.network import Network
from ui.runs.compare import folded_of

_SHOWN, _SIDE = 10, 56


def draw_firing(run: Run, network: Network, image: Tensor) -> None:
    """Draw the strongest activation maps of a layer in both networks, on an image as it is fed, (1, c, h, w)."""
    small = _trace(folded_of(run), str(run.folder.resolve()), network.data.shape)
    names = [
        g.name for g in network.graph.clusterable if g.readers and any(s.name == g.name and s.readers for s in small)
    ]
    if not names:
        st.caption("No layer has filters in both networks whose activations could be compared.")
        return
    name = st.selectbox("Layer whose filters are shown", names, key="try_layer", persist_state="session")
    sides = (("original", network.module, network.graph), ("folded", folded_of(run), small))
    rows, heads = [], []
    maps = {who: _maps(module, graph, name, network.data, image) for who, module, graph in sides}
    top = max(float(np.abs(each).max()) for each in maps.values()) or 1.0
    for who, each in maps.items():
        strongest = each.reshape(len(each), -1).max(axis=1)
        firing = int((strongest > 0).sum())
        heads.append(f"**{firing} of {len(each)}** filters of the {who} network fire")
        cells = "".join(
            _cell(who, i, each[i], strongest[i], top) for i in np.argsort(-strongest, kind="stable")[:_SHOWN]
        )
        rows.append(f'<tr><th style="text-align:left;padding-right:.8rem">{who}</th>{cells}</tr>')
    st.markdown(f"{name}: {', '.join(heads)}.")
    st.html(f'<div style="overflow-x:auto"><table style="border-spacing:.35rem">{"".join(rows)}</table></div>')
    st.caption(
        f"The {_SHOWN} filters with the largest activation, largest first, with their number and this activation. A "
        "filter fires if it is above 0 anywhere in the image, where the next layer reads it (after norm and activation "
        f"function). Activation maps: {charts.SIGNED}, one scale for both networks."
    )


@st.cache_resource(show_spinner="Tracing the folded network", max_entries=8)
def _trace(_folded: nn.Module, folder: str, shape: tuple[int, int, int]) -> ChannelGraph:
    return trace(_folded, torch.zeros(1, *shape))


def _maps(module: nn.Module, graph: ChannelGraph, name: str, data: Data, image: Tensor) -> NDArray[np.float32]:
    group = graph.group(name)
    return activation_maps(twin(module), group, data.prepare(image), range(group.size))[:, 0]


def _cell(who: str, i: int, values: NDArray[np.float32], strongest: float, top: float) -> str:
    text = f"activation map of filter {i} of the {who} network, at most {strongest:.2f}"
    style = f"width:{_SIDE}px;height:{_SIDE}px;object-fit:contain;border-radius:4px"
    drawn = picture(charts.signed_rgb(values / top), text, style)
    return f'<td style="text-align:center;font-size:.8rem">{drawn}<br>{i}: {strongest:.2f}</td>'
