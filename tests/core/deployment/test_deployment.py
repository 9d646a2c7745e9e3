"""Files to ship: INT8 beside float, what a table says of them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pdc_core as pdc
from pdc_core.deployment import OnnxNetwork, export_run, quantize_onnx, read_exported, time_batches
from pdc_core.deployment.exporting import CARD, TABLE
from pdc_core.errors import PDCError
from pdc_core.runs import RunSpec, create_run, read_run, run_worker
from pdc_core.train import Training, evaluate


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    spec = RunSpec(keep=0.25, training=Training(epochs=1))
    folder = create_run(spec, folder=tmp_path_factory.mktemp("runs") / "short")
    run_worker(folder)
    return read_run(folder)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder, said = tmp_path_factory.mktemp("export"), []
    found = export_run(run, folder, batch_sizes=(1, 4), seconds=0.01, progress=lambda *step: said.append(step))
    return folder, found, said


def test_every_network_is_written_in_three_forms_and_each_is_measured_from_its_file(run, exported):
    folder, found, said = exported
    assert [v.file for v in found.variants] == [
        f"{name}{end}" for name in ("before", "folded") for end in (".safetensors", ".onnx", "-int8.onnx")
    ]
    assert [step[:2] for step in said] == [(i, 6) for i in range(6)]
    data = pdc.load_data("digits")
    for variant in found.variants:
        file = folder / variant.file
        assert variant.size == file.stat().st_size
        network = pdc.load(file) if file.suffix == ".safetensors" else OnnxNetwork(file)
        assert evaluate(network, data, data.test).accuracy == variant.test_accuracy
        assert list(variant.latency) == [1, 4]
        assert all(0 < t.low <= t.median <= t.high and t.calls >= 5 for t in variant.latency.values())
    before, folded = found.variants[0], found.variants[3]
    assert before.test_accuracy == run.results.before.test_accuracy
    assert folded.test_accuracy == run.results.folded.test_accuracy


def test_int8_is_smaller_and_nearly_as_good(exported):
    _, found, _ = exported
    for flt, int8 in ((found.variants[1], found.variants[2]), (found.variants[4], found.variants[5])):
        assert int8.size < 0.6 * flt.size
        assert int8.agreement > 0.97
        assert flt.agreement == 1.0


def test_int8_computes_with_8_bits_and_one_scale_per_filter(exported):
    import onnx

    model = onnx.load(exported[0] / "folded-int8.onnx")
    stored = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4]
    assert len(stored) == 19  # every convolution
    scales = {t.name: t.dims for t in model.graph.initializer}
    weights = {node.input[0]: node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    assert all(list(scales[weights[t.name]]) == [t.dims[0]] for t in stored)


def test_the_table_is_read_again_as_it_was(exported):
    folder, found, _ = exported
    assert read_exported(folder) == found
    assert read_exported(folder / "nowhere") is None
    whole = (folder / TABLE).read_text()
    try:
        (folder / TABLE).write_text(whole[:100])
        assert read_exported(folder) is None
    finally:
        (folder / TABLE).write_text(whole)


def test_the_model_card_says_what_was_measured(run, exported):
    folder, found, _ = exported
    card = (folder / CARD).read_text()
    assert f"**{run.results.folded.test_accuracy:.2%}**" in card
    assert f"**{run.results.macs_cut:.1%} of the MACs cut**" in card
    for variant in found.variants:
        assert f"`{variant.file}`" in card
    assert "layer1.0.conv1 4 of 16" in card
    assert "1 epoch," in card


def test_a_taught_network_is_exported_alone(tmp_path):
    spec = RunSpec(kind="teach", training=Training(epochs=1))
    folder = create_run(spec, folder=tmp_path / "taught")
    run_worker(folder)
    found = export_run(read_run(folder), tmp_path / "out", batch_sizes=(1,), seconds=0.01)
    assert [v.network for v in found.variants] == ["taught"] * 3
    assert "filters clustered" not in (tmp_path / "out" / CARD).read_text()


def test_what_cannot_be_exported_is_refused_before_anything_is_written(run, tmp_path):
    with pytest.raises(PDCError, match=r"batch sizes \(0\).*have to be 1 or more"):
        export_run(run, tmp_path / "out", batch_sizes=(0,))
    waiting = read_run(create_run(RunSpec(keep=0.5), folder=tmp_path / "waiting"))
    with pytest.raises(PDCError, match="has no network to export yet"):
        export_run(waiting, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("images", [torch.zeros(0, 1, 8, 8), torch.full((2, 1, 8, 8), float("nan"))])
def test_calibration_needs_finite_images(images, tmp_path):
    with pytest.raises(PDCError, match="Calibration needs at least one image"):
        quantize_onnx(tmp_path / "a.onnx", tmp_path / "b.onnx", images)


def test_a_file_that_is_no_network_is_one_sentence_and_leaves_nothing(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"not a network")
    with pytest.raises(PDCError, match="cannot be quantized"):
        quantize_onnx(tmp_path / "a.onnx", tmp_path / "b.onnx", torch.zeros(1, 1, 8, 8))
    with pytest.raises(PDCError, match="cannot run"):
        OnnxNetwork(tmp_path / "a.onnx")
    with pytest.raises(PDCError, match="There is no file"):
        OnnxNetwork(tmp_path / "c.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]


def test_images_of_another_shape_are_one_sentence(exported, tmp_path):
    with pytest.raises(PDCError, match="cannot be quantized"):
        quantize_onnx(exported[0] / "folded.onnx", tmp_path / "b.onnx", torch.zeros(1, 3, 8, 8))


def test_timing_counts_calls_after_the_warm_up():
    calls = []
    found = time_batches(lambda x: calls.append(len(x)), torch.zeros(1, 1, 2, 2), [3], seconds=0.0)
    assert found[3].calls == 5
    assert calls == [3] * 8
    assert np.isfinite(found[3].median)
