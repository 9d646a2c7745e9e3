"""The form for choosing a network, its weights and its data; used by the page Model.

A choice is applied only if everything loads and fits; else the page says what does not, and nothing changes.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import streamlit as st

from pdc_core.data.folders import FOLDER, NoHeldOutImages
from pdc_core.data.image_files import SIZE
from pdc_core.data.load import NPZ
from pdc_core.errors import PDCError
from pdc_core.models import (
    MODELS,
    StateDictMatch,
    build_model,
    compare_state,
    custom_names,
    inspect_checkpoint,
    torchvision_names,
)
from pdc_core.models.load import NAMED
from ui.choice import Choice, choose, current_choice
from ui.classroom import UPLOADS, data_sets, in_class, located
from ui.job_view import in_words
from ui.model.weights import WEIGHTS, offered_weights, weights_caption
from ui.network import DESCRIBED, Stamp, data_stamp, is_folded, load_images, load_network, stamp_of
from ui.uploads import CHECKPOINTS, store_upload

_UPLOAD_NPZ, _PATH_NPZ, _FOLDER = "upload an .npz file", "path of an .npz file", "path of an image folder"
_UPLOAD, _PATH = "upload a checkpoint", "path of a checkpoint"
_ROWS, _NAMES = 200, "upload_names"
_SMALL = 64  # pixels: networks for small images take long on larger ones
_REFUSED, _PENDING, _SHOWN, _FORM = "choice_refused", "choice_pending", "choice_shown", "choice_form"
_OFFERED = "weights_offered"


_NETWORKS = (
    "Your own networks first, if the server was started with any, then PDC's for small images and torchvision's "
    "classifiers. For one of timm's type timm: and its name, for example timm:mobilenetv3_small_100."
)
_NETWORKS_OF_A_CLASS = "The lecturer's networks first, if the server was started with any, then PDC's."


class _Refusal(NamedTuple):
    """A choice that could not be opened, why, and the data to take instead, where there is one."""

    choice: Choice
    reason: str
    instead: str | None


def draw_model_picker() -> None:
    """Draw the form; a choice that loads becomes the session's and the page runs again."""
    _follow()
    with st.expander("Change network, data or weights", icon=":material/tune:"):
        network, data, weights = st.columns(3, gap="medium")
        with network:
            model = _model()
        with data:
            data_name = _data(model)
        with weights:
            file = _weights(model, data_name)
        picked = Choice(model, data_name, file) if data_name is not None and file is not None else None
        pressed = st.button("Load", type="primary", disabled=picked is None, key="load_choice")
        wanted = st.session_state.pop(_PENDING, None) or (picked if pressed else None)
        if wanted is not None:
            _take(wanted)
        refused: _Refusal | None = st.session_state.get(_REFUSED)
        if refused is not None and picked is not None and refused.choice in (picked, wanted):
            _draw_refusal(refused)


def _follow() -> None:
    """Begin the form afresh, with what is open now, if something else than the form has opened another network."""
    now, state = current_choice(), st.session_state
    if state.get(_SHOWN, now) != now:
        state[_FORM] = state.get(_FORM, 0) + 1
    state[_SHOWN] = now


def _key(name: str) -> str:
    """Return the key of a control of this form; widgets with new keys show their defaults."""
    form = st.session_state.get(_FORM, 0)
    return f"{name}_{form}" if form else name


def _kind_of(data: str) -> tuple[str, str]:
    """Return how the form offers data, and the path in its name."""
    for prefix, kind in ((NPZ, _PATH_NPZ), (FOLDER, _FOLDER)):
        if data.startswith(prefix):
            return kind, data.removeprefix(prefix)
    return data, ""


def _model() -> str:
    now = current_choice().model
    own = custom_names()
    names = [*own, *(name for name in MODELS if name not in own), *(() if in_class() else torchvision_names())]
    names += [] if now in names else [now]
    picked = st.selectbox(
        "Network", names, index=names.index(now), key=_key("choose_model"), accept_new_options=not in_class(),
        help=_NETWORKS_OF_A_CLASS if in_class() else _NETWORKS,
    )  # fmt: skip
    return picked if picked and (picked in names or not in_class()) else now


def _data(model: str) -> str | None:
    kinds = [*data_sets(), _UPLOAD_NPZ] if in_class() else [*data_sets(), DESCRIBED, _UPLOAD_NPZ, _PATH_NPZ, _FOLDER]
    now, path = (current_choice().data, "") if in_class() else _kind_of(current_choice().data)
    kinds += [now] if in_class() and now not in kinds else []
    kind: str = st.selectbox(
        "Data", kinds, index=kinds.index(now) if now in kinds else 0, key=_key("choose_data"), format_func=_short
    )
    if kind not in kinds:  # a browser may send any text
        return None
    if kind == _UPLOAD_NPZ:
        file = st.file_uploader("x_train, y_train, x_test, y_test", type=["npz"], key=_key("choose_npz"))
        return _stored(file.name, file.getvalue(), "npz", NPZ) if file else None
    if kind == _PATH_NPZ:
        path = st.text_input("Path on the server", path, key=_key("choose_data_path")).strip()
        return f"{NPZ}{Path(path).expanduser().absolute()}" if path else None
    if kind == _FOLDER:
        return _folder(model, path)
    if kind == DESCRIBED:
        st.caption("224×224 pixels, 1,000 classes, no images: you can inspect and plan, but not measure or train.")
    return kind


def _short(kind: str) -> str:
    """Name data or weights in a list; a file of a visitor's is known by more than its name."""
    return WEIGHTS.get(kind, f"open now: {Path(kind).parent.name}" if "/" in kind else kind).replace(UPLOADS, "upload")


def _folder(model: str, now: str) -> str | None:
    """Return the data set in a folder: its path, and the size that its images are scaled to."""
    before, _, after = now.rpartition("@")
    named, size = (before, int(after)) if before and after.isdigit() else (now, SIZE)
    path = st.text_input(
        "Path on the server", named, key=_key("choose_data_path"),
        help="A folder with one folder of images for each class: CLASS/, or train/CLASS/ and val/CLASS/.",
    ).strip()  # fmt: skip
    usual = size if now else _SMALL if model in MODELS else SIZE
    pixels = st.number_input(
        "Image size [pixels]", 8, 4096, usual, key=_key(f"choose_size_{usual}"),
        help="Images are scaled and cut to this height and width. Twice the size costs four times the work.",
    )  # fmt: skip
    whole = str(Path(path).expanduser().absolute())
    return f"{FOLDER}{whole}" + (f"@{pixels}" if pixels != SIZE or "@" in whole else "") if path else None


def _weights(model: str, data_name: str | None) -> str | None:
    now = current_choice()
    same = (now.model, now.data) == (model, data_name)
    kinds = [*offered_weights(model, data_name), _UPLOAD]
    if not in_class():
        kinds.append(_PATH)
    elif same and now.weights not in kinds:
        kinds.append(now.weights)
    usual = 0 if not same else kinds.index(now.weights) if now.weights in kinds else kinds.index(_PATH)
    key, state = _key("choose_weights"), st.session_state
    if key in state and state.get(_OFFERED) != kinds:  # for another network or data the best comes first again
        state[key], usual = kinds[usual], 0
    state[_OFFERED] = kinds
    kind = st.selectbox("Weights", kinds, usual, format_func=_short, key=key)
    if kind not in kinds:  # a browser may send any text
        return None
    if caption := weights_caption(kind, data_name):
        st.caption(caption)
    if kind == _UPLOAD:
        file = st.file_uploader(
            "State dict (no code in it is run)", type=list(CHECKPOINTS), key=_key("choose_checkpoint")
        )
        return _stored(file.name, file.getvalue(), Path(file.name).suffix.lower().lstrip("."), "") if file else None
    if kind == _PATH:
        shown = now.weights if same and now.weights not in NAMED else ""
        path = st.text_input("Path on the server", shown, key=_key("choose_weights_path")).strip()
        return str(Path(path).expanduser().absolute()) if path else None
    return kind


def _stored(name: str, content: bytes, kind: str, prefix: str) -> str | None:
    try:
        path = store_upload(content, kind)
    except PDCError as error:
        st.error(in_words(error))
        return None
    st.session_state.setdefault(_NAMES, {})[path] = name
    return f"{prefix}{path}"


def _take(choice: Choice) -> None:
    """Load what was chosen and open it, or remember what does not fit."""
    st.session_state.pop(_REFUSED, None)
    try:
        load_network(**asdict(choice))
    except PDCError as error:
        reason = in_words(error)
        for path, name in st.session_state.get(_NAMES, {}).items():
            reason = reason.replace(path, name)  # a person knows an upload by the name it had
        instead = error.instead if isinstance(error, NoHeldOutImages) else None
        st.session_state[_REFUSED] = _Refusal(choice, reason, instead)
        return
    choose(choice)
    st.session_state[_SHOWN] = choice
    st.rerun()


def _draw_refusal(refused: _Refusal) -> None:
    """Say what did not fit, until something else is chosen."""
    st.error(f"Not loaded; the network is unchanged. {refused.reason}")
    if refused.instead is not None:
        choice = replace(refused.choice, data=refused.instead)
        st.button(
            "Hold back a part of train/ to measure on", type="primary", key="hold_back",
            on_click=lambda: st.session_state.update({_PENDING: choice}),
        )  # fmt: skip
    draw_fit(refused.choice)


def draw_fit(choice: Choice) -> None:
    """Show which tensors of a checkpoint fit the network, name by name; nothing where there is no readable file."""
    try:
        file = located(choice.weights)
        if file in NAMED or is_folded(file):
            return
        data = load_images(choice.data, data_stamp(choice.data))
    except PDCError:  # shown already by whoever tried to load it
        return
    report = _fit(choice.model, file, data.shape, len(data.classes), stamp_of(file))
    if report is None:
        return
    fit, tensors, prefix = report
    dropped = f" The prefix {prefix!r} of all names was removed." if prefix else ""
    st.caption(f"{len(fit.fits)} of the {tensors} tensors in the checkpoint fit the network.{dropped}")
    rows = [
        *({"tensor": name, "problem": f"shape {given}, expected {needed}"} for name, given, needed in fit.misshapen),
        *({"tensor": name, "problem": "missing from the file"} for name in fit.missing),
        *({"tensor": name, "problem": "not part of this network"} for name in fit.unexpected),
    ]
    if rows:
        st.dataframe(pd.DataFrame(rows[:_ROWS]), hide_index=True, alt="Tensors of the checkpoint that do not fit.")
        if len(rows) > _ROWS:
            st.caption(f"Showing the first {_ROWS} of {len(rows)}.")


@st.cache_data(show_spinner=False, max_entries=16)
def _fit(
    model: str, weights: str, shape: tuple[int, int, int], classes: int, stamp: Stamp
) -> tuple[StateDictMatch, int, str] | None:
    """Return how a checkpoint fits, its number of tensors, and the prefix dropped; None where it cannot be read."""
    try:
        checkpoint, network = inspect_checkpoint(weights), build_model(model, shape[0], classes, shape[1])
    except PDCError:  # shown already by whoever tried to load it
        return None
    return compare_state(network, checkpoint.tensors), len(checkpoint.tensors), checkpoint.prefix
