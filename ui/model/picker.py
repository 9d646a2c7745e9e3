"""The form for choosing a network, its weights and its data; used by the page Model.

A choice is applied only if everything loads and fits; else the page says what does not, and nothing changes.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from pdc_core.data import DATASETS, custom_data_names
from pdc_core.errors import PDCError
from pdc_core.models import (
    MODELS,
    StateDictMatch,
    build_model,
    compare_state,
    custom_names,
    inspect_checkpoint,
    shipped_data,
    torchvision_names,
)
from pdc_core.models.load import RANDOM, SHIPPED, TIMM, TORCHVISION
from pdc_core.models.timm import PREFIX
from ui.choice import Choice, choose, current_choice
from ui.network import DESCRIBED, Stamp, is_folded, load_images, load_network, stamp_of
from ui.uploads import CHECKPOINTS, store_upload

_UPLOAD_NPZ, _PATH_NPZ, _FOLDER = "upload an .npz file", "path of an .npz file", "path of an image folder"
_UPLOAD, _PATH = "upload a checkpoint", "path of a checkpoint"
_ROWS, _NAMES = 200, "upload_names"
_SENTENCES = {
    SHIPPED: "trained weights shipped with PDC",
    RANDOM: "random weights",
    TORCHVISION: "torchvision weights for ImageNet (downloaded once)",
    TIMM: "timm weights (downloaded once)",
}


def draw_model_picker() -> None:
    """Draw the form; a choice that loads becomes the session's and the page runs again."""
    with st.expander("Change network, data or weights", icon=":material/tune:"):
        network, data, weights = st.columns(3, gap="medium")
        with network:
            model = _model()
        with data:
            data_name = _data()
        with weights:
            file = _weights(model, data_name)
        if st.button("Load", type="primary", disabled=data_name is None or file is None, key="load_choice"):
            assert data_name is not None
            assert file is not None
            _take(Choice(model, data_name, file))


def _model() -> str:
    now = current_choice().model
    own = custom_names()
    names = [*own, *(name for name in MODELS if name not in own), *torchvision_names()]
    names += [] if now in names else [now]
    picked: str = st.selectbox(
        "Network", names, index=names.index(now), key="choose_model", accept_new_options=True,
        help="Your own networks first, if the server was started with any, then PDC's for small images and "
        "torchvision's classifiers. For one of timm's type timm: and its name, for example timm:mobilenetv3_small_100.",
    )  # fmt: skip
    return picked


def _data() -> str | None:
    kinds = [*custom_data_names(), *DATASETS, DESCRIBED, _UPLOAD_NPZ, _PATH_NPZ, _FOLDER]
    now = current_choice().data
    kind = st.selectbox("Data", kinds, index=kinds.index(now) if now in kinds else 0, key="choose_data")
    if kind == _UPLOAD_NPZ:
        file = st.file_uploader("x_train, y_train, x_test, y_test", type=["npz"], key="choose_npz")
        return _stored(file.name, file.getvalue(), "npz", "npz:") if file else None
    if kind in (_PATH_NPZ, _FOLDER):
        path = st.text_input("Path on the server", key="choose_data_path").strip()
        prefix = "npz:" if kind == _PATH_NPZ else "folder:"
        return f"{prefix}{Path(path).expanduser().absolute()}" if path else None
    if kind == DESCRIBED:
        st.caption("224×224 pixels, 1,000 classes, no images: you can inspect and plan, but not measure or train.")
    return kind


def _weights(model: str, data_name: str | None) -> str | None:
    kinds = [RANDOM, _UPLOAD, _PATH]
    if data_name in shipped_data(model):
        kinds.insert(0, SHIPPED)
    if model.startswith(PREFIX):
        kinds.insert(0, TIMM)
    elif data_name == DESCRIBED and model not in MODELS:
        kinds.insert(0, TORCHVISION)
    kind = st.selectbox("Weights", kinds, format_func=lambda k: _SENTENCES.get(k, k), key="choose_weights")
    if kind == _UPLOAD:
        file = st.file_uploader("State dict (no code in it is run)", type=list(CHECKPOINTS), key="choose_checkpoint")
        return _stored(file.name, file.getvalue(), Path(file.name).suffix.lower().lstrip("."), "") if file else None
    if kind == _PATH:
        path = st.text_input("Path on the server", key="choose_weights_path").strip()
        return str(Path(path).expanduser().absolute()) if path else None
    return kind


def _stored(name: str, content: bytes, kind: str, prefix: str) -> str | None:
    try:
        path = store_upload(content, kind)
    except PDCError as error:
        st.error(str(error))
        return None
    st.session_state.setdefault(_NAMES, {})[str(path)] = name
    return f"{prefix}{path}"


def _take(choice: Choice) -> None:
    """Load what was chosen and open it, or say what does not fit."""
    try:
        load_network(choice.model, choice.data, choice.weights, choice.residual)
    except PDCError as error:
        message = str(error)
        for path, name in st.session_state.get(_NAMES, {}).items():
            message = message.replace(path, name)  # a person knows an upload by the name it had
        st.error(f"Not loaded; the network is unchanged. {message}")
        draw_fit(choice)
        return
    choose(choice)
    st.rerun()


def draw_fit(choice: Choice) -> None:
    """Show which tensors of a checkpoint fit the network, name by name; nothing where there is no readable file."""
    if choice.weights in _SENTENCES or is_folded(choice.weights):
        return
    try:
        data = load_images(choice.data, stamp_of(choice.data.partition(":")[2]))
    except PDCError:  # shown already by whoever tried to load it
        return
    report = _fit(choice.model, choice.weights, data.shape, len(data.classes), stamp_of(choice.weights))
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
