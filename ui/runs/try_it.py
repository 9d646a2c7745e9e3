"""Try it: an image of one's own, or of the test set, and both networks' answers to it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from torch import Tensor

from pdc_core import charts
from pdc_core.analysis.answers import probabilities, total_variation
from pdc_core.data import Data
from pdc_core.data.pictures import fit_drawing, fit_picture, looks_inverted, read_picture
from pdc_core.errors import PDCError
from pdc_core.runs import Run
from ui.components import component
from ui.drawing import figure, picture
from ui.job_view import draw_job
from ui.network import Network
from ui.runs.classes import TRIED, by_disagreement, draw_thumbnails
from ui.runs.compare import Pair, before_of, folded_of, image_by_image
from ui.runs.firing import draw_firing

DRAW, PHOTO, UPLOAD, TEST = "Draw", "Photo", "Upload", "Test image"
SOURCE, SKETCH = "try_source", "sketch"
_MOST_DRAWING = 2_000_000  # characters of a drawing from a browser
_MOST_MEGABYTES = 20  # of an uploaded picture
_OFFERED, _PEN, _FED_SIDE = 12, 32, 140
_sketch = component("sketch")


def draw_try_it(run: Run) -> None:
    """Draw the choice of an image and, as soon as there is one, both answers and which filters fire."""
    try:
        network, _ = before_of(run), folded_of(run)
    except (PDCError, OSError) as error:
        st.info(f"The two networks cannot be tried on this machine. {error}")
        return
    _try(run, network)


@st.fragment
def _try(run: Run, network: Network) -> None:
    """A fragment: each stroke of a drawing runs this part of the page alone."""
    data = network.data
    sources = [*([DRAW] if data.shape[0] == 1 else []), PHOTO, UPLOAD, *([TEST] if network.has_images else [])]
    if st.session_state.get(SOURCE) not in sources:
        st.session_state[SOURCE] = sources[0]
    left, right = st.columns([4, 6], gap="large")
    with left:
        source = st.segmented_control("Image", sources, required=True, key=SOURCE, persist_state="session")
        try:
            image = _IMAGES[source](run, data)
        except PDCError as error:
            st.error(str(error))
            image = None
        if image is not None:
            _draw_fed(image, data)
    if image is None:
        return
    with right:
        _draw_answers(run, network, image, _truth(data) if source == TEST else None)
    draw_firing(run, network, image)


def _drawn(run: Run, data: Data) -> Tensor | None:
    kept = st.session_state.get("kept_sketch", "")
    state: Any = _sketch(
        key=SKETCH, data={"drawing": kept, "width": _PEN}, default={"drawing": kept}, on_drawing_change=lambda: None
    )
    drawing = str(state.get("drawing") or "")
    st.session_state["kept_sketch"] = drawing
    image = fit_drawing(drawing_of(drawing), data) if drawing else None
    if image is None:
        st.caption("Draw with mouse, pen or finger; or focus the sheet, press space and use the arrow keys.")
    return image


def drawing_of(address: str) -> NDArray[np.uint8]:
    """Return the ink of a drawing, (h, w) uint8, from the data URL that the sheet sends.

    Raises
    ------
    PDCError
        It is not a picture that the sheet could have sent.
    """
    head, _, content = address.partition(",")
    if head != "data:image/png;base64" or len(content) > _MOST_DRAWING:
        raise PDCError("The drawing did not arrive as a picture; clear the sheet and draw again.")
    try:
        file = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PDCError("The drawing arrived damaged; clear the sheet and draw again.") from error
    return read_picture(file)[:, :, 0]


def _photographed(run: Run, data: Data) -> Tensor | None:
    taken = st.camera_input("Photograph it", help="Needs a camera and your permission; the picture is not stored.")
    return _own(taken.getvalue(), data, "photo") if taken else None


def _uploaded(run: Run, data: Data) -> Tensor | None:
    file = st.file_uploader(
        "A picture of your own", ["png", "jpg", "jpeg", "webp", "bmp"], max_upload_size=_MOST_MEGABYTES,
        help=f"At most {_MOST_MEGABYTES} MB; it is not stored.",
    )  # fmt: skip
    return _own(file.getvalue(), data, "upload") if file else None


def _own(content: bytes, data: Data, key: str) -> Tensor:
    """Fit a picture; where the set is grey, dark and bright can be exchanged, as photographs of ink on paper need."""
    pixels = read_picture(content)
    invert = False
    if data.shape[0] == 1:
        invert = st.toggle(
            "Invert brightness", value=looks_inverted(pixels, data), key=f"invert_{key}_{hash(content)}",
            help="This data shows bright on black. On by itself where the picture's edges are bright.",
        )  # fmt: skip
    return fit_picture(pixels, data, invert)


def _of_the_test_set(run: Run, data: Data) -> Tensor | None:
    last = len(data.test) - 1
    st.session_state[TRIED] = min(max(0, int(st.session_state.get(TRIED, 0))), last)
    number = st.number_input(f"Number of the test image, 0 to {last:,}", 0, last, key=TRIED, persist_state="session")
    job = image_by_image(run)

    def offer(pair: Pair) -> None:
        st.caption("Images on which the networks disagree most, by the total variation of their probabilities:")
        draw_thumbnails(pair, by_disagreement(pair, np.arange(len(pair.truth)))[:_OFFERED], "try_images", int(number))

    with st.container(height=330, border=False):
        draw_job(job, "Classifying the test images with both networks", offer, "try_pair")
    return data.test.images[int(number) : int(number) + 1]


_IMAGES: dict[str | None, Callable[[Run, Data], Tensor | None]] = {
    DRAW: _drawn,
    PHOTO: _photographed,
    UPLOAD: _uploaded,
    TEST: _of_the_test_set,
}


def _truth(data: Data) -> str:
    return data.classes[int(data.test.labels[int(st.session_state[TRIED])])]


def _draw_fed(image: Tensor, data: Data) -> None:
    """Show the image as both networks are fed with it."""
    pixels = image[0].numpy()
    shown = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)
    style = f"width:{_FED_SIDE}px;border-radius:4px;outline:1px solid rgba(128,128,128,.4)"
    st.html(picture(np.ascontiguousarray(shown), "the image as the networks are fed with it", style))
    c, h, w = data.shape
    st.caption(f"As fed: {h}×{w} pixels, {'grey' if c == 1 else 'colour'}, before the data's normalisation.")


def _draw_answers(run: Run, network: Network, image: Tensor, truth: str | None) -> None:
    names = network.data.classes
    before, folded = (
        probabilities(module, network.data, image)[:, : len(names)] for module in (network.module, folded_of(run))
    )
    st.markdown(answer_sentence(names, before[0], folded[0], truth))
    figure(charts.answer_bars(names, before[0], folded[0]), key="answers")


def answer_sentence(
    names: tuple[str, ...], before: NDArray[np.float64], folded: NDArray[np.float64], truth: str | None
) -> str:
    """Write what both networks answer, whether they agree, how far apart they are, and the true class if known."""
    one, other = int(before.argmax()), int(folded.argmax())
    distance = float(total_variation(before[None], folded[None])[0])
    verdict = "They agree" if one == other else "**They disagree**"
    true = f" True class: {truth}." if truth is not None else ""
    return (
        f"Original: **{names[one]}** ({before[one]:.0%}). Folded: **{names[other]}** ({folded[other]:.0%}). {verdict}; "
        f"the total variation of their probabilities is {distance:.2f} (0: the same, 1: nothing in common).{true}"
    )
