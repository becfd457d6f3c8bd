"""The fusion objective: what a pair's own limit of the SCD does to the loss."""

import pytest
import torch

from scalefuse.config.fusion import FusionData, FusionLoss, FusionObjective, FusionRun, PairFolders
from scalefuse.data.write import write_pixels
from scalefuse.losses.fusion import correlations_of_differences
from scalefuse.networks.dilran.spec import DILRANConfig, build
from scalefuse.training.fusion_data import PairDataset, read_pairs
from scalefuse.training.fusion_task import FusionTask


@pytest.fixture(scope="module")
def task():
    torch.manual_seed(0)
    config = FusionRun(
        network=DILRANConfig(features=8),
        strategy="average",
        loss=FusionLoss(fusion=FusionObjective(scd=0.5, scd_enough=2.0)),
    )
    return FusionTask(build(config.network).eval(), config, 1)


@pytest.fixture(scope="module")
def pairs():
    return torch.rand(2, 2, 1, 64, 64, generator=torch.manual_seed(1)).unbind()


def test_more_scd_than_enough_counts_for_nothing(task, pairs):
    a, b = pairs
    with torch.no_grad():
        features = task.network.encode(torch.cat(pairs))
        fused = task.network.decode(features.chunk(2)[0].add(features.chunk(2)[1]) / 2).clamp(0, 1)
        reached = correlations_of_differences(fused, a, b)
        whole = task.compute_loss(a, b)["loss"]
        # The first pair stops counting below what it reaches, the second has no limit of its own.
        limit = reached[0].item() - 0.25
        limited = task.compute_loss(a, b, torch.tensor([limit, torch.inf]))["loss"]
    assert (limited - whole).item() == pytest.approx(0.5 * 0.25 / 2, abs=1e-5)


def test_the_limit_is_that_of_the_folders(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        pixels = (torch.rand(64, 64, generator=torch.manual_seed(2)) * 255).byte().numpy()
        write_pixels(tmp_path / name / "1.png", pixels)
    folders = (
        PairFolders(a=str(tmp_path / "a"), b=str(tmp_path / "c"), scd_enough=1.25),
        PairFolders(a=str(tmp_path / "b"), b=str(tmp_path / "c")),
    )
    cases, _ = read_pairs(folders)
    for config in (None, FusionData(crop=48)):
        found = [sample.scd_enough.item() for sample in map(PairDataset(cases, config).__getitem__, range(2))]
        assert found == [1.25, float("inf")]


def test_the_limit_of_the_objective_itself(task, pairs):
    a, b = pairs
    with torch.no_grad():
        first, second = task.network.encode(torch.cat(pairs)).chunk(2)
        reached = correlations_of_differences(task.network.decode((first + second) / 2).clamp(0, 1), a, b)
        whole = task.compute_loss(a, b)["loss"]
        limit = reached.min().item() - 0.25
        # Untrained networks reach less than any limit that may be configured.
        objective = task.run.loss.fusion.model_copy(update={"scd_enough": limit})
        loss = task.run.loss.model_copy(update={"fusion": objective})
        other = FusionTask(task.network, task.run.model_copy(update={"loss": loss}), 1)
        limited = other.compute_loss(a, b)["loss"]
    assert (limited - whole).item() == pytest.approx(0.5 * (reached.mean().item() - limit), abs=1e-5)
