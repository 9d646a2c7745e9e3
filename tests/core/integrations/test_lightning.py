"""The callback in a real Lightning Trainer: folds at the end, guides, accumulates, and resumes bit for bit."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pdc_core as pdc
from pdc_core.integrations.lightning import PDCCallback
from tests.networks import chain, lively_
from tests.training import same_networks

from lightning.pytorch import LightningModule, Trainer  # isort: skip  (after the callback, which repairs torchvision)

X = torch.randn(48, 2, 6, 6, generator=torch.Generator().manual_seed(2))
Y = torch.arange(48) % 3
MODEL = lively_(chain(6)).float()
PLAN = pdc.Plan.uniform(pdc.trace(MODEL, X[:1]), 0.5)


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model: nn.Module = lively_(chain(6)).float().train()
        self.losses: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        out = self.model(batch[0])
        loss = F.cross_entropy(out, batch[1]) + self.pruner.guidance(batch[0], out)
        self.losses.append(float(loss.detach()))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def fit(
    epochs: int, folder: Path, ckpt_path: Path | None = None, **changes: object
) -> tuple[Classifier, PDCCallback, Trainer]:
    callback = PDCCallback(PLAN, X[:1], network="model", images=X, merges=2, steps=8, tied_after=0.75)
    trainer = Trainer(
        max_epochs=epochs, callbacks=[callback], default_root_dir=folder, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **changes,
    )  # fmt: skip
    module = Classifier()
    trainer.fit(module, DataLoader(TensorDataset(X, Y), batch_size=12), ckpt_path=ckpt_path)
    return module, callback, trainer


def test_the_trainer_ends_with_a_folded_network_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    module, callback, _ = fit(2, tmp_path)
    assert callback.folded is not None
    assert pdc.check_equal(module.model.eval(), callback.folded.eval(), X).equal
    assert pdc.cost(callback.folded, X[:1]).macs == pdc.plan_cost(callback.pruner.graph, PLAN).macs
    assert callback.pruner.done == 8
    _, half, trainer = fit(1, tmp_path)
    assert half.folded is None  # the filters are not tied yet
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    _, again, _ = fit(2, tmp_path, ckpt_path=tmp_path / "half.ckpt")
    assert same_networks(again.folded, callback.folded)


def test_steps_are_counted_where_gradients_accumulate_and_are_clipped(tmp_path: Path) -> None:
    module, callback, _ = fit(4, tmp_path, accumulate_grad_batches=2, gradient_clip_val=1.0)
    assert callback.pruner.done == 8
    assert len(module.losses) == 16
    assert pdc.check_equal(module.model.eval(), callback.folded.eval(), X).equal
