"""What the trainer does beside the task's own step."""

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from scalefuse.config.base import TrainingConfig
from scalefuse.training.fit import fit


class Steep(pl.LightningModule):
    """Plain gradient descent on a loss whose gradient has the norm 20 everywhere."""

    def __init__(self, fused):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))
        self.fused = fused

    def training_step(self, batch, batch_idx):
        loss = 10 * self.weight.sum()
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True, batch_size=1)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0, fused=self.fused)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("clip", "length"), [(None, 20.0), (0.5, 0.5), (1000.0, 20.0)])
def test_gradients_are_clipped_to_a_norm(tmp_path, clip, length, precision, fused):
    module = Steep(fused)
    config = TrainingConfig(epochs=1, gradient_clip=clip, precision=precision, ema_decay=None)
    fit(module, DataLoader([0]), None, config, tmp_path, monitor="train/loss", mode="min")
    assert module.weight.detach().norm() == pytest.approx(length, rel=1e-4)
