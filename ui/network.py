"""The network of a session and everything computed from it, cached by the content of its weights.

A cached module is shared by all sessions and never changed: it stays in eval mode, and whatever changes
weights works on a copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray
from torch import nn

from pdc_core.costs import Cost, plan_cost
from pdc_core.data import Data, Split, describe_data, load_data
from pdc_core.data.folders import FOLDER, folder_state
from pdc_core.errors import PDCError, Untraceable
from pdc_core.export import folds_of, header, load
from pdc_core.graph import ChannelGraph, trace
from pdc_core.graph.tensors import layer_of
from pdc_core.models import load_model, model_info
from pdc_core.models.load import SHIPPED
from pdc_core.train import evaluate
from ui.choice import Choice
from ui.classroom import check_network, located, located_data
from ui.jobs import Job, request

SEED = 0
DESCRIBED = "imagenet"  # only its shape and classes are known
QUICK_MACS = 2_000_000_000  # a second or less on two cores
CHUNK = 250  # images between two steps of a progress bar
Stamp = tuple[int, int] | None


@dataclass(frozen=True)
class Network:
    """A network with its data and channel groups. `digest` is the sha256 of its weights."""

    choice: Choice
    module: nn.Module
    data: Data
    graph: ChannelGraph
    example: torch.Tensor  # (1, c, h, w)
    digest: str
    untraced: str = ""  # why the whole cannot be traced, where a part was taken instead

    @property
    def model(self) -> str:
        """Its name, as `load_model` takes it."""
        return self.choice.model

    @property
    def data_name(self) -> str:
        """The name of its data, as `load_data` takes it."""
        return self.choice.data

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self.choice.label

    @property
    def has_images(self) -> bool:
        """Whether there are images to measure and to train with; ImageNet is known by its shape and classes only."""
        return len(self.data.test) > 0

    @property
    def folded(self) -> bool:
        """Whether it is a network that PDC has folded already."""
        return bool(folds_of(self.module))


@dataclass(frozen=True)
class Predictions:
    """The predictions of a network on a split."""

    accuracy: float  # 0 to 1
    classes: NDArray[np.int64]  # (n,)
    wrong: NDArray[np.int64]  # indices of the mistakes


@dataclass(frozen=True)
class FilterMap:
    """A picture of one group in the plane: coordinates, trustworthiness and the names of the axes."""

    points: NDArray[np.float64]  # (n, 2)
    quality: float  # 0 to 1
    axes: tuple[str, str]


def load_images(name: str, stamp: Stamp) -> Data:
    """Load a data set once for all sessions; one that is known by its description only has no images.

    Raises
    ------
    PDCError
        It is unknown, cannot be read, or is not for this visitor (`classroom.located_data`).
    """
    return _load_images(located_data(name), stamp)


@st.cache_resource(show_spinner="Loading the images", max_entries=3)
def _load_images(name: str, stamp: Stamp) -> Data:
    if name != DESCRIBED:
        return load_data(name)
    info = describe_data(name)
    none = Split(torch.zeros(0, *info.shape, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    return Data(name, none, none, none, info.classes, info.shape, info.mean, info.std)


@st.cache_resource(show_spinner="Loading the weights", max_entries=4)
def _load_module(
    model: str, data_name: str, weights: str, stamp: Stamp, classes: tuple[str, ...]
) -> tuple[nn.Module, str]:
    """Load a network for these classes in eval mode, and the sha256 of its weights."""
    module = load(weights) if is_folded(weights) else load_model(model, data_name, weights=weights)
    digest = hashlib.sha256(type(module).__name__.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return module, digest.hexdigest()


@st.cache_resource(show_spinner="Finding out which layers are tied", max_entries=8)
def _trace(
    _module: nn.Module, _example: torch.Tensor, digest: str, shape: tuple[int, int, int], residual: str, inside: str
) -> tuple[ChannelGraph, str]:
    """Trace a network or a part of it; return also why the whole was not, where that was asked for."""
    try:
        return trace(_module, _example, residual=residual, inside=inside), ""
    except Untraceable as error:
        if inside or not error.part:
            raise
        return trace(_module, _example, residual=residual, inside=error.part), error.why


def load_network(
    model: str, data: str, weights: str = SHIPPED, residual: str = "internal", inside: str = ""
) -> Network:
    """Load a network, its data and its channel groups; each is kept for all sessions.

    Where the whole network cannot be traced, its groups are those of the part that can.

    Raises
    ------
    PDCError
        A name is unknown, a file is missing or not trusted, or weights, data and network do not fit each other. In a
        class, also what its visitors may not open.
    """
    choice = Choice(model, data, weights, residual, inside)
    check_network(model)
    images, file = load_images(data, data_stamp(data)), located(weights)
    module, digest = _load_module(model, located_data(data), file, stamp_of(file), images.classes)
    if images.name == DESCRIBED and (info := model_info(module)):  # timm's networks have pixels and means of their own
        images = replace(images, shape=info.shape, mean=info.mean, std=info.std)
    graph, untraced = _trace(module, images.example, digest, images.shape, residual, inside)
    return Network(choice, module, images, graph, images.example, digest, untraced)


def is_folded(weights: str) -> bool:
    """Tell whether a file holds a network that PDC folded: it is rebuilt from its own header."""
    path = Path(weights)
    return path.suffix == ".safetensors" and path.is_file() and bool(_folds_in(weights, stamp_of(weights)))


@st.cache_data(show_spinner=False, max_entries=64)
def _folds_in(path: str, stamp: Stamp) -> int:
    try:
        return len(header(path)["folds"])
    except PDCError:  # a checkpoint from elsewhere; `load_model` reads it
        return 0


def stamp_of(path: str) -> Stamp:
    """Return what tells one state of a file from another: its time and size; None if there is no file."""
    try:
        known = Path(path).stat() if path else None
    except (OSError, ValueError):
        known = None
    return (known.st_mtime_ns, known.st_size) if known else None


def data_stamp(name: str) -> Stamp:
    """Return what tells one state of a data set's files from another; None for one that has none here."""
    name = located_data(name)
    return folder_state(name) if name.startswith(FOLDER) else stamp_of(name.partition(":")[2])


def images_key(network: Network) -> tuple[str, str, str]:
    """Return what tells one state of a network's images from another: the files of a name may have changed."""
    return network.data_name, str(network.data.mean), str(data_stamp(network.data_name))


def predictions(network: Network) -> Job[Predictions]:
    """Classify the test split: at once where that is quick, else in the background."""
    return _measured(network, "test")


def validation_accuracy(network: Network) -> Job[Predictions]:
    """Classify the validation split, as `predictions` does the test split."""
    return _measured(network, "val")


def _measured(network: Network, split: str) -> Job[Predictions]:
    images: Split = getattr(network.data, split)
    work = network_cost(network).macs * len(images)
    return request(
        ("classify", network.digest, *images_key(network), split),
        lambda job: _classify(network, images, job.progress),
        wait=work <= QUICK_MACS,
    )


def _classify(network: Network, split: Split, progress: Callable[[int, int], None]) -> Predictions:
    if len(split) == 0:
        return Predictions(0.0, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    found = evaluate(network.module, network.data, split, CHUNK, progress=progress)
    classes = found.predictions.numpy()
    return Predictions(found.accuracy, classes, np.flatnonzero(classes != split.labels.numpy()))


def network_cost(network: Network) -> Cost:
    """Count the MACs and parameters of the whole network, from its trace."""
    return _network_cost(network.graph, network.digest, network.graph.inside)


@st.cache_data(show_spinner=False, max_entries=8)
def _network_cost(_graph: ChannelGraph, digest: str, inside: str) -> Cost:
    return plan_cost(_graph, {})


def group_kernels(network: Network, group: str) -> NDArray[np.float32]:
    """Return the weights of a group's first producer, (n, c, kh, kw) or (n, c)."""
    producer = network.graph.group(group).producers[0]
    weight = layer_of(network.module, producer).get_parameter("weight")
    return weight.detach().numpy()[np.asarray(producer.channels)]
