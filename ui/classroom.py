"""A class on one server (`pdc app --class`): what its visitors may do, in one place that pages ask.

Each visitor has a folder of uploads and runs. Files are named relative to it, wherever a page, an address, a run file
or a download names them; `located` alone turns such a name into a path, and knows no others. Without a class, names
are paths as they are.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pdc_core.classroom import CLASS
from pdc_core.data import DATASETS, custom_data_names, is_local
from pdc_core.data.load import NPZ
from pdc_core.data.npz import read_npz
from pdc_core.errors import PDCError
from pdc_core.export import header
from pdc_core.files import write_whole
from pdc_core.models import MODELS
from pdc_core.models.load import NAMED
from pdc_core.runs import RunSpec, runs_root
from pdc_core.runs.waiting import COMMON_QUEUE
from ui.visitors import class_root, visitor

UPLOADS = ".uploads"
_OWN_FILE = re.compile(r"\.uploads/[0-9a-f]{64}\.[a-z]{2,12}|[0-9A-Za-z][\w-]*/folded\.safetensors", re.ASCII)
# An absolute path in a sentence: of it, the name of the file stays.
_PATH = re.compile(
    r"(?<![\w./\\])(?!(?<=:)//)(?:file://)?(?:[A-Za-z]:)?(?:[/\\]+[^\s/\\:'\"`,;()<>]+)+[/\\]([^\s/\\:'\"`,;()<>]+)"
)


@dataclass(frozen=True)
class Limits:
    """What a visitor of a class may use."""

    upload: int = 32 * 2**20  # bytes of a file
    unpacked: int = 256 * 2**20  # bytes of its arrays in memory
    pixels: int = 64  # height and width of uploaded images
    disk: int = 512 * 2**20  # bytes of all uploads and runs
    left: int = 2**30  # bytes that have to stay free on the disk
    seconds: float = 900.0  # of a run
    hours: float = 24.0  # until what a visitor left behind is removed


LIMITS = Limits()


def in_class() -> bool:
    """Tell whether this server serves a class."""
    return os.environ.get(CLASS, "").strip().lower() in ("1", "true", "on", "yes")


def own_root() -> Path:
    """Return the folder of the runs that this visitor sees: without a class, that of all runs."""
    return class_root() / visitor() if in_class() else runs_root()


def home() -> Path | None:
    """Return the folder in which the names of this visitor's files begin; None without a class."""
    return own_root() if in_class() else None


def prepare_own_root() -> Path:
    """Return `own_root`, made if it is not there; the folders of a class share one queue of runs."""
    root = own_root()
    root.mkdir(parents=True, exist_ok=True)
    if in_class():
        (root.parent / COMMON_QUEUE).touch()
    return root


# Networks, data and files.


def networks() -> list[str] | None:
    """Return the networks that may be opened: PDC's and those the server was started with; None for all."""
    return list(MODELS) if in_class() else None


def data_sets() -> list[str]:
    """Return the data sets that are offered by name; in a class, those that need no download."""
    named = [name for name in DATASETS if not in_class() or is_local(name)]
    return [*custom_data_names(), *named]


def check_network(model: str) -> None:
    """Raise a PDCError where a network may not be opened."""
    if in_class() and model not in MODELS:
        raise PDCError(
            f"The network {model[:60]!r} is not offered in this class: choose one of the list on the page Model. "
            "Whoever starts the server can add more with --build."
        )


def located(name: str) -> str:
    """Return where the weights or the file of a name are: words such as "shipped" as they are.

    A file that the lecturer has given to all is copied to the visitor's at its first use, since a worker looks there.

    Raises
    ------
    PDCError
        In a class, it is not a file of this visitor's.
    """
    if not in_class() or name in NAMED:
        return name
    if _OWN_FILE.fullmatch(name):
        path, given = own_root() / name, shared_root() / name
        if not path.is_file() and given.is_file():
            prepare_own_root()
            path.parent.mkdir(exist_ok=True)
            write_whole(path, given.read_bytes())
        if path.is_file() and path.resolve().is_relative_to(own_root().resolve()):
            return str(path.resolve())
    raise PDCError(
        f"{public(name)[:60]!r} is not one of your uploads or runs. In a class, files are opened by uploading them on "
        "the page Model."
    )


def located_data(name: str) -> str:
    """Return the name of data, its file by where that is.

    Raises
    ------
    PDCError
        In a class, it is neither offered by name nor an upload of this visitor's.
    """
    if not in_class() or name in data_sets():
        return name
    if name.startswith(NPZ):
        return NPZ + located(name.removeprefix(NPZ))
    raise PDCError(
        f"The data {public(name)[:60]!r} is not offered in this class: choose data of the list on the page Model, or "
        "upload an .npz file."
    )


def run_folder(weights: str) -> Path | None:
    """Return the folder of the run whose result weights are, or None."""
    if weights in NAMED or (in_class() and not _OWN_FILE.fullmatch(weights)):
        return None
    folder = (home() or Path()) / Path(weights).parent
    return folder if (folder / "run.yaml").is_file() else None


def share(name: str) -> str:
    """Give a file of this visitor's to all of the class, and return its name, which is made from its content."""
    if name in NAMED:
        return name
    file = Path(located(name))
    content = file.read_bytes()
    shared = f"{UPLOADS}/{hashlib.sha256(content).hexdigest()}{file.suffix}"
    (shared_root() / UPLOADS).mkdir(parents=True, exist_ok=True)
    write_whole(shared_root() / shared, content)
    return shared


def shared_root() -> Path:
    """Return the folder of the files that the lecturer has given to all."""
    return class_root() / ".shared"


def name_of(path: Path) -> str:
    """Return how pages name a file of this visitor's: its path, in a class relative to the visitor's folder."""
    return path.resolve().relative_to(own_root().resolve()).as_posix() if in_class() else str(path.resolve())


def public(text: str) -> str:
    """Return a text as a visitor may read it: in a class, without any path of the server."""
    if not in_class():
        return text
    for root in (own_root().resolve(), own_root()):
        text = text.replace(f"{root}{os.sep}", "").replace(str(root), "your folder")
    return _PATH.sub(r"\1", text)


# Uploads.


def check_upload(content: bytes, kind: str, folder: Path) -> None:
    """Raise a PDCError where a visitor may not store a file; whether it is of use is for its reader to say.

    Parameters
    ----------
    content : bytes
        The file.
    kind : str
        Its suffix without the dot.
    folder : Path
        The visitor's folder.
    """
    if len(content) > LIMITS.upload:
        raise PDCError(
            f"The file has {len(content) / 2**20:.0f} MiB; in a class, uploads may have {LIMITS.upload >> 20}. Upload "
            "a smaller one."
        )
    check_space(folder, len(content))


def check_content(path: Path) -> None:
    """Raise a PDCError where a stored file would take too much memory, or holds a network that is not offered."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > LIMITS.unpacked:
            raise PDCError(
                f"The file holds {unpacked / 2**20:,.0f} MiB once it is unpacked; in a class, {LIMITS.unpacked >> 20} "
                "are allowed. Upload fewer images."
            )
    elif path.suffix != ".safetensors":
        raise PDCError("The file is not a zip archive as numpy.savez and torch.save write it; save it again with them.")
    if path.suffix == ".npz":
        _, _, *size = read_npz(path)["x_train"].shape
        if max(size) > LIMITS.pixels:
            raise PDCError(
                f"The images have {size[0]}x{size[1]} pixels; in a class, {LIMITS.pixels}x{LIMITS.pixels} are allowed. "
                "Upload smaller images."
            )
    elif path.suffix == ".safetensors":
        _check_header(path)


def _check_header(path: Path) -> None:
    """Raise a PDCError where a file of PDC's is of a network that is not offered, or of larger images."""
    try:
        content = header(path)
    except PDCError:  # a checkpoint from elsewhere, which says nothing of its network
        return
    card = content["card"] or {}
    check_network(str(card.get("model", "of a class of its own")))
    sizes = [card.get("shape", []), *(fold["input"][1:] for fold in content["folds"])]
    if any(not isinstance(side, int) or side > LIMITS.pixels for size in sizes for side in size):
        raise PDCError(
            f"This network is for images of more than {LIMITS.pixels}x{LIMITS.pixels} pixels, the most that a class "
            "may use."
        )
    if len(card.get("classes", [])) > 1000:
        raise PDCError("This network has more than 1,000 classes, the most that a class may use.")


def check_space(folder: Path, more: int = 0) -> None:
    """Raise a PDCError where a visitor's folder may not grow, by `more` bytes at once."""
    used = size_of(folder)
    if used + more > LIMITS.disk:
        raise PDCError(
            f"Your uploads and runs take up {used / 2**20:.0f} of {LIMITS.disk >> 20} MiB. Remove a run on the page "
            "Distil, or uploads on the page Class."
        )
    if shutil.disk_usage(folder if folder.exists() else runs_root().parent).free < LIMITS.left + more:
        raise PDCError("The disk of this server is nearly full; ask whoever runs it to free some space.")


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder and below; files that vanish meanwhile count as nothing."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except FileNotFoundError:
                continue
    return total


# Runs.


def check_run(spec: RunSpec, seconds: float, finished: list[str]) -> None:
    """Raise a PDCError where a visitor may not start a run.

    Parameters
    ----------
    spec : RunSpec
        The run.
    seconds : float
        How long it takes, as far as it is known.
    finished : list of str
        The ids of this visitor's runs, which may teach.
    """
    if not in_class():
        return
    check_network(spec.model)
    located_data(spec.data)
    located(spec.weights)
    if spec.teacher is not None and spec.teacher not in finished:
        name, _, weights = spec.teacher.rpartition(":")
        if (name or weights) not in MODELS or (name and weights not in NAMED):
            raise PDCError(
                f"{public(spec.teacher)[:60]!r} cannot teach in a class: choose a run of yours, or NAME:WEIGHTS such "
                "as resnet56:published."
            )
    if max(seconds, spec.budget or 0.0) > LIMITS.seconds:
        raise PDCError(
            f"This run takes about {max(seconds, spec.budget or 0.0) / 60:.0f} minutes; in a class, a run may take "
            f"{LIMITS.seconds / 60:.0f}. Choose fewer epochs, or a time in place of «No limit»."
        )
    check_space(own_root())
