"""The door to torchvision opens where the plain import fails, and changes nothing where it works."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch

from pdc_core.torchvision_adapter import nms

PLAIN = "import torchvision; torchvision.models.resnet18"
ADAPTED = """
    import threading
    from pdc_core.torchvision_adapter import torchvision

    seen = []
    threads = [threading.Thread(target=lambda: seen.append(torchvision())) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert len(seen) == 4 and all(module is seen[0] for module in seen), seen
    import torch, torchvision as plain
    assert plain is seen[0] is torchvision()
    model = plain.models.resnet18(weights=None, num_classes=3).eval()
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert plain.datasets.CIFAR10 and plain.transforms.Normalize
    from pdc_core import torchvision_adapter
    print(len(torchvision_adapter._declared))
"""


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def plain() -> subprocess.CompletedProcess[str]:
    return python(PLAIN)


def test_adapter_repairs_exactly_where_the_plain_import_fails(plain):
    adapted = python(ADAPTED)
    assert adapted.returncode == 0, adapted.stderr
    repaired = adapted.stdout.strip() == "1"
    assert repaired == (plain.returncode != 0), plain.stderr
    if repaired:
        assert "operator torchvision::nms does not exist" in plain.stderr


def test_adapter_recovers_from_a_plain_import_that_failed_before(plain):
    program = f"try:\n    {PLAIN}\nexcept RuntimeError:\n    pass\n" + textwrap.dedent(ADAPTED)
    assert python(program).returncode == 0


def test_an_import_that_fails_for_another_reason_is_reported_as_it_is():
    program = """
        import sys
        sys.modules["torchvision"] = None  # what Python itself uses to say: this cannot be imported
        from pdc_core.errors import PDCError
        from pdc_core.torchvision_adapter import torchvision
        try:
            torchvision()
        except PDCError as error:
            assert "pip install torchvision" in str(error)
        else:
            raise SystemExit("no error")
    """
    done = python(program)
    assert done.returncode == 0, done.stderr


def test_models_and_data_sets_of_the_zoo_do_not_import_torchvision():
    program = """
        import sys
        from pdc_core.data import describe_data, load_data
        from pdc_core.models import load_model
        load_data("digits"), describe_data("cifar10"), load_model("resnet20", weights=False)
        assert "torchvision" not in sys.modules
    """
    done = python(program)
    assert done.returncode == 0, done.stderr


def test_boxes_are_suppressed_as_a_plain_loop_does():
    draw = torch.Generator().manual_seed(0)
    corner = torch.rand(40, 2, generator=draw)
    boxes = torch.cat([corner, corner + 0.1 + 0.4 * torch.rand(40, 2, generator=draw)], dim=1)
    scores = torch.rand(40, generator=draw)

    def iou(a, b):
        width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
        height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
        return width * height / (sum(areas) - width * height)

    for threshold in (0.0, 0.3, 0.9):
        stays: list[int] = []
        for i in sorted(range(40), key=lambda i: -float(scores[i])):
            if all(iou(boxes[i].tolist(), boxes[j].tolist()) <= threshold for j in stays):
                stays.append(i)
        assert nms(boxes, scores, threshold).tolist() == stays
    assert 1 < len(stays) < 41
    assert nms(boxes[:0], scores[:0], 0.5).tolist() == []


def test_torchvisions_detectors_find_their_operator():
    program = """
        import torch
        from pdc_core.torchvision_adapter import nms, torchvision
        ops = torchvision().ops
        boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [5.0, 5.0, 6.0, 6.0]])
        scores = torch.tensor([0.8, 0.9, 0.1])
        assert ops.nms(boxes, scores, 0.5).tolist() == nms(boxes, scores, 0.5).tolist() == [1, 2]
        assert ops.batched_nms(boxes, scores, torch.tensor([0, 1, 0]), 0.5).tolist() == [1, 0, 2]
    """
    done = python(program)
    assert done.returncode == 0, done.stderr
