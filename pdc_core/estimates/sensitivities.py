"""Sensitivity: each group alone merged at several counts, as a training begins, and measured without any training.

The outcome is plain data, stored under a key made of everything it depends on: weights, images, counts, seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdc_core.clustering import ReaderCovariances, assign_group, channel_covariances
from pdc_core.copies import twin
from pdc_core.data import Data
from pdc_core.errors import PDCError
from pdc_core.estimates.tail import Tail
from pdc_core.files import write_whole
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.graph.tensors import layer_of, paths_of, tensor_at
from pdc_core.plan import Plan
from pdc_core.reconstruct import merge_group_

KEEPS = (0.75, 0.5, 0.25, 0.125)
SENSITIVITY_IMAGES = 500  # validation images, unless others are asked for
MERGE_IMAGES = 512  # training images on which a training measures channels before it merges them
_METHOD = 3  # of measuring; results of another one are not reused


@dataclass(frozen=True)
class Point:
    """One group of n filters alone at k clusters.

    Attributes
    ----------
    group : str
        Its name.
    n : int
        Its filters.
    k : int
        Its clusters, 1 to n.
    accuracy : float
        Top-1 accuracy on the validation images, 0 to 1.
    divergence : float
        Mean KL(p || q) in nats, at least 0: how far the answers q are from those of the whole network, p.
    """

    group: str
    n: int
    k: int
    accuracy: float
    divergence: float


@dataclass(frozen=True)
class Sensitivity:
    """What each group costs alone.

    Attributes
    ----------
    accuracy : float
        Top-1 accuracy of the whole network on the same images, 0 to 1.
    images : int
        How many images these are.
    points : tuple of Point
        By group in the order of the forward pass, most clusters first.
    complete : bool
        Whether every group was measured at every count.
    """

    accuracy: float
    images: int
    points: tuple[Point, ...]
    complete: bool

    def of(self, group: str) -> tuple[Point, ...]:
        """Return the points of one group, fewest clusters first.

        Parameters
        ----------
        group : str
            Name of a group; one that was not measured has no points.
        """
        return tuple(sorted((p for p in self.points if p.group == group), key=lambda p: p.k))

    def drop(self, group: str, k: int) -> float | None:
        """Return the accuracy lost at k clusters, 0 to 1, linear between the counts that were measured.

        None where the group was not measured. With all its filters a group loses nothing.

        Parameters
        ----------
        group : str
            Name of the group.
        k : int
            Clusters kept, 1 to n.

        Examples
        --------
        >>> points = (Point("a", 8, 4, 0.8, 0.1), Point("a", 8, 2, 0.5, 0.4))
        >>> found = Sensitivity(0.9, 100, points, True)
        >>> [round(found.drop("a", k), 3) for k in (8, 6, 4, 3, 1)]
        [0.0, 0.05, 0.1, 0.25, 0.4]
        """
        own = self.of(group)
        if not own:
            return None
        ks = [p.k for p in own] + ([own[0].n] if own[-1].k < own[0].n else [])
        lost = [self.accuracy - p.accuracy for p in own] + ([0.0] if own[-1].k < own[0].n else [])
        if k <= ks[0]:
            return lost[0]
        i = next(i for i, each in enumerate(ks) if each >= k)
        share = (k - ks[i - 1]) / (ks[i] - ks[i - 1])
        return lost[i - 1] + share * (lost[i] - lost[i - 1])

    def to_json(self) -> str:
        """Return everything as JSON."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Sensitivity:
        """Read what `to_json` wrote.

        Parameters
        ----------
        text : str
            JSON.

        Raises
        ------
        PDCError
            The text is something else.
        """
        try:
            raw = json.loads(text)
            points = tuple(Point(**point) for point in raw["points"])
            return cls(float(raw["accuracy"]), int(raw["images"]), points, bool(raw["complete"]))
        except (ValueError, TypeError, KeyError) as error:
            raise PDCError(f"This text is not a sensitivity ({error}); measure it again.") from error


@torch.no_grad()
def sensitivity(
    model: nn.Module,
    graph: ChannelGraph,
    data: Data,
    *,
    keeps: Sequence[float] = KEEPS,
    images: int = SENSITIVITY_IMAGES,
    merge_images: int = MERGE_IMAGES,
    seed: int = 0,
    progress: Callable[[int, int, Sensitivity], None] | None = None,
    stop: Callable[[], bool] | None = None,
    cache: str | Path | None = None,
) -> Sensitivity:
    """Merge each group alone at several counts, and measure the network as it is then.

    The merge is the one that a training begins with (schedule "merge", all at once): one filter of every cluster stands
    for it, and the layers that read them are refitted. Nothing is trained, norm statistics stay as they are, and the
    network is not changed. What lies in front of a group is computed once (`Tail`), and the channels of all groups are
    measured in one pass.

    Parameters
    ----------
    model : Module
        The network, in eval mode; not changed.
    graph : ChannelGraph
        Its trace.
    data : Data
        Validation images to measure on, training images for the merge.
    keeps : sequence of float
        Keep ratios k/n to try, above 0 and below 1; a single cluster is tried as well.
    images : int, default 500
        Validation images to measure on, a sample of the split.
    merge_images : int, default 512
        Training images on which channels are measured, a sample of the split, 1 or more.
    seed : int, default 0
        Seed of the clustering, 0 or more.
    progress : callable, optional
        Called after each measurement with (done, in all, the sensitivity so far).
    stop : callable, optional
        Asked before each measurement; when it returns True, the sensitivity so far is returned, not complete.
    cache : str or Path, optional
        Folder in which results are stored by content (`sensitivity_key`). Earlier measurements, also of a call that was
        stopped, are not repeated.

    Raises
    ------
    PDCError
        A keep ratio is out of range, or the data has no validation images.
    """
    if not keeps or not all(0 < keep < 1 for keep in keeps):
        raise PDCError(f"keeps={list(keeps)}: give keep ratios above 0 and below 1, for example 0.5 and 0.25.")
    if len(data.val) == 0:
        raise PDCError(f"{data.name} has no validation images to measure the sensitivity on; hold some back.")
    device = next(model.parameters()).device
    split = data.val.sample(images)
    x, y = data.prepare(split.images.to(device)), split.labels.to(device)
    merge_x = data.prepare(data.train.sample(merge_images).images.to(device))
    key = sensitivity_key(model, graph, data, keeps=keeps, images=images, merge_images=merge_images, seed=seed)
    file = None if cache is None else Path(cache) / f"{key}.json"
    known = _read(file)
    if known is not None and known.complete:
        return known

    wanted = [(group, k) for group in graph.clusterable for k in _counts(Plan(), group, keeps)]
    points = {(p.group, p.k): p for p in (known.points if known else ())}
    merges, tail = _Merges(model, graph, merge_x, seed), Tail(model, graph, x)
    log_p = log_softmax(tail.outputs())
    accuracy = float((log_p.argmax(dim=1) == y).float().mean())
    for group, k in wanted:
        if (group.name, k) not in points:
            if stop is not None and stop():
                break
            log_q = log_softmax(tail.outputs(merges.merged(group, k)))
            right = float((log_q.argmax(dim=1) == y).float().mean())
            points[group.name, k] = Point(group.name, group.size, k, right, divergence(log_p, log_q))
        if progress is not None:
            progress(len(points), len(wanted), Sensitivity(accuracy, len(y), tuple(points.values()), False))
    result = Sensitivity(accuracy, len(y), tuple(points.values()), len(points) == len(wanted))
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, result.to_json())
    return result


def _read(file: Path | None) -> Sensitivity | None:
    """Return what an earlier call stored, None where it stored nothing that can be read: then it is measured again."""
    try:
        return None if file is None else Sensitivity.from_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


class _Merges:
    """One group at a time, merged as a training begins; the channels of all groups are measured in one pass."""

    def __init__(self, model: nn.Module, graph: ChannelGraph, images: Tensor, seed: int) -> None:
        self.model, self.graph, self.images, self.seed = model, graph, images, seed
        self.copy = twin(model)

    @cached_property
    def channels(self) -> dict[str, ReaderCovariances]:
        return channel_covariances(self.model, [g for g in self.graph.clusterable if g.readers], self.images)

    def merged(self, group: ChannelGroup, k: int) -> dict[str, Tensor]:
        """Return the tensors that a merge of one group to k clusters changes, by their dotted names."""
        labels = assign_group(self.model, group, k, self.seed)
        merge_group_(self.copy, group, self.channels.get(group.name), labels, k)
        changed = {}
        for part in (*group.producers, *group.norms, *group.readers):
            for path in paths_of(layer_of(self.copy, part), part).values():
                changed[path] = tensor_at(self.copy, path).clone()
        for path in changed:
            tensor_at(self.copy, path).copy_(tensor_at(self.model, path))
        return changed


def _counts(plan: Plan, group: ChannelGroup, keeps: Sequence[float]) -> list[int]:
    """Return the counts to try, most first: the nearest that the network allows to each keep ratio, and the fewest."""
    tried = {plan.nearest(group, keep * group.size) for keep in keeps} | {group.blocks}
    return sorted(tried - {group.size}, reverse=True)


def log_softmax(logits: Iterable[Tensor]) -> Tensor:
    """Return log probabilities (n, classes) in float32 from the logits of batches."""
    return F.log_softmax(torch.cat([part.float() for part in logits]), dim=1)


def divergence(log_p: Tensor, log_q: Tensor) -> float:
    """Return the mean of KL(p || q) over n answers, in nats, at least 0; both are log probabilities (n, classes)."""
    return max(0.0, float((log_p.exp() * (log_p - log_q)).sum(dim=1).mean()))


def sensitivity_key(
    model: nn.Module,
    graph: ChannelGraph,
    data: Data,
    *,
    keeps: Sequence[float] = KEEPS,
    images: int = SENSITIVITY_IMAGES,
    merge_images: int = MERGE_IMAGES,
    seed: int = 0,
) -> str:
    """Return the sha256 of everything that a sensitivity depends on: weights, groups, images and options.

    Parameters
    ----------
    model, graph, data : Module, ChannelGraph, Data
        As for `sensitivity`.
    keeps : sequence of float
        Keep ratios, above 0 and below 1.
    images, merge_images : int, default 500 and 512
        Validation and training images that are used.
    seed : int, default 0
        Seed of the clustering.
    """
    digest = hashlib.sha256()
    groups = [(g.name, g.size, g.blocks, g.frozen is None) for g in graph.groups]
    digest.update(repr((_METHOD, groups, graph.residual, tuple(keeps), seed, data.mean, data.std)).encode())
    tensors = [t for _, t in sorted(model.state_dict().items())]
    split = data.val.sample(images)
    tensors += [split.images, split.labels, data.train.sample(merge_images).images]
    for t in tensors:
        digest.update(repr((t.dtype, tuple(t.shape))).encode() + t.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
