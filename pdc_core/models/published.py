"""The CIFAR-10 ResNets that Yerlan Idelbayev published: https://github.com/akamaster/pytorch_resnet_cifar10 (BSD-2)."""

from __future__ import annotations

from torch import Tensor

from pdc_core.errors import PDCError
from pdc_core.models.checkpoint import read_checkpoint
from pdc_core.models.download import cached_file

URL = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models"
# The files by network. After the hyphen stands the beginning of the SHA-256.
FILES = {
    "resnet20": "resnet20-12fca82f.th",
    "resnet32": "resnet32-d509ac18.th",
    "resnet44": "resnet44-014dd654.th",
    "resnet56": "resnet56-4bfd9763.th",
    "resnet110": "resnet110-1d1ed7c2.th",
    "resnet1202": "resnet1202-f3b1deed.th",
}


def published_weights(name: str) -> dict[str, Tensor]:
    """Return the tensors of a published CIFAR-10 ResNet, downloaded into torch's cache once.

    Its names, its shortcuts (option A) and the normalisation of its images are those of the zoo and of `cifar10`.

    Parameters
    ----------
    name : str
        A key of `FILES`.

    Returns
    -------
    dict of str to Tensor
        By name, on the CPU.

    Raises
    ------
    PDCError
        No such weights are published for the name, or the file can be neither found nor downloaded, or is another one.
    """
    if name not in FILES:
        raise PDCError(
            f'weights="published" (--weights published) are the CIFAR-10 ResNets of akamaster/pytorch_resnet_cifar10: '
            f"{', '.join(FILES)}; for {name!r} choose other weights"
        )
    return read_checkpoint(cached_file(f"{URL}/{FILES[name]}", f"the published weights of {name}"))
