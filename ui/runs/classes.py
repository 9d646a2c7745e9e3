"""Both networks of a run class by class: accuracies, confusions and their images, the largest disagreements."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray

from pdc_core import charts
from pdc_core.analysis.metrics import class_accuracy, confusion, disagreement
from pdc_core.errors import PDCError
from pdc_core.runs import Run
from ui.components import component
from ui.drawing import figure, png
from ui.job_view import draw_job
from ui.runs.compare import Pair, image_by_image

SHOWN = 20
CELL, TRIED, SECTION, TRY = "confusion", "tried_image", "section", "Try it"
_LARGEST, _WANTED = "Largest disagreement", "wanted_cell"
_thumbnails = component("thumbnails")


def draw_classes(run: Run) -> None:
    """Show accuracy per class, how confusions changed, their images, and where the two networks disagree."""
    try:
        job = image_by_image(run)
    except (PDCError, OSError) as error:
        st.info(f"The two networks cannot be compared image by image on this machine. {error}")
        return
    draw_job(job, "Classifying the test images with both networks", _classes, "pair")


def _classes(pair: Pair) -> None:
    names, truth = pair.data.classes, pair.truth
    counts = [confusion(truth, predicted, len(names)) for predicted in (pair.before, pair.folded)]
    left, right = st.columns(2, gap="large")
    with left:
        figure(charts.class_changes(names, *(class_accuracy(c) for c in counts)), key="class_changes")
    with right:
        figure(charts.confusion_change(names, counts[0], counts[1]), key="confusion_change", on_select=_take_cell)
    found = disagreement(truth, pair.before, pair.folded)
    st.markdown(f"**The two networks disagree on {found.count:,} of {len(truth):,} test images.**")
    lists = {
        _LARGEST: np.arange(len(truth)),
        "Correct before, wrong after folding": found.lost,
        "Wrong before, correct after folding": found.won,
        "Wrong in both, with different classes": found.neither,
    }
    cells = confused(pair)
    options = [name for name in lists if len(lists[name])] + [_cell_name(pair, *cell) for cell in cells]
    wanted = divmod(st.session_state.pop(_WANTED, -1), len(names))
    if wanted in cells:
        st.session_state[CELL] = _cell_name(pair, *wanted)
    if st.session_state.get(CELL) not in options:
        st.session_state[CELL] = options[0]
    shown = st.selectbox(
        "Images",
        options,
        key=CELL,
        help="By disagreement, or of one confusion: choose it here or click its cell in the grid above.",
    )
    chosen = (
        lists[shown] if shown in lists else images_of(pair, *cells[options.index(shown) - len(options) + len(cells)])
    )
    _draw_images(pair, chosen)


def confused(pair: Pair) -> list[tuple[int, int]]:
    """Return the confusions that either network makes as (true class, named class), the most frequent first."""
    c = len(pair.data.classes)
    counts = confusion(pair.truth, pair.before, c) + confusion(pair.truth, pair.folded, c)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[: int((counts > 0).sum())]
    return [(int(cell) // c, int(cell) % c) for cell in order]


def images_of(pair: Pair, true: int, named: int) -> NDArray[np.int64]:
    """Return the test images of a class that either network calls another."""
    return np.flatnonzero((pair.truth == true) & ((pair.before == named) | (pair.folded == named)))


def by_disagreement(pair: Pair, images: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return images in the order of their disagreement, the largest first."""
    return images[np.argsort(-pair.distance[images], kind="stable")]


def pick(image: int) -> None:
    """Open a test image under Try it."""
    st.session_state[TRIED] = image
    st.session_state["try_source"] = "Test image"
    st.session_state[SECTION] = TRY


def draw_thumbnails(pair: Pair, images: NDArray[np.int64], key: str, chosen: int | None = None) -> None:
    """Draw test images to choose from, each with both answers, the true class and the disagreement."""
    names = pair.data.classes
    shown = [
        {
            "id": int(i),
            "url": "data:image/png;base64," + base64.b64encode(png(_pixels(image))).decode(),
            "caption": f"{names[pair.before[i]]} → {names[pair.folded[i]]}",
            "note": f"true: {names[pair.truth[i]]} · {pair.distance[i]:.2f}",
        }
        for i, image in zip(images, pair.data.test.images[torch.from_numpy(images)].numpy(), strict=True)
    ]
    data = {"label": "Test images to try", "side": 60, "images": shown, "chosen": chosen}
    _thumbnails(key=key, data=data, on_picked_change=lambda: _take_image(key))


def _draw_images(pair: Pair, images: NDArray[np.int64]) -> None:
    chosen = by_disagreement(pair, images)[:SHOWN]
    draw_thumbnails(pair, chosen, "class_images")
    some = f"{SHOWN} of {len(images):,} images shown. " if len(images) > SHOWN else ""
    st.caption(
        f"{some}Below each image: class named before → after folding, the true class, and the disagreement by which "
        "they are sorted: the total variation of both networks' probabilities, 0 (the same) to 1. Click one to try it."
    )


def _pixels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)


def _cell_name(pair: Pair, true: int, named: int) -> str:
    names, at = pair.data.classes, pair.truth == true
    before, folded = (int((at & (said == named)).sum()) for said in (pair.before, pair.folded))
    return f"{names[true]} called {names[named]}: {before} before, {folded} folded"


def _take_cell() -> None:
    state: Any = st.session_state["confusion_change"]
    points = [p for p in state["selection"]["points"] if p.get("customdata") is not None]
    if points:
        value = points[0]["customdata"]
        st.session_state[_WANTED] = int(value[0] if isinstance(value, list) else value)


def _take_image(key: str) -> None:
    state: Any = st.session_state[key]
    if (picked := state.get("picked")) is not None:
        pick(int(picked))
