"""What the trainer does beside the task's own step."""

import csv
import math
from concurrent.futures import ThreadPoolExecutor

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from scalefuse.config.base import OptimizerConfig, TrainingConfig
from scalefuse.errors import BundleError, ConfigError
from scalefuse.inference.engines.hardware import Machine
from scalefuse.training.callbacks import moving_average
from scalefuse.training.fit import finished_epochs, fit, load_best
from scalefuse.training.optimisation import make_optimizer


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


def test_the_average_forgets_the_random_start():
    """A long average of few steps is their mean, not where they started from."""
    decay, values = 0.998, [float(value) for value in range(1, 41)]
    averaged = torch.optim.swa_utils.AveragedModel(nn.Linear(1, 1), multi_avg_fn=moving_average(decay))
    expected = None
    for number, value in enumerate(values):
        moving = nn.Linear(1, 1)
        nn.init.constant_(moving.weight, value)
        averaged.update_parameters(moving)
        kept = min(decay, (1 + number) / (10 + number))
        expected = value if expected is None else kept * expected + (1 - kept) * value
    found = averaged.module.weight.item()
    assert found == pytest.approx(expected, rel=1e-5)
    assert found > 20  # with 0.998 from the first step on it would be 2.5
    # Later on it is the plain moving average.
    average = torch.zeros(3)
    moving_average(0.9)([average], [torch.ones(3)], torch.tensor(1000))
    torch.testing.assert_close(average, torch.full((3,), 0.1))


class Diverging(Steep):
    """Gives no number from the fifth step on."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if self.global_step >= 4 else loss


def test_a_training_that_diverges_ends_with_its_last_good_epoch(tmp_path):
    config = TrainingConfig(epochs=5, precision="fp32", ema_decay=None)
    data = DataLoader([0, 1])
    with pytest.raises(ConfigError, match=r"diverged in epoch 3: .* Lower optimizer.learning_rate"):
        fit(Diverging(False), data, None, config, tmp_path, monitor="train/loss", mode="min")
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 1
    assert torch.isfinite(kept["state_dict"]["weight"]).all()


def test_an_epoch_is_told_when_it_is_kept(tmp_path):
    """Who stops a training after reading of an epoch goes on after it."""
    last, kept = tmp_path / "checkpoints" / "last.ckpt", []

    def report(progress):
        if progress.epoch_ended:
            with (tmp_path / "metrics.csv").open(newline="") as handle:
                logged = [int(line["epoch"]) + 1 for line in csv.DictReader(handle) if line["train/loss"]]
            kept.append((progress.epoch, torch.load(last, weights_only=True)["epoch"] + 1, logged[-1]))

    config = TrainingConfig(epochs=3, precision="fp32", ema_decay=0.9)
    fit(
        Steep(False), DataLoader([0]), None, config, tmp_path, monitor="train/loss", mode="min", report=report
    )
    assert kept == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]


class Scheduled(Steep):
    """Notes the learning rate of every step, and a number drawn in it."""

    def __init__(self, num_steps):
        super().__init__(fused=False)
        self.num_steps, self.rates, self.drawn = num_steps, [], []

    def training_step(self, batch, batch_idx):
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        self.drawn.append(torch.rand(()).item())
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self):
        config = OptimizerConfig(learning_rate=0.5, warmup_fraction=0.0, final_fraction=0.1)
        return make_optimizer(self.parameters(), config, self.num_steps)


def test_the_rate_falls_with_every_step_and_each_draws_anew(tmp_path):
    config = TrainingConfig(epochs=2, precision="fp32", ema_decay=None)
    module = Scheduled(num_steps=6)
    fit(module, DataLoader([0, 0, 0]), None, config, tmp_path, monitor="train/loss", mode="min")
    # Half a cosine from the rate to a tenth of it.
    expected = [0.5 * (0.1 + 0.9 * (1 + math.cos(math.pi * step / 5)) / 2) for step in range(6)]
    assert module.rates == pytest.approx(expected)
    assert len(set(module.drawn)) == 6


def test_a_training_in_another_thread(tmp_path):
    config = TrainingConfig(epochs=1, precision="fp32", ema_decay=None)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(
            fit, Steep(False), DataLoader([0]), None, config, tmp_path, monitor="train/loss", mode="min"
        )
    assert ended.result().is_file()


class Measured(pl.LightningModule):
    """Logs given values when it is validated."""

    def __init__(self, values):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.values, self.trained = values, 0

    def training_step(self, batch, batch_idx):
        self.trained += 1
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.log("val/measure", torch.tensor(self.values[self.current_epoch]), batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_patience_and_going_on_after_it(tmp_path):
    config = TrainingConfig(epochs=9, precision="fp32", ema_decay=None, early_stop_patience=3)
    # An undefined value uses up patience like one that is no better, and no more than that.
    values = [0.1, 0.5, float("nan"), 0.4, 0.3, 0.9, 0.9, 0.9, 0.9]
    options = {"monitor": "val/measure", "mode": "max"}

    said = []

    def run(**more):
        module = Measured(values)
        best = fit(
            module, DataLoader([0]), DataLoader([0]), config, tmp_path, **options, say=said.append, **more
        )
        return module.trained, torch.load(best, weights_only=True)["epoch"]

    assert run() == (5, 1)
    assert said == ["stopped early after epoch 5: val/measure was not better for 3 validation(s)"]
    # A run that has ended goes no further, though the next epoch would be better.
    assert run(resume=True) == (0, 1)
    assert said[1:] == ["had stopped early after epoch 5; the bundle is made anew"]
    config = config.model_copy(update={"early_stop_patience": 4})
    assert run(resume=True) == (4, 5)
    assert said[2:] == []
    assert run(resume=True) == (0, 5)
    assert said[2:] == ["all 9 epochs were done already; the bundle is made anew"]


def test_a_run_that_was_moved_still_knows_its_best_weights(tmp_path):
    values = [0.1, 0.9, 0.2, 0.5]
    options = {"monitor": "val/measure", "mode": "max"}
    names = [tmp_path / name for name in ("run", "moved", "again")]
    for number, folder in enumerate(names):
        epochs, data = number + 2, DataLoader([0])
        config = TrainingConfig(epochs=epochs, precision="fp32", ema_decay=None)
        if number > 0:
            names[number - 1].rename(folder)
        best = fit(Measured(values), data, data, config, folder, **options, resume=epochs > 2)
        assert best == folder / "checkpoints" / "best.ckpt"
        assert torch.load(best, weights_only=True)["epoch"] == 1
        kept = {file.name for file in (folder / "checkpoints").iterdir()}
        assert kept == {"best.ckpt", "last.ckpt"}


def test_stopping_in_the_first_epoch_is_said(tmp_path):
    config = TrainingConfig(epochs=9, precision="fp32", ema_decay=None, early_stop_patience=1)
    said = []
    module, data = Measured([float("nan")] * 9), DataLoader([0])
    fit(module, data, data, config, tmp_path, monitor="val/measure", mode="max", say=said.append)
    assert module.trained == 1
    assert said == ["stopped early after epoch 1: val/measure was not better for 1 validation(s)"]


class Losing(Steep):
    """Logs given training losses."""

    def __init__(self, values):
        super().__init__(fused=False)
        self.values = values

    def training_step(self, batch, batch_idx):
        value = torch.tensor(self.values[self.current_epoch])
        self.log("train/loss", value, on_step=False, on_epoch=True, batch_size=1)
        return self.weight.sum()


@pytest.mark.parametrize("validate_every", [1, 2, 5])
def test_without_validation_the_training_loss_decides_after_every_epoch(tmp_path, validate_every):
    config = TrainingConfig(
        epochs=9, precision="fp32", ema_decay=None, early_stop_patience=2, validate_every=validate_every
    )
    said = []
    options = {"monitor": "val/measure", "mode": "max", "say": said.append}
    losses = Losing([3.0, 1.0, 2.0, 2.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    best = fit(losses, DataLoader([0]), None, config, tmp_path, **options)
    assert (best.name, torch.load(best, weights_only=True)["epoch"]) == ("best.ckpt", 1)
    assert said == ["stopped early after epoch 4: train/loss was not better for 2 validation(s)"]


def test_patience_may_change_when_a_run_goes_on(tmp_path):
    config = TrainingConfig(epochs=20, precision="fp32", ema_decay=None, early_stop_patience=3)
    options = {"monitor": "val/measure", "mode": "max"}
    for patience, resume, expected in ((3, False, 4), (10, True, 7), (4, True, 0)):
        config = config.model_copy(update={"early_stop_patience": patience})
        module = Measured([0.5] + [0.1] * 19)
        fit(module, DataLoader([0]), DataLoader([0]), config, tmp_path, **options, resume=resume)
        assert module.trained == expected


class Watching(Steep):
    """Notes the numbers that its steps compute in."""

    def __init__(self):
        super().__init__(fused=False)
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append("bf16" if torch.is_autocast_enabled("cpu") else "fp32")
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(("first", "then"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_a_resumed_training_keeps_the_numbers_it_was_begun_in(tmp_path, monkeypatch, first, then):
    def machine(precision):
        gain = 2.0 if precision == "bf16" else 0.5
        return Machine("", 2, 2, ("AVX-512 bf16",), None, (), False, {}, bf16_gain=gain)

    module = Watching()
    for epochs, precision, asked in ((1, first, "auto"), (2, then, "auto"), (3, then, then)):
        monkeypatch.setattr("scalefuse.training.fit.read_machine", lambda now=precision: machine(now))
        config = TrainingConfig(epochs=epochs, precision=asked, ema_decay=None)
        options = {"monitor": "train/loss", "mode": "min", "resume": epochs > 1}
        fit(module, DataLoader([0]), None, config, tmp_path, **options)
    assert module.seen == [first, first, then]


@pytest.mark.parametrize(("epochs", "validated"), [(3, [1, 2]), (4, [1, 3]), (1, [0])])
def test_the_last_epoch_is_validated_and_may_be_the_best(tmp_path, epochs, validated):
    seen = []

    class Noting(Measured):
        def validation_step(self, batch, batch_idx):
            seen.append(self.current_epoch)
            super().validation_step(batch, batch_idx)

    config = TrainingConfig(epochs=epochs, precision="fp32", ema_decay=None, validate_every=2)
    data = DataLoader([0])
    best = fit(Noting([0.1, 0.2, 0.3, 0.4]), data, data, config, tmp_path, monitor="val/measure", mode="max")
    assert seen == validated
    assert (best.name, torch.load(best, weights_only=True)["epoch"]) == ("best.ckpt", epochs - 1)


class Failing(Steep):
    """Validates to nothing that is a number in its second epoch."""

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", torch.tensor([1.0, float("inf"), 1.0][self.current_epoch]), batch_size=1)


def test_a_validation_that_gives_no_number_ends_the_training(tmp_path):
    config = TrainingConfig(epochs=3, precision="fp32", ema_decay=None)
    data = DataLoader([0])
    with pytest.raises(ConfigError, match="diverged in epoch 2"):
        fit(Failing(False), data, data, config, tmp_path, monitor="val/loss", mode="min")
    assert {
        torch.load(file, weights_only=True)["epoch"] for file in (tmp_path / "checkpoints").iterdir()
    } == {0}


def test_a_best_checkpoint_that_is_damaged_or_gone_is_told(tmp_path):
    config = TrainingConfig(epochs=2, precision="fp32", ema_decay=None)
    data, said = DataLoader([0]), []
    options = {"monitor": "val/measure", "mode": "max", "say": said.append}
    best = fit(Measured([0.9, 0.1]), data, data, config, tmp_path, **options)
    best.write_bytes(best.read_bytes()[:500])
    again = fit(Measured([0.9, 0.1]), data, data, config, tmp_path, resume=True, **options)
    with pytest.raises(BundleError, match=r"best.ckpt: the checkpoint is damaged"):
        load_best(Measured([]), again)
    best.unlink()
    last = fit(Measured([0.9, 0.1]), data, data, config, tmp_path, resume=True, **options)
    assert last.name == "last.ckpt"
    assert said[-1].endswith("is not there any more; the bundle is made of the last epoch")
    content = torch.load(last, weights_only=True)
    torch.save({**content, "callbacks": []}, last)
    with pytest.raises(BundleError, match=r"last.ckpt: the checkpoint is damaged"):
        finished_epochs(last)
