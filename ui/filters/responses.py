"""Responses of a network's filters to images: covariances for clusters, and what excites each filter most.

Both are measured once for a server, in the background, for all layers in one pass.
"""

from __future__ import annotations

import numpy as np
import streamlit as st
from torch import Tensor

from pdc_core.analysis.receptive import receptive_fields
from pdc_core.analysis.responses import Responses, measure_responses
from pdc_core.clustering import channel_covariances
from pdc_core.copies import twin
from pdc_core.errors import PDCError
from pdc_core.train import Training
from ui.current_plan import network_key
from ui.jobs import Job, Key, jobs, request
from ui.network import QUICK_MACS, Network, images_key, network_cost

RESPONSES = "activations"  # the name of such vectors in a plan
_MOST, _FEWEST, _MACS = 500, 64, 60e9  # validation images, and what all of them together may cost
_UNASKED_MACS = 40e9  # some seconds; what costs more is measured when somebody asks for it


def training_images(network: Network) -> int:
    """Return how many training images responses are compared on: those that a run takes, so that clusters agree."""
    return min(Training().n_images, len(network.data.train))


def validation_images(network: Network) -> int:
    """Return how many validation images are looked through for what excites a filter."""
    macs = network_cost(network).macs
    return min(len(network.data.val), int(np.clip(_MACS / max(1, macs), _FEWEST, _MOST)))


def response_covariances(network: Network) -> Job[dict[str, Tensor]]:
    """Measure the covariance of each group's channels on training images: at once where that is quick."""
    macs = network_cost(network).macs * training_images(network)
    return request(_key("covariances", network), lambda job: _covariances(network, job), wait=macs <= QUICK_MACS)


def known_covariances(network: Network) -> Job[dict[str, Tensor]] | None:
    """Return the job of `response_covariances`; where it costs more than seconds, only if somebody has asked for it."""
    macs = network_cost(network).macs * training_images(network)
    unasked = 0 < macs <= _UNASKED_MACS
    return response_covariances(network) if unasked else jobs().known(_key("covariances", network))


def measured_covariance(network: Network, name: str) -> Tensor:
    """Return the covariance of a group's channels, (n, n), measured now if it is not known yet.

    Raises
    ------
    PDCError
        There are no training images, nothing reads the group, or the measurement was cancelled.
    """
    job = response_covariances(network)
    job.wait()
    found = job.value
    if found is None:
        raise PDCError("The responses of this network were not measured, since everybody left; measure them again.")
    if name not in found:
        raise PDCError(f"Nothing reads group {name!r}, so its filters cannot be compared by their responses.")
    return found[name]


def responses(network: Network) -> Job[dict[str, Responses]]:
    """Measure what excites the filters of all groups on validation images: at once where that is quick."""
    count = validation_images(network)
    macs = network_cost(network).macs * count
    return request(_key("responses", network), lambda job: _responses(network, count, job), wait=macs <= QUICK_MACS)


@st.cache_data(show_spinner="Finding the receptive field", max_entries=32)
def fields_of(_network: Network, key: str, name: str) -> np.ndarray:
    """Return the box of pixels behind each place of a group, (n or 1, places, 4): one row if all filters agree."""
    boxes = receptive_fields(_network.module, _network.graph.group(name), _network.data.shape)
    return boxes[:1] if (boxes == boxes[:1]).all() else boxes


def _key(what: str, network: Network) -> Key:
    return what, network_key(network), *images_key(network)


def _covariances(network: Network, job: Job[dict[str, Tensor]]) -> dict[str, Tensor]:
    if not training_images(network):
        raise PDCError("This data has no images, so filters cannot be compared by their responses.")
    images = network.data.train.sample(training_images(network)).images
    groups = [group for group in network.graph.clusterable if group.readers]
    found = channel_covariances(twin(network.module), groups, network.data.prepare(images), progress=job.progress)
    return {name: each.covariance for name, each in found.items()}


def _responses(network: Network, count: int, job: Job[dict[str, Responses]]) -> dict[str, Responses]:
    groups = [group for group in network.graph.clusterable if group.readers]
    images = network.data.prepare(network.data.val.sample(count).images)
    return measure_responses(twin(network.module), groups, images, job.progress)
