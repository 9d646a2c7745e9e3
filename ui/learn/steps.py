"""The seven steps of the lesson, each with a picture, a sentence, its formula and a question."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from pdc_core import charts, lesson
from pdc_core.runs import measured_sweep
from ui.drawing import draw_picture, figure
from ui.learn.questions import Choice, Number, ask, lesson_image

NETWORK = lesson.small_network()  # shared by all sessions, never changed
PIXEL = (0, 2)
GRID = tuple(i / 20 for i in range(21))


@st.cache_data(show_spinner=False)
def _curves() -> tuple[list[float], list[float]]:
    """Return the distance of filters 0 and 1, and the change of the output, at every strength of the grid."""
    pulled, image = [lesson.pull(NETWORK, s) for s in GRID], lesson_image()
    return [lesson.distance(p, image) for p in pulled], [lesson.change(NETWORK, p, image) for p in pulled]


def _strength(default: float) -> float:
    """Let the strength be chosen; the address keeps it."""
    return st.slider(
        "Strength s: pull filters 0 and 1 together", 0.0, 1.0, default, 0.05, key="strength", bind="query-params"
    )


def _draw(model: lesson.SmallNetwork, title: str) -> None:
    """Draw what a network's filters and output look like on the lesson's digit."""
    seen = lesson.look(model, lesson_image())
    image = lesson_image()[0, 0].numpy()
    scales, shifts = lesson.norm_at_inference(model)
    pointed = charts.explained_filters(
        image, seen.kernels, seen.channels, seen.output, title,
        scales=scales, shifts=shifts, v=model.reader.weight.flatten().tolist(),
    )  # fmt: skip
    draw_picture(pointed, key="filters")


def _alike() -> None:
    """Two filters that do nearly the same."""
    st.markdown(
        "Filters 0 and 1 detect nearly the same thing, light to the right of dark, so their outputs are nearly equal. "
        "Point at a pixel of a channel or of the output to see how it is calculated."
    )
    _draw(NETWORK, "Three filters on a handwritten digit, and the output of the next layer")
    with st.expander("The formula"):
        st.latex(
            r"a_i = \mathrm{ReLU}"
            r"\Big(\gamma_i\,\frac{W_i * x - \mu_i}{\sqrt{\sigma_i^2 + \varepsilon}} + \beta_i\Big)"
            r",\qquad y = \sum_i v_i\, a_i,\quad v = (0.8,\ 0.5,\ -0.6)"
        )
    first, second = lesson.nearest(NETWORK)
    ask(
        "Alike",
        Choice(
            "Which two filters have the smallest distance between their weights?",
            ["0 and 1", "0 and 2", "1 and 2"],
            f"{first} and {second}",
            "Clustering puts them together; filter 2 is a cluster of its own.",
            "Compare the nine numbers of each filter, one by one.",
        ),
    )


def _pull() -> None:
    """Move them together."""
    st.markdown("Pulled to their mean, the two become one function, and the output hardly changes.")
    s = _strength(0.5)
    _draw(lesson.pull(NETWORK, s), f"The same network at strength {s:.2f}")
    apart, moved = _curves()
    figure(charts.pulling_curves(GRID, apart, moved, s), key="pulling")
    with st.expander("The formula"):
        st.latex(
            r"t \leftarrow (1-s)\,t + s\,P t,\quad t \in \{W, \gamma, \beta, \mu, \sigma^2\},\qquad "
            r"P = \begin{pmatrix} \tfrac12 & \tfrac12 & 0\\ \tfrac12 & \tfrac12 & 0\\ 0 & 0 & 1\end{pmatrix}"
        )
    ask(
        "Pull",
        Number(
            "At s = 1, how far apart are the outputs of filters 0 and 1?",
            apart[-1],
            0.001,
            "Identical filters have identical outputs, on this image and on every other.",
            "Move the slider to 1.",
        ),
    )


def _remove() -> None:
    """Delete, zero or merge one."""
    st.markdown("Three ways to remove filter 1: only merging keeps its contribution.")
    errors = lesson.removal_errors(lesson.pull(NETWORK, _strength(0.5)), lesson_image())
    names = {"delete": "delete it", "zero": "set its weights to 0", "merge": "merge it into filter 0"}
    figure(
        charts.error_bars({names[k]: e for k, e in errors.items()}, "Effect of removing filter 1 on the output"),
        key="removal",
    )
    with st.expander("The formula"):
        st.latex(
            r"\text{delete: } v_1 a_1 \text{ is missing}\qquad \text{zero: } a_1 = \mathrm{ReLU}"
            r"\big(\beta_1 - \gamma_1\mu_1/\sqrt{\sigma_1^2+\varepsilon}\big)\qquad "
            r"\text{merge: } v_0 a_0 + v_1 a_1 \to (v_0 + v_1)\, a_0"
        )
        st.markdown("A filter of zeros still adds a constant through its batch norm, unless β and μ are 0 too.")
    ask(
        "Remove",
        Choice(
            "At s = 1, which of the three changes nothing at all?",
            list(names.values()),
            names["merge"],
            "PDC therefore trains until s = 1, and only then removes filters.",
            "Move the slider to 1 and compare the bars.",
        ),
    )


def _add() -> None:
    """Channel addition in numbers."""
    row, column = PIXEL
    st.markdown("If two channels are equal, one is enough: the layer that reads them adds its two weights.")
    found = lesson.addition(lesson.pull(NETWORK, 1.0), lesson_image(), row, column)
    wide = {f"v{i} a{i}": v * a for i, (v, a) in enumerate(zip(found.v, found.a, strict=True))}
    (v, other), (a, third) = found.merged_v, found.merged_a
    v_wide = lesson.reader_kernels()
    draw_picture(
        charts.added_columns(
            v_wide.numpy(),
            lesson.added_kernels(v_wide).numpy(),
            "A layer reads three channels, then two: V' = V M",
        ),
        key="columns",
    )
    figure(
        charts.sum_bars(
            {"three channels": wide, "two channels": {"(v0 + v1) a0": v * a, "v2 a2": other * third}},
            f"One output pixel, row {row}, column {column}, before and after",
        ),
        key="sum",
    )
    with st.expander("The formula"):
        st.latex(
            r"V' = V M,\qquad "
            + " + ".join(f"({v:g})\\cdot {a:.3f}" for v, a in zip(found.v, found.a, strict=True))
            + f" = {found.before:.3f}"
        )
    ask(
        "Add",
        Number(
            f"The reader's weights are {', '.join(f'{v:g}' for v in found.v)}. What is the merged channel's weight?",
            found.merged_v[0],
            0.005,
            "It gets the sum of both. Nothing else in the network changes.",
            "Both copies of the channel were read. What is their total weight?",
        ),
    )


def _norm() -> None:
    """Why batch norm must be tied."""
    st.markdown(
        "Equal weights are not enough: if one parameter of the batch norm differs, the two channels differ too."
    )
    names = {
        "nothing": "everything tied",
        "W": "all but W",
        "gamma": "all but γ",
        "beta": "all but β",
        "mu": "all but μ",
        "var": "all but σ²",
    }
    errors = lesson.untied_errors(NETWORK, lesson_image())
    figure(
        charts.error_bars({names[k]: e for k, e in errors.items()}, "Adding channels that are not quite equal"),
        key="untied",
    )
    with st.expander("The formula"):
        st.latex(
            r"a_0 = a_1 \text{ for every } x \iff W_0 = W_1,\ \gamma_0 = \gamma_1,\ \beta_0 = \beta_1,\ "
            r"\mu_0 = \mu_1,\ \sigma_0^2 = \sigma_1^2 \quad\text{(or the same scale and shift)}"
        )
    ask(
        "Norm",
        Choice(
            "The filters of a network were tied, but not the running statistics of its batch norms. Is folding exact?",
            ["yes, they only matter in training", "no, the statistics are part of the function"],
            "no, the statistics are part of the function",
            "At inference, batch norm uses its running statistics. PDC ties all five and refuses to fold otherwise.",
            "Look at the bars of μ and σ².",
        ),
    )


def _residual() -> None:
    """Why a residual sum needs care."""
    st.markdown("Where two layers are added, a channel can go only if it is tied in both; else the sum stays whole.")
    found = lesson.treatments(lesson_image())
    names = {
        "one producer": "one of the two layers alone",
        "internal": "internal: leave the sum whole",
        "shared": "shared: both merge the same filters",
        "gather": "gather: merge each, expand before the sum",
    }
    bars = {f"{names[k]}, {t.macs:,} MACs": t.error for k, t in found.items()}
    figure(charts.error_bars(bars, "Four ways to fold a layer that feeds a residual sum"), key="residual")
    with st.expander("The formula"):
        st.latex(r"y = V\,\mathrm{ReLU}(a + b),\qquad a_0 = a_1 \not\Rightarrow a_0 + b_0 = a_1 + b_1")
        st.markdown("The page Plan shows the treatment. At equal keep ratios, the MACs cut depend on it.")
    ask(
        "Sum",
        Choice(
            "The filters of the first layer are tied, those of the second are not. Can channel 1 of the sum go?",
            ["yes, one tied layer is enough", "no, b0 and b1 still differ"],
            "no, b0 and b1 still differ",
            "So all layers of a sum share their labels, or the sum stays whole.",
            "Look at the first bar.",
        ),
    )


def _hurt() -> None:
    """What is left of it on a real network."""
    runs = measured_sweep()
    st.markdown(
        "On a real network no two filters are quite equal: merging costs accuracy, and training gets most of it back. "
        "To see what pruning cost, compare with the same training with nothing pruned."
    )
    figure(
        charts.accuracy_over_cost(
            charts.priced(runs, "macs", 1e-6), charts.Axes("MACs", "of one image [millions]"),
            "The first network of this app: ResNet-20 on clothing", front=False,
        ),
        key="hurt",
    )  # fmt: skip
    first, n_test = runs.iloc[0], int(runs["n_test"].iloc[0])
    st.caption(
        f"{len(runs)} runs of {first['epochs']} epochs, measured with {first['versions'].split(',')[0]} on "
        f"{first['date'][:10]}. One of the {n_test:,} test images is {100 / n_test:.2g} points. Your own runs are "
        "drawn like this on the page Compare."
    )
    with st.expander("The formula"):
        st.latex(
            r"\text{what pruning costs} = "
            r"\text{accuracy trained as long, not pruned} - \text{accuracy pruned and trained}"
        )
    ask(
        "Hurt",
        Choice(
            "A pruned network is 0.8 points better than the network it was made from. Was pruning good for it?",
            ["yes, by 0.8 points", "unknown: training alone may have done that", "no, pruning always costs accuracy"],
            "unknown: training alone may have done that",
            "The method `whole` trains as long and prunes nothing. Compare draws it as a level.",
            "It was pruned, and it was trained. Which of the two does the number belong to?",
        ),
    )


STEPS: dict[str, tuple[str, Callable[[], None]]] = {
    "Alike": ("Nearly equal filters", _alike),
    "Pull": ("Pull together", _pull),
    "Remove": ("Delete, zero, merge", _remove),
    "Add": ("Add channels", _add),
    "Norm": ("Tie the norm", _norm),
    "Sum": ("Residual sums", _residual),
    "Hurt": ("Does it hurt?", _hurt),
}
