"""A network with its weights and a `ModelInfo` that describes it: what every page and command starts from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pdc_core.data import DataInfo, describe_data
from pdc_core.errors import PDCError
from pdc_core.models.checkpoint import compare_state, load_state_, read_checkpoint
from pdc_core.models.download import cached_file
from pdc_core.models.published import FILES, published_weights
from pdc_core.models.timm import PREFIX, build_timm, timm_head, timm_inputs
from pdc_core.models.zoo import MODELS, build_model, segmentation_names, torchvision_names
from pdc_core.torchvision_adapter import torchvision

SHIPPED, RANDOM, PUBLISHED, TORCHVISION, TIMM = "shipped", "random", "published", "torchvision", "timm"
NAMED = (SHIPPED, RANDOM, PUBLISHED, TORCHVISION, TIMM)
_AUXILIARY = ("aux", "AuxLogits")  # heads that only training reads; they are not built here
_DENSE_LAYER = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)")  # how files of DenseNet write norm1 and conv2
WEIGHTS = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True)
class ModelInfo:
    """What a network is and what its inputs have to look like.

    Attributes
    ----------
    model, data : str
        Names as `load_model` takes them.
    shape : tuple of int
        Channels, height and width of one image, (c, h, w).
    classes : tuple of str
        The class of each output.
    mean, std : tuple of float
        Per channel, of images scaled to 0..1.
    new_head : str, default ""
        The last layer, if it is random because the weights of all others were trained for other classes.
    """

    model: str
    data: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    new_head: str = ""

    @property
    def example(self) -> Tensor:
        """A float32 tensor of zeros (1, c, h, w), for tracing and costing the network."""
        return torch.zeros(1, *self.shape)

    @property
    def note(self) -> str:
        """A sentence that names the new head; "" if there is none."""
        if not self.new_head:
            return ""
        return (
            f"New head: {self.new_head} has {len(self.classes)} outputs and random weights, because the weights of "
            f"{self.model} are for other classes. Train it before it is distilled."
        )


def model_info(model: nn.Module) -> ModelInfo | None:
    """Return what `load_model` noted about a network.

    Parameters
    ----------
    model : nn.Module
        Any network.

    Returns
    -------
    ModelInfo or None
        None for a network that was not made by `load_model`.
    """
    card = getattr(model, "card", None)
    return card if isinstance(card, ModelInfo) else None


def weights_source(weights: bool | str | Path) -> str:
    """Return where weights come from in its one written form: "shipped", "random", "torchvision", "timm" or a path.

    Run files, the command line and the app all use this form. Whether the weights exist is not checked.

    Parameters
    ----------
    weights : bool, str or Path
        "shipped" or True: the weights that come with PDC. "random" or False: random ones. "published": the CIFAR-10
        ResNets of akamaster/pytorch_resnet_cifar10. "torchvision": those that torchvision publishes for its ImageNet
        classifiers. "timm": those that timm publishes for its networks. Anything else: the path of a checkpoint,
        returned as it is given. A file that is itself called like one of these words needs a folder before its name,
        ./random.

    Returns
    -------
    str
        "shipped", "random", "published", "torchvision", "timm" or the path.

    Raises
    ------
    PDCError
        If `weights` is empty or of another type.

    Examples
    --------
    >>> weights_source(True), weights_source("random"), weights_source("nets/mine.safetensors")
    ('shipped', 'random', 'nets/mine.safetensors')
    """
    if isinstance(weights, bool):
        return SHIPPED if weights else RANDOM
    if isinstance(weights, Path):
        return f"./{weights}" if str(weights) in NAMED else str(weights)
    if isinstance(weights, str) and weights.strip():
        return weights
    raise PDCError(
        f'weights={weights!r}: give "shipped" (or True), "random" (or False), "published", "torchvision", "timm" or '
        "the path of a checkpoint"
    )


def load_model(name: str, data: str | None = None, *, weights: bool | str | Path = SHIPPED, seed: int = 0) -> nn.Module:
    """Return the network `name` for the data set `data`, in eval mode, with its `ModelInfo` as attribute `card`.

    Parameters
    ----------
    name : str
        A network of the zoo, a classifier or segmentation network of torchvision's, or `timm:NAME` for one of timm's.
    data : str, optional
        The data set that gives the channels and classes. By default "digits" for the zoo and "imagenet" (224x224
        pixels, 1,000 classes) for all others; with timm's networks its pixels, mean and std are those that timm gives.
    weights : bool, str or Path, default "shipped"
        "shipped" or True: the weights that come with PDC; "random" or False: random ones; "published": those of the
        CIFAR-10 ResNets of akamaster/pytorch_resnet_cifar10; "torchvision": those that torchvision publishes for its
        ImageNet classifiers; "timm": those that timm publishes. These three are downloaded once, and for another
        number of classes than theirs the last layer is new and random (`ModelInfo.new_head`). A path: a checkpoint
        (`read_checkpoint`).
    seed : int, default 0
        Seed of the random weights. The global random state is neither read nor written.

    Returns
    -------
    nn.Module
        The network, in eval mode, on the CPU.

    Raises
    ------
    PDCError
        If the name or the data set is unknown, no weights come with PDC for the pair, or a checkpoint does not fit.

    Examples
    --------
    >>> model = load_model("resnet20", data="digits", weights="random")
    >>> model.training, model_info(model).shape
    (False, (1, 8, 8))
    """
    source, head = weights_source(weights), ""
    info = describe_data(data or ("digits" if name in MODELS else "imagenet"))
    if name.startswith(PREFIX) and info.name == "imagenet":
        info = replace(info, **timm_inputs(name))
    with _SeededInit(seed):
        if source == TIMM and name.startswith(PREFIX):
            model = build_timm(name, info.shape[0], len(info.classes), pretrained=True)
            head = timm_head(model, len(info.classes))
        else:
            model = build_model(name, info.shape[0], len(info.classes), size=info.shape[1])
    if source == SHIPPED:
        if info.name not in shipped_data(name):
            raise PDCError(
                f"PDC comes with no weights for {name} on {info.name}; give "
                + ('weights="published" (--weights published) to download some, ' if _published(name, info) else "")
                + 'weights="random" (--weights random) for random ones or weights=PATH (--weights PATH) for a '
                "checkpoint of your own"
            )
        path = WEIGHTS / f"{name}-{info.name}.safetensors"
        load_state_(model, read_checkpoint(path), str(path))
    elif source in (PUBLISHED, TORCHVISION):
        theirs = published_weights(name) if source == PUBLISHED else torchvision_weights(name)
        fitting, head = _with_own_head(model, theirs, len(info.classes))
        load_state_(model, fitting, f"the {source} checkpoint of {name}")
    elif source == TIMM and not name.startswith(PREFIX):
        raise PDCError(f"timm publishes weights for its own networks only: load timm:{name}, or choose other weights")
    elif source not in (RANDOM, TIMM):
        given = read_checkpoint(source)
        if other := _with_own_head(model, given, len(info.classes))[1]:
            outputs = compare_state(model, given).misshapen[0][1][0]
            raise PDCError(
                f"{source} is for {outputs} classes (the outputs of {other}), but {info.name} has "
                f"{len(info.classes)}: choose data with its classes, or weights that were trained on these (pdc teach)"
            )
        load_state_(model, given, source)
    card = ModelInfo(name, info.name, info.shape, info.classes, info.mean, info.std, head)
    setattr(model, "card", card)  # noqa: B010
    return model.eval()


def torchvision_weights(name: str) -> dict[str, Tensor]:
    """Return the tensors that torchvision publishes for one of its classifiers, downloaded into torch's cache once.

    Parameters
    ----------
    name : str
        A classifier of torchvision's that is not also a network of the zoo.

    Returns
    -------
    dict of str to Tensor
        Tensors by name, on the CPU, without the heads that only training uses.

    Raises
    ------
    PDCError
        If torchvision publishes no weights for the name, or the file can be neither found nor downloaded.
    """
    models = torchvision().models
    if name in segmentation_names():
        raise PDCError(
            f"PDC loads torchvision's weights for classifiers only; give those of {name} as weights=PATH "
            "(--weights PATH)"
        )
    if name in MODELS or name not in torchvision_names():
        raise PDCError(
            f"torchvision publishes no weights for {name!r}; give weights=PATH (--weights PATH) for a checkpoint of "
            "your own"
        )
    url = models.get_model_weights(name).DEFAULT.url
    state = read_checkpoint(cached_file(url, f"torchvision's weights for {name}"))
    if name.startswith("densenet"):
        return {_DENSE_LAYER.sub(r"\1\2", key): tensor for key, tensor in state.items()}
    if name in ("googlenet", "inception_v3"):
        return {key: tensor for key, tensor in state.items() if not key.startswith(_AUXILIARY)}
    return state


def _published(name: str, info: DataInfo) -> bool:
    return name in FILES and info.name == "cifar10"


def _with_own_head(model: nn.Module, tensors: Mapping[str, Tensor], n_classes: int) -> tuple[Mapping[str, Tensor], str]:
    """Return tensors with the network's own last layer where only the number of classes differs, and its name or ""."""
    fit = compare_state(model, tensors)
    layers = {name.rpartition(".")[0] for name, _, _ in fit.misshapen}
    alike = (has[:1] and has[1:] == needs[1:] and needs[0] == n_classes for _, has, needs in fit.misshapen)
    if len(layers) != 1 or not all(alike):
        return tensors, ""
    own = model.state_dict()
    return {**tensors, **{name: own[name] for name, _, _ in fit.misshapen}}, layers.pop()


def shipped_data(name: str) -> tuple[str, ...]:
    """Return the data sets for which PDC comes with weights of a network.

    Parameters
    ----------
    name : str
        A network of the zoo.

    Returns
    -------
    tuple of str
        Names of data sets, sorted; empty where there are none.
    """
    prefix = f"{name}-"
    return tuple(sorted(path.stem.removeprefix(prefix) for path in WEIGHTS.glob(f"{prefix}*.safetensors")))


class _SeededInit(TorchFunctionMode):
    """Draw every random initial weight from one generator of our own.

    Seeding torch's global generator, even for a moment, would affect the other threads of a server; a function
    mode applies to its own thread only. The weights are those that ``torch.manual_seed(seed)`` would give.
    """

    _RANDOM = frozenset({"normal_", "uniform_", "trunc_normal_", "bernoulli_", "exponential_", "random_"})
    _NAMES = _RANDOM | {
        "kaiming_normal_",
        "kaiming_uniform_",
        "xavier_normal_",
        "xavier_uniform_",
        "orthogonal_",
    }

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") in self._NAMES and kwargs.get("generator") is None:
            kwargs["generator"] = self.generator
        return func(*args, **kwargs)
