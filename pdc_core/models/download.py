"""Files of weights that others publish: looked for in torch's cache, downloaded into it, their hash compared."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch.hub import HASH_REGEX

from pdc_core.errors import PDCError


def cached_file(url: str, what: str) -> Path:
    """Return a file of weights from torch's cache, downloaded first if it is not there.

    The name of such a file ends with the beginning of its SHA-256, as in resnet18-f37072fd.pth. That is compared, also
    where the file was put into the cache by hand. Nothing is printed, and nothing in the file is executed.

    Parameters
    ----------
    url : str
        Where it is published.
    what : str
        What it holds, for messages.

    Returns
    -------
    Path
        The file, in the folder `checkpoints` of `torch.hub.get_dir()`.

    Raises
    ------
    PDCError
        It can be neither found nor downloaded, or is not the file that was published.
    """
    name = url.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    found = HASH_REGEX.search(name)
    begins = found[1] if found else ""
    if path.is_file():
        with path.open("rb") as file:
            given = hashlib.file_digest(file, "sha256").hexdigest()
        if not given.startswith(begins):
            raise PDCError(
                f"{path} does not hold {what}: its SHA-256 begins with {given[: len(begins)]}, not {begins}. Delete it "
                "to have it downloaded again, or put the right file there"
            )
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), begins or None, progress=False)
    except (OSError, RuntimeError) as error:
        raise PDCError(
            f"{what} could not be downloaded ({error}). On a machine with a network connection download {url}, and put "
            f"the file at {path} or give it as weights=PATH (--weights PATH)"
        ) from error
    return path
