"""Measuring: top-1 and top-5 against a count by hand, agreement with the teacher, shares of several processes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import pdc_core as pdc
from pdc_core.data import Split

DIGITS = pdc.load_data("digits")


class Fixed(nn.Module):
    """A network whose logits for image i are given: the image's first pixel is i."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits[(x[:, 0, 0, 0] * 255).round().long()]


def numbered(count: int, classes: int) -> pdc.Data:
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 1, 8, 8).clone()
    labels = torch.arange(count) % classes
    return replace(DIGITS, test=Split(images, labels), classes=tuple(map(str, range(classes))), mean=(0.0,), std=(1.0,))


@pytest.mark.parametrize("classes", [10, 100, 130])
def test_numbers_are_those_counted_by_hand(classes: int) -> None:
    data, n = numbered(50, classes), 50
    logits = torch.randn(n, classes, generator=torch.Generator().manual_seed(0))
    teacher = torch.randint(0, classes, (n,), generator=torch.Generator().manual_seed(1))
    logits[range(20), teacher[:20]] = 9.0
    found = pdc.evaluate(Fixed(logits).eval(), data, data.test, batch_size=7, teacher=teacher)
    right = [int(logits[i].argmax()) == int(data.test.labels[i]) for i in range(n)]
    among = [int(data.test.labels[i]) in logits[i].argsort(descending=True)[:5].tolist() for i in range(n)]
    assert found.accuracy == sum(right) / n
    assert found.top5 == (sum(among) / n if classes >= 100 else None)
    assert found.agreement == sum(int(logits[i].argmax()) == int(teacher[i]) for i in range(n)) / n
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(logits, data.test.labels)), rel=1e-6)
    assert set(found.record("val_")) == {"val_accuracy", "val_loss", "val_agreement"} | (
        {"val_top5"} if classes >= 100 else set()
    )


def test_a_cpu_gets_as_many_large_images_at_once_as_its_caches_hold_and_counts_the_same() -> None:
    images = torch.randint(0, 256, (150, 1, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    split = Split(images, torch.arange(150) % 10)
    data = replace(DIGITS, test=split, shape=(1, 32, 32))
    net = pdc.load_model("resnet20", "digits")
    sizes: list[int] = []
    net.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    found = pdc.evaluate(net, data, split)
    assert sizes == [128, 22]
    alone = [int(net(data.prepare(images[i : i + 1])).argmax()) for i in range(150)]
    assert found.predictions.tolist() == alone
    sizes.clear()
    pdc.evaluate(net, DIGITS, DIGITS.test)
    assert sizes == [360], "small images go together, as before"


def test_processes_measure_every_image_once() -> None:
    parts = [list(DIGITS.val.batches(50, rank, 3)) for rank in range(3)]
    assert sum(len(y) for part in parts for _, y in part) == len(DIGITS.val)
    images = torch.cat([x for part in parts for x, _ in part])
    assert torch.equal(images.flatten(1).sum(1).sort().values, DIGITS.val.images.flatten(1).sum(1).sort().values)


def test_a_report_names_the_last_epoch_and_the_best_and_looks_at_the_test_split_at_the_end() -> None:
    seen: list[str] = []

    class Watched(Split):
        def batches(self, size: int, rank: int = 0, world: int = 1):
            seen.append("test")
            return super().batches(size, rank, world)

    class Ends(pdc.Recorder):
        def event(self, record: dict) -> None:
            seen.append(record["kind"])

    few = Split(DIGITS.train.images[:96], DIGITS.train.labels[:96])
    data = replace(DIGITS, train=few, test=Watched(DIGITS.test.images, DIGITS.test.labels))
    result = pdc.teach(
        pdc.load_model("resnet20"), data, settings=pdc.Training(epochs=3, lr=0.3, warmup=1), recorder=Ends()
    )
    assert "test" not in seen[: len(seen) - seen[::-1].index("evaluation")]
    accuracies = [row["val_accuracy"] for row in result.history if row["kind"] == "evaluation"]
    report = result.report
    assert report["last"]["epoch"] == 3
    assert report["last"]["val_accuracy"] == report["taught"]["val_accuracy"] == accuracies[-1]
    assert report["best"]["epoch"] == 1 + accuracies.index(max(accuracies))
    assert report["best"]["val_accuracy"] == max(accuracies)
    chosen = result.best or result.folded
    assert report["best"]["test_accuracy"] == pdc.evaluate(chosen, DIGITS, DIGITS.test).accuracy


def test_progress_counts_the_images_and_changes_nothing() -> None:
    data = numbered(50, 10)
    model = Fixed(torch.randn(50, 10, generator=torch.Generator().manual_seed(0))).eval()
    told: list[tuple[int, int]] = []
    found = pdc.evaluate(model, data, data.test, 20, progress=lambda done, in_all: told.append((done, in_all)))
    assert told == [(20, 50), (40, 50), (50, 50)]
    assert found.accuracy == pdc.evaluate(model, data, data.test).accuracy


def test_a_process_without_images_has_no_predictions_and_shares_the_numbers() -> None:
    class Last:
        global_rank, world_size = 3, 4

        def all_reduce(self, sums: torch.Tensor, reduce_op: str) -> torch.Tensor:
            assert reduce_op == "sum"
            assert not sums.any()
            return sums + torch.tensor([2.0, 0.0, 0.0, 3.0], dtype=sums.dtype)  # what the others have counted

    data = numbered(3, 10)
    found = pdc.evaluate(Fixed(torch.zeros(3, 10)).eval(), data, data.test, fabric=Last())
    assert found.predictions.shape == (0,)
    assert (found.accuracy, found.loss) == (2 / 3, 1.0)
