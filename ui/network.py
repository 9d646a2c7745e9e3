"""The network a session looks at, and everything computed from it: cached by the content of its weights.

A cached module is shared by all sessions and never changed: it stays in eval mode, and whatever changes
weights works on a copy.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
import torch
from numpy.typing import NDArray
from torch import nn

from pdc_core.cluster import assign_group, filter_vectors, filter_weights
from pdc_core.cost import Cost, cost
from pdc_core.data import Data, load_data
from pdc_core.embed import map_quality, pca_map, pca_share
from pdc_core.graph import ChannelGraph, trace
from pdc_core.models import load_model
from pdc_core.train import evaluate

DEFAULT_MODEL, DEFAULT_DATA = "resnet20", "digits"
SEED = 0


@dataclass(frozen=True)
class Network:
    """A trained network with its data and channel groups. `digest` is the sha256 of its weights."""

    model: str
    data_name: str
    module: nn.Module
    data: Data
    graph: ChannelGraph
    example: torch.Tensor  # (1, c, h, w)
    digest: str

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f"{self.model.replace('resnet', 'ResNet-')} on {self.data_name}"


@dataclass(frozen=True)
class Predictions:
    """What the network says about the test split."""

    accuracy: float  # 0 to 1
    classes: NDArray[np.int64]  # (n,)
    wrong: NDArray[np.int64]  # indices of the mistakes


@dataclass(frozen=True)
class FilterMap:
    """A picture of one group in the plane: coordinates, trustworthiness and the names of the axes."""

    points: NDArray[np.float64]  # (n, 2)
    quality: float  # 0 to 1
    axes: tuple[str, str]


@st.cache_resource(show_spinner="Loading the network", max_entries=4)
def load_network(model: str, data_name: str) -> Network:
    """Load a network, trace its channel groups and fingerprint its weights."""
    module, data = load_model(model, data=data_name), load_data(data_name)
    example = torch.zeros(1, *data.shape)
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return Network(model, data_name, module, data, trace(module, example), example, digest.hexdigest())


@st.cache_data(show_spinner="Classifying the test images", max_entries=8)
def predictions(_network: Network, digest: str) -> Predictions:
    """Classify the test split."""
    result = evaluate(_network.module, _network.data, _network.data.test)
    said = np.asarray(result.predictions)
    return Predictions(result.accuracy, said, np.flatnonzero(said != np.asarray(_network.data.test.labels)))


@st.cache_data(show_spinner=False, max_entries=8)
def validation_accuracy(_network: Network, digest: str) -> float:
    """Measure the network on the validation split, 0 to 1."""
    return evaluate(_network.module, _network.data, _network.data.val).accuracy


@st.cache_data(show_spinner=False, max_entries=8)
def network_cost(_network: Network, digest: str) -> Cost:
    """Count the MACs and parameters of the whole network."""
    return cost(_network.module, _network.example)


@st.cache_data(show_spinner=False, max_entries=512)
def group_vectors(_network: Network, digest: str, group: str) -> NDArray[np.float64]:
    """Return the vectors that are clustered, (n, d)."""
    return filter_vectors(_network.module, _network.graph.group(group))


@st.cache_data(show_spinner="Clustering", max_entries=2048)
def group_labels(_network: Network, digest: str, group: str, k: int, seed: int = SEED) -> NDArray[np.int64]:
    """Cluster the filters of one group exactly as `assign` would, (n,)."""
    return assign_group(_network.module, _network.graph.group(group), k, seed)


@st.cache_data(show_spinner=False, max_entries=512)
def group_pca(_network: Network, digest: str, group: str) -> FilterMap:
    """Project the filters of one group onto their principal axes."""
    vectors = group_vectors(_network, digest, group)
    points, (first, second) = pca_map(vectors), pca_share(vectors)
    axes = (f"1st principal axis ({first:.0%} of the variance)", f"2nd principal axis ({second:.0%})")
    return FilterMap(points, map_quality(vectors, points), axes)


def group_kernels(network: Network, group: str) -> NDArray[np.float32]:
    """Return the weights of a group's first producer, (n, c, kh, kw) or (n, c)."""
    producer = network.graph.group(group).producers[0]
    weight = network.module.get_submodule(producer.module).get_parameter("weight")
    return weight.detach().numpy()[np.asarray(producer.channels)]


@st.cache_data(show_spinner=False, max_entries=2048)
def filter_table(_network: Network, digest: str, group: str, k: int, seed: int = SEED) -> pd.DataFrame:
    """Describe each filter of a group: its cluster, norm and distance to the cluster's weighted centroid."""
    vectors, labels = group_vectors(_network, digest, group), group_labels(_network, digest, group, k, seed)
    weights = filter_weights(_network.module, _network.graph.group(group))
    total = np.bincount(labels, weights, minlength=k)
    weights = np.where(total[labels] > 0, weights, 1.0)  # a cluster of total weight 0 counts as uniform
    onehot = np.eye(k)[labels]  # M (n, k)
    centroids = (onehot.T * weights) @ vectors / np.bincount(labels, weights, minlength=k)[:, None]  # (k, d)
    return pd.DataFrame(
        {
            "filter": np.arange(len(vectors)),
            "cluster": labels,
            "members": np.bincount(labels)[labels],
            "norm": np.linalg.norm(vectors, axis=1),
            "distance": np.linalg.norm(vectors - centroids[labels], axis=1),
        }
    )
