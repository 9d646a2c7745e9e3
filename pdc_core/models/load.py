"""A network with its weights and a card that says what it is: what every page and command starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pdc_core.data import describe_data
from pdc_core.errors import PDCError
from pdc_core.models.checkpoint import load_state_, read_checkpoint
from pdc_core.models.zoo import MODELS, build_model, torchvision_names
from pdc_core.torchvision_adapter import torchvision

PUBLISHED = "torchvision"
_AUXILIARY = ("aux", "AuxLogits")  # heads that only training reads; they are not built here
WEIGHTS = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True)
class ModelInfo:
    """What a network is and what its inputs have to look like.

    Attributes
    ----------
    model, data : str
        Names as `load_model` takes them.
    shape : (int, int, int)
        Channels, height and width of one image.
    classes : tuple of str
        What each output stands for.
    mean, std : tuple of float
        Per channel, of images scaled to 0..1.
    """

    model: str
    data: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def model_info(model: nn.Module) -> ModelInfo | None:
    """Return the card that `load_model` attached, or None for a network that came another way."""
    card = getattr(model, "card", None)
    return card if isinstance(card, ModelInfo) else None


def load_model(name: str, data: str | None = None, *, weights: bool | str | Path = True, seed: int = 0) -> nn.Module:
    """Return the network `name` for the data set `data`, in eval mode, with its `ModelInfo` as attribute `card`.

    Parameters
    ----------
    name : str
        A network of the zoo or a torchvision classifier.
    data : str, optional
        The data set that gives the channels and classes. By default "digits" for the zoo and "imagenet"
        (224x224 pixels, 1,000 classes) for torchvision's classifiers.
    weights : bool, str or Path
        True: the weights shipped with the package; False: random ones; "torchvision": those that torchvision
        publishes for its ImageNet classifiers, downloaded once; a path: a checkpoint (`read_checkpoint`).
    seed : int
        Of the random weights. The global random state is neither read nor written.

    Raises
    ------
    PDCError
        If the name or the data set is unknown, no weights are shipped for the pair, or a checkpoint does not
        fit.

    Examples
    --------
    >>> model = load_model("resnet20", data="digits", weights=False)
    >>> model.training, model_info(model).shape
    (False, (1, 8, 8))
    """
    info = describe_data(data or ("digits" if name in MODELS else "imagenet"))
    with _SeededInit(seed):
        model = build_model(name, info.shape[0], len(info.classes), size=info.shape[1])
    if weights is True:
        weights = WEIGHTS / f"{name}-{info.name}.safetensors"
        if info.name not in shipped_data(name):
            raise PDCError(
                f"no weights for {name} on {info.name} come with PDC; give weights=False (--weights random) for random "
                "ones or weights=PATH (--weights PATH) for a checkpoint of your own"
            )
    if weights == PUBLISHED:
        load_state_(model, published_weights(name), f"torchvision's checkpoint of {name}")
    elif weights is not False:
        load_state_(model, read_checkpoint(weights), str(weights))
    setattr(model, "card", ModelInfo(name, info.name, info.shape, info.classes, info.mean, info.std))  # noqa: B010
    return model.eval()


def published_weights(name: str) -> dict[str, Tensor]:
    """Return the tensors that torchvision publishes for one of its classifiers, downloaded into torch's cache once.

    Raises
    ------
    PDCError
        The name is not torchvision's, or the file can be neither found nor downloaded.
    """
    models = torchvision().models
    if name in MODELS or name not in torchvision_names():
        raise PDCError(
            f"torchvision publishes no weights for {name!r}; give weights=PATH (--weights PATH) for a checkpoint of "
            "your own"
        )
    weights = models.get_model_weights(name).DEFAULT
    try:
        state = torch.hub.load_state_dict_from_url(
            weights.url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise PDCError(
            f"torchvision's weights for {name} could not be downloaded ({error}). On a machine with network fetch "
            f"{weights.url} and give the file as weights=PATH (--weights PATH)"
        ) from error
    own = {key: tensor for key, tensor in state.items() if not key.startswith(_AUXILIARY)}
    return own if name in ("googlenet", "inception_v3") else dict(state)


def shipped_data(name: str) -> tuple[str, ...]:
    """Return the data sets for which weights of the network `name` come with the package."""
    prefix = f"{name}-"
    return tuple(sorted(path.stem.removeprefix(prefix) for path in WEIGHTS.glob(f"{prefix}*.safetensors")))


class _SeededInit(TorchFunctionMode):
    """Draw every random initial weight from one generator of our own.

    Seeding torch's global generator, even for a moment, would reach into the other threads of a server; a
    function mode is seen by its own thread only. The weights are those that ``torch.manual_seed(seed)`` would
    have given.
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
