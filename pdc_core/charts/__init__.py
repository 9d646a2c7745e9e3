"""Figures of pages and notebooks: tidy data in, a plotly figure (or a picture, see `drawing` and `kernels`) out.

One idea per file; `figure` and `palette` hold what all of them share. Clusters differ in colour (Okabe and Ito) and in
marker symbol, and `figure.layout.meta["alt"]` describes a figure in words.
"""

from pdc_core.charts.accuracy_cost import accuracy_over_cost
from pdc_core.charts.answers import answer_bars
from pdc_core.charts.cluster_count import every_k, tree_lines
from pdc_core.charts.comparison import (
    accuracy_against,
    accuracy_caption,
    class_changes,
    confusion_change,
    speed_up,
    wilson_interval,
)
from pdc_core.charts.cost_axes import Axes, priced
from pdc_core.charts.drawing import Drawing
from pdc_core.charts.filters import LABEL_LIMIT, LEGEND_LIMIT, filter_map
from pdc_core.charts.kernels import (
    GRID_WIDTH,
    KERNEL_GAP,
    KERNEL_LIMIT,
    grid_columns,
    kernel_picture,
    legible_kernels,
    strongest_channels,
)
from pdc_core.charts.layers import before_after_bars, layer_bars, rows_height
from pdc_core.charts.lesson import error_bars, explained_filters, pulling_curves, sum_bars, three_filters
from pdc_core.charts.methods import MethodLook, method_look, method_order
from pdc_core.charts.network import Bar, NetworkPicture, draw_network, network_picture
from pdc_core.charts.notebooks import curves, over_seeds, tiles
from pdc_core.charts.palette import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SIGNED,
    SKY,
    SYMBOLS,
    VERMILION,
    colour,
    short,
    signed_colour,
    signed_rgb,
    symbol,
)
from pdc_core.charts.pointing import Explained, Mark, Panel, Pointed, added_columns, convolution_cells
from pdc_core.charts.sensitivity import sensitivity_curves
from pdc_core.charts.training import accuracy_curve, loss_curves, tying_curves
from pdc_core.charts.trajectories import motion

__all__ = [
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "GRID_WIDTH",
    "KERNEL_GAP",
    "KERNEL_LIMIT",
    "LABEL_LIMIT",
    "LEGEND_LIMIT",
    "ORANGE",
    "PURPLE",
    "SIGNED",
    "SKY",
    "SYMBOLS",
    "VERMILION",
    "Axes",
    "Bar",
    "Drawing",
    "Explained",
    "Mark",
    "MethodLook",
    "NetworkPicture",
    "Panel",
    "Pointed",
    "accuracy_against",
    "accuracy_caption",
    "accuracy_curve",
    "accuracy_over_cost",
    "added_columns",
    "answer_bars",
    "before_after_bars",
    "class_changes",
    "colour",
    "confusion_change",
    "convolution_cells",
    "curves",
    "draw_network",
    "error_bars",
    "every_k",
    "explained_filters",
    "filter_map",
    "grid_columns",
    "kernel_picture",
    "layer_bars",
    "legible_kernels",
    "loss_curves",
    "method_look",
    "method_order",
    "motion",
    "network_picture",
    "over_seeds",
    "priced",
    "pulling_curves",
    "rows_height",
    "sensitivity_curves",
    "short",
    "signed_colour",
    "signed_rgb",
    "speed_up",
    "strongest_channels",
    "sum_bars",
    "symbol",
    "three_filters",
    "tiles",
    "tree_lines",
    "tying_curves",
    "wilson_interval",
]
