"""How filters move while a run pulls them together: points on a basis that never changes, so that motion has a meaning.

A recorder hands the filters of every group to a `Track` now and then; pages and notebooks read its files.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pdc_core.errors import PDCError

LARGEST = 256 * 2**20  # bytes of a trajectory that are read


@dataclass(frozen=True)
class Trajectory:
    """The filters of every group at each recorded step.

    Attributes
    ----------
    steps : array of int64, shape (f,)
        Ascending; 0 is before the first step.
    points : dict of str to array of float32, shape (f, n, 2)
        By the name of the group, on the two principal axes of the filters at step 0.
    share : dict of str to float
        The part of the variance at step 0 that the two axes hold, 0 to 1.
    """

    steps: NDArray[np.int64]
    points: dict[str, NDArray[np.float32]]
    share: dict[str, float]


class Track:
    """Collects a trajectory: the basis of a group is made from its first frame and kept.

    Examples
    --------
    >>> track = Track()
    >>> for step, x in ((0, 4.0), (10, 2.0)):
    ...     track.add(step, {"conv1": np.array([[-x, 0.0, 0.0], [x, 0.0, 0.0]])})
    >>> track.trajectory().points["conv1"][:, :, 0].tolist()
    [[-4.0, 4.0], [-2.0, 2.0]]
    """

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._frames: dict[str, list[NDArray[np.float32]]] = {}
        self._mean: dict[str, NDArray[np.float64]] = {}
        self._axes: dict[str, NDArray[np.float64]] = {}
        self._share: dict[str, float] = {}

    def add(self, step: int, vectors: Mapping[str, NDArray[np.float64]]) -> None:
        """Take the filters of every group.

        Parameters
        ----------
        step : int
            Steps done so far; frames from this step on are replaced.
        vectors : mapping of str to array of float64, shape (n, d)
            By the name of the group; the same groups every time.
        """
        if self._steps and step <= self._steps[-1]:
            self.forget_after(step - 1)
        for name, x in vectors.items():
            if name not in self._axes:
                self._mean[name], self._axes[name], self._share[name] = _basis(x)
            moved = (x - self._mean[name]) @ self._axes[name]  # (n, 2)
            self._frames.setdefault(name, []).append(moved.astype(np.float32))
        self._steps.append(step)

    def forget_after(self, step: int) -> None:
        """Drop the frames after a step: a run that resumes there will record them again.

        Parameters
        ----------
        step : int
            The last step to keep.
        """
        kept = sum(known <= step for known in self._steps)
        self._steps = self._steps[:kept]
        self._frames = {name: frames[:kept] for name, frames in self._frames.items()}

    def trajectory(self) -> Trajectory:
        """Return the frames so far."""
        points = {name: np.stack(frames) for name, frames in self._frames.items() if frames}
        return Trajectory(np.array(self._steps, dtype=np.int64), points, dict(self._share))

    def to_bytes(self) -> bytes:
        """Return an npz file with the trajectory and the basis, for `read_trajectory` and `Track.restore`."""
        found = self.trajectory()
        arrays: dict[str, NDArray[np.generic]] = {"steps": found.steps}
        for name, points in found.points.items():
            basis = np.concatenate([self._mean[name][:, None], self._axes[name]], axis=1)  # (d, 3)
            arrays |= {f"points/{name}": points, f"basis/{name}": basis, f"share/{name}": np.array(self._share[name])}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def restore(cls, path: str | Path, step: int) -> Track:
        """Return the track in a file, on the same basis; an empty one if there is no whole file.

        Parameters
        ----------
        path : str or Path
            A file written with `to_bytes`.
        step : int
            Frames after it are dropped.

        Returns
        -------
        Track
            To be continued.
        """
        track = cls()
        try:
            arrays = _read(Path(path))
        except PDCError:  # a torn file costs the animation, never the run
            return track
        track._steps = [int(s) for s in arrays["steps"]]
        for key in arrays:
            kind, _, name = key.partition("/")
            if kind == "points":
                basis = arrays[f"basis/{name}"].astype(np.float64)
                track._mean[name], track._axes[name] = basis[:, 0], basis[:, 1:]
                track._share[name] = float(arrays[f"share/{name}"])
                track._frames[name] = list(arrays[key])
        track.forget_after(step)
        return track


def read_trajectory(path: str | Path) -> Trajectory:
    """Read a file written with `Track.to_bytes`.

    Parameters
    ----------
    path : str or Path
        The npz file.

    Returns
    -------
    Trajectory
        The points of every group.

    Raises
    ------
    PDCError
        If there is no such file, or it is not whole or larger than 256 MiB.
    """
    arrays = _read(Path(path))
    names = [key.partition("/")[2] for key in arrays if key.startswith("points/")]
    return Trajectory(
        arrays["steps"].astype(np.int64),
        {name: arrays[f"points/{name}"].astype(np.float32) for name in names},
        {name: float(arrays[f"share/{name}"]) for name in names},
    )


def _basis(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return mean (d,), the two principal axes (d, 2) and the share of the variance that they hold."""
    mean = x.mean(axis=0)
    _, s, vt = np.linalg.svd(x - mean, full_matrices=False)  # (n, r), (r,), (r, d)
    axes = np.zeros((x.shape[1], 2))
    r = min(2, len(s))
    sign = np.sign(vt[np.arange(r), np.abs(vt[:r]).argmax(axis=1)])
    axes[:, :r] = (vt[:r] * np.where(sign == 0, 1.0, sign)[:, None]).T
    total = float((s**2).sum())
    return mean, axes, float((s[:r] ** 2).sum() / total) if total > 0 else 1.0


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > LARGEST:
                raise PDCError(f"{path} holds more than {LARGEST >> 20} MiB and is not read.")
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        frames = len(arrays["steps"])
        for key, array in arrays.items():
            if key.startswith("points/"):
                name = key.partition("/")[2]
                if array.ndim != 3 or array.shape[::2] != (frames, 2) or arrays[f"basis/{name}"].shape[1:] != (3,):
                    raise ValueError(f"{key} has the shape {array.shape}")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise PDCError(f"{path} is not a whole trajectory ({type(error).__name__}: {error}).") from error
    return arrays
