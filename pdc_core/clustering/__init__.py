"""Clustering: which filters of a group are alike. Filter vectors in, labels out; no weight is changed.

`vectors` says what is compared, `algorithms` how it is grouped, `assignment` does it for a whole network; `labels`
holds the numbering and the checks. The default (our choice, DESIGN.md section 2): k-means on the raw filters, each
weighted by its squared norm, so that filters that do nothing do not pull a centroid away from those that do.
"""

from pdc_core.clustering.algorithms import ALGORITHMS, cluster, cut_tree, ward_linkage
from pdc_core.clustering.assignment import assign, assign_group
from pdc_core.clustering.counts import Curve, Dendrogram, Suggestion, curve, dendrogram, suggest
from pdc_core.clustering.covariances import ReaderCovariances, channel_covariances
from pdc_core.clustering.labels import FloatArray, IntArray, Labels, canonical, check_labels
from pdc_core.clustering.vectors import VECTORS, filter_vectors, filter_weights

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
    "dendrogram",
    "filter_vectors",
    "filter_weights",
    "suggest",
    "ward_linkage",
]
