"""Trajectories: a basis that stays, frames that survive a resume, files that are not trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pdc_core as pdc
from pdc_core.analysis.maps import pca_map, pca_share
from pdc_core.analysis.trajectories import Track, read_trajectory


def _moving(frames: int = 4, n: int = 6, d: int = 20) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(n, d)), rng.normal(size=(n, d))
    return [(1 - t) * start + t * end for t in np.linspace(0, 1, frames)]


def test_the_first_frame_is_the_pca_map_and_motion_is_projected_on_its_axes() -> None:
    track, frames = Track(), _moving()
    for i, x in enumerate(frames):
        track.add(10 * i, {"conv": x})
    found = track.trajectory()
    assert found.steps.tolist() == [0, 10, 20, 30]
    np.testing.assert_allclose(found.points["conv"][0], pca_map(frames[0]), atol=1e-5)
    assert found.share["conv"] == pytest.approx(sum(pca_share(frames[0])))
    # filters move on straight lines, so their points do too: the basis did not turn
    np.testing.assert_allclose(
        found.points["conv"][1], found.points["conv"][0] * 2 / 3 + found.points["conv"][3] / 3, atol=1e-5
    )


def test_filters_that_become_equal_end_in_one_point() -> None:
    track, x = Track(), _moving()[0]
    track.add(0, {"conv": x})
    track.add(1, {"conv": np.repeat(x[:1], len(x), axis=0)})
    assert np.ptp(track.trajectory().points["conv"][1], axis=0).max() == 0


def test_a_resumed_track_is_the_one_that_was_never_stopped(tmp_path: Path) -> None:
    frames, whole, first = _moving(), Track(), Track()
    for i, x in enumerate(frames):
        whole.add(i, {"conv": x, "other": 2 * x})
    for i, x in enumerate(frames[:3]):
        first.add(i, {"conv": x, "other": 2 * x})
    (tmp_path / "t.npz").write_bytes(first.to_bytes())
    second = Track.restore(tmp_path / "t.npz", step=1)  # the checkpoint was older than the last frame
    for i in (2, 3):
        second.add(i, {"conv": frames[i], "other": 2 * frames[i]})
    (tmp_path / "t.npz").write_bytes(second.to_bytes())
    read, expected = read_trajectory(tmp_path / "t.npz"), whole.trajectory()
    assert read.steps.tolist() == expected.steps.tolist()
    for name in ("conv", "other"):
        assert np.array_equal(read.points[name], expected.points[name])


def test_a_step_that_happens_again_replaces_what_was_after_it() -> None:
    track, frames = Track(), _moving()
    for step in (0, 5, 10, 5):
        track.add(step, {"conv": frames[step // 5]})
    assert track.trajectory().steps.tolist() == [0, 5]


@pytest.mark.parametrize("shape", [(1, 4), (2, 4), (5, 1)])
def test_few_filters_and_few_weights_have_a_basis_too(shape: tuple[int, int]) -> None:
    track = Track()
    track.add(0, {"conv": np.arange(np.prod(shape), dtype=float).reshape(shape)})
    assert track.trajectory().points["conv"].shape == (1, shape[0], 2)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"\x80\x04\x95pickle"])
def test_a_file_that_is_not_whole_is_refused_and_starts_a_resumed_run_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(pdc.PDCError, match="not a whole trajectory"):
        read_trajectory(tmp_path / "t.npz")
    assert len(Track.restore(tmp_path / "t.npz", 5).trajectory().steps) == 0


def test_pickled_objects_and_wrong_shapes_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", steps=np.array([{"a": 1}], dtype=object))
    np.savez(tmp_path / "b.npz", steps=np.arange(2), **{"points/c": np.zeros((3, 4, 2)), "basis/c": np.zeros((5, 3))})
    for name in ("a.npz", "b.npz"):
        with pytest.raises(pdc.PDCError, match="not a whole trajectory"):
            read_trajectory(tmp_path / name)
