"""ONNX files as networks, and the time that any network takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.errors import PDCError

WARM_UP = 3  # calls that do not count


def need_onnxruntime() -> None:
    """Raise a sentence that says how to install what ONNX files need.

    Raises
    ------
    PDCError
        onnx, onnxruntime or onnxscript is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise PDCError(
            f"ONNX needs a package that is not installed ({error.name}); pip install -e '.[onnx]'."
        ) from error


class OnnxNetwork(nn.Module):
    """An ONNX file as a network, computed by onnxruntime on the CPU.

    Parameters
    ----------
    path : str or Path
        A file with one input `x` (n, c, h, w), such as `export_onnx` and `quantize_onnx` write.
    threads : int, default 0
        Threads of one call; 0 leaves the number to onnxruntime.

    Raises
    ------
    PDCError
        onnxruntime is missing, or the file is missing or no network that it can run.
    """

    def __init__(self, path: str | Path, threads: int = 0) -> None:
        need_onnxruntime()
        import onnxruntime

        super().__init__()
        if not Path(path).is_file():
            raise PDCError(f"There is no file {path}.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's kinds have no common ancestor but this
            first = (str(error).strip().splitlines() or [""])[0][:200]
            raise PDCError(f"onnxruntime cannot run {path} ({type(error).__name__}: {first}).") from error
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the first output for a batch.

        Parameters
        ----------
        x : Tensor of float32, shape (n, c, h, w)
            On the CPU.

        Returns
        -------
        Tensor
            The first output of the file, such as the logits (n, classes).
        """
        return torch.from_numpy(self._session.run(None, {"x": x.numpy()})[0])


@dataclass(frozen=True)
class Timing:
    """How long a call takes.

    Attributes
    ----------
    median : float
        Seconds.
    low, high : float
        Seconds; the middle half of the calls lies between them (first and third quartile).
    calls : int
        Calls that were counted.
    """

    median: float
    low: float
    high: float
    calls: int


def time_batches(
    network: Callable[[Tensor], object], example: Tensor, batch_sizes: Sequence[int], seconds: float = 1.0
) -> dict[int, Timing]:
    """Measure how long a network takes for batches of several sizes.

    Parameters
    ----------
    network : callable
        A network in eval mode, or any function of a batch.
    example : Tensor, shape (1, c, h, w)
        One input on the CPU, repeated to each batch size.
    batch_sizes : sequence of int
        Each at least 1.
    seconds : float, default 1.0
        Time for each size: calls are counted until it is over, at least 5 and at most 1,000.

    Returns
    -------
    dict of int to Timing
        By batch size.

    Examples
    --------
    >>> found = time_batches(torch.nn.Conv2d(1, 1, 3), torch.zeros(1, 1, 8, 8), [1, 4], seconds=0.01)
    >>> list(found), 0 < found[1].low <= found[1].median <= found[1].high
    ([1, 4], True)
    """
    timings = {}
    with torch.inference_mode():
        for batch in batch_sizes:
            x = example[:1].expand(batch, *example.shape[1:]).contiguous()
            for _ in range(WARM_UP):
                network(x)
            taken: list[float] = []
            end = time.perf_counter() + seconds
            while len(taken) < 5 or (len(taken) < 1000 and time.perf_counter() < end):
                start = time.perf_counter()
                network(x)
                taken.append(time.perf_counter() - start)
            low, median, high = (float(q) for q in np.quantile(taken, (0.25, 0.5, 0.75)))
            timings[batch] = Timing(median, low, high, len(taken))
    return timings
