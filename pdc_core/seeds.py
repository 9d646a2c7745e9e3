"""Random numbers from a key: the same key gives the same numbers, on every platform and in every process."""

from __future__ import annotations

import numpy as np
import torch

from pdc_core.errors import PDCError

MOST = 2**32 - 1  # the largest seed, which is numpy's


def check_seed(seed: int) -> None:
    """Raise for what is no seed.

    Parameters
    ----------
    seed : int
        A whole number, 0 to `MOST`.

    Raises
    ------
    PDCError
        It is something else.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or not 0 <= seed <= MOST:
        raise PDCError(f"seed={seed!r}: give a whole number from 0 to {MOST:,}.")


def generator(*key: int) -> torch.Generator:
    """Return a generator that depends on the key alone.

    Parameters
    ----------
    *key : int
        For example a seed, an epoch and a step; each 0 or more.

    Returns
    -------
    torch.Generator
        On the CPU.

    Examples
    --------
    >>> bool((torch.rand(3, generator=generator(0, 7)) == torch.rand(3, generator=generator(0, 7))).all())
    True
    """
    return torch.Generator().manual_seed(seed_of(*key))


def seed_of(*key: int) -> int:
    """Return a seed of 63 bits that depends on the key alone.

    Parameters
    ----------
    *key : int
        For example a seed, an epoch and a step; each 0 or more.

    Returns
    -------
    int
        0 to 2^63 - 1.

    Examples
    --------
    >>> seed_of(0), seed_of(0, 1) == seed_of(1, 0)
    (6375474604893067239, False)
    """
    state = np.random.SeedSequence(key).generate_state(2, dtype=np.uint32)
    return int(state[0]) << 31 ^ int(state[1])
