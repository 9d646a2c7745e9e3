"""Seeds made from keys: fixed for all time, since resumed runs draw from them, and different for different keys."""

from __future__ import annotations

import itertools

import torch

from pdc_core.seeds import generator, seed_of


def test_seeds_are_those_of_every_run_so_far() -> None:
    assert seed_of(0) == 6375474604893067239
    assert seed_of(3, 1, 4) == 7096285213003493087
    assert torch.randperm(6, generator=generator(0, 0, 3)).tolist() == [2, 4, 0, 5, 1, 3]


def test_different_keys_have_different_seeds_in_the_range_of_torch() -> None:
    keys = [key for length in (1, 2, 3) for key in itertools.product(range(4), repeat=length) if key[-1] > 0]
    seeds = {seed_of(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_making_a_generator_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    torch.rand(3, generator=generator(1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
