"""Clustering: which filters of a group are similar. Filter vectors in, labels out; no weight is changed.

`vectors` says what is compared, `algorithms` and `ward` how it is grouped; `assignment` does it for a whole network,
`labels` holds the numbering and the checks, `spread` the centroids. The default (our choice): k-means on the raw
filters, each weighted by its squared norm, so that filters that do nothing do not pull a centroid away from the others.
"""

from pdc_core.clustering.algorithms import ALGORITHMS, cluster
from pdc_core.clustering.assignment import assign, assign_group, deal_out
from pdc_core.clustering.counts import Curve, Dendrogram, Suggestion, curve, dendrogram, suggest
from pdc_core.clustering.covariances import ReaderCovariances, channel_covariances
from pdc_core.clustering.labels import FloatArray, IntArray, Labels, canonical, check_labels
from pdc_core.clustering.vectors import VECTORS, filter_vectors, filter_weights
from pdc_core.clustering.ward import cut_tree, ward_linkage

__all__ = [
    "ALGORITHMS",
    "VECTORS",
    "Curve",
    "Dendrogram",
    "FloatArray",
    "IntArray",
    "Labels",
    "ReaderCovariances",
    "Suggestion",
    "assign",
    "assign_group",
    "canonical",
    "channel_covariances",
    "check_labels",
    "cluster",
    "curve",
    "cut_tree",
    "deal_out",
    "dendrogram",
    "filter_vectors",
    "filter_weights",
    "suggest",
    "ward_linkage",
]
