"""One training step and one validation step, for networks with and without deep supervision."""

import numpy as np
import pytest
import torch

from scalefuse.config import SegmentationRun
from scalefuse.inference.segmenter import Segmenter
from scalefuse.losses.segmentation import SegmentationLoss
from scalefuse.networks.msrf_net import MSRFNet
from scalefuse.networks.msrf_net.network import MSRFNetOutput
from scalefuse.networks.unet import UNet
from scalefuse.training.segmentation_task import SegmentationTask, dice_per_image

NETWORKS = {
    "msrf_net": lambda: MSRFNet(width=8, growth=4),
    "unet": lambda: UNet(width=4),
}
ARGUMENTS = {"msrf_net": {"width": 8, "growth": 4}, "unet": {"width": 4}}


@pytest.fixture(params=NETWORKS)
def task(request):
    torch.manual_seed(0)
    run = SegmentationRun(network={"name": request.param, **ARGUMENTS[request.param]})
    made = SegmentationTask(NETWORKS[request.param](), run, num_steps=4)
    made.logged = {}
    made.log_dict = lambda values, **options: made.logged.update(values)
    return made


def batch(height, width):
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, height, width, generator=generator)
    return {"image": image, "mask": (image.mean(1) > 0.5).long()}


def test_a_step_has_the_loss_of_what_the_network_gives(task):
    values = batch(32, 48)
    loss = task.training_step(values, 0)
    loss.backward()
    with torch.no_grad():
        parts = SegmentationLoss()(task.network(values["image"]), values["mask"][:, None].float())
    assert {name.removeprefix("train/") for name in task.logged} == set(parts)
    assert ("train/edge_cross_entropy" in task.logged) == (task.run.network.name == "msrf_net")
    if task.run.network.name == "unet":  # no dropout
        assert loss.item() == pytest.approx(parts["loss"].item(), rel=1e-5)
        weighted = 2 * (parts["mask_cross_entropy"] + parts["mask_dice"])
        assert loss.item() == pytest.approx(weighted.item(), rel=1e-5)


@pytest.mark.parametrize("size", [(33, 50), (40, 24)])
def test_validation_takes_any_size(task, size):
    task.eval()
    with torch.no_grad():
        task.validation_step(batch(*size), 0)
    assert 0 <= task.logged["val/dice"] <= 1


@pytest.mark.parametrize("fit", ["crop", "resize"])
def test_large_images_are_validated_in_windows_as_by_monai(task, fit):
    from monai.inferers import sliding_window_inference

    task.run = task.run.model_copy(update={"data": task.run.data.model_copy(update={"fit": fit})})
    task.eval()
    task.whole_image_limit, task.tile = 40 * 40, 32
    values, network, seen = batch(96, 64), task.network, []
    values["mask"] = torch.zeros(2, 96, 64).long()
    values["mask"][:, 10:40, 5:30] = 1

    def watched(image):
        seen.append(tuple(image.shape[-2:]))
        return network(image)

    task._output = watched
    with torch.no_grad():
        task.validation_step(values, 0)
        if fit == "resize":  # what the predictor resizes, it shows whole
            assert seen == [(96, 64)]
            expected = network(values["image"])
        else:
            assert set(seen) == {(32, 32)}
            expected = sliding_window_inference(
                values["image"], 32, 1, network, overlap=0.25, mode="gaussian", sigma_scale=0.125
            )
            if not isinstance(expected, torch.Tensor):
                expected = MSRFNetOutput(*expected)
        parts = SegmentationLoss()(expected, values["mask"][:, None].float())
    assert task.logged["val/loss"].item() == pytest.approx(parts["loss"].item(), rel=1e-4)
    for name, value in parts.items():
        assert task.logged[f"val/{name}"].item() == pytest.approx(value.item(), rel=1e-3, abs=1e-6)


def test_windows_lie_where_the_predictor_lays_them(task):
    """An image whose sides no network takes as they are."""
    task.run = task.run.model_copy(update={"data": task.run.data.model_copy(update={"fit": "crop"})})
    task.eval()
    task.whole_image_limit, task.tile = 40 * 40, 32
    image = torch.rand(1, 3, 75, 61, generator=torch.Generator().manual_seed(2))
    seen, network = [], task.network

    def watched(images):
        seen.append(images.clone())
        return network(images)

    task._output = watched
    with torch.no_grad():
        task.validation_step({"image": image, "mask": torch.zeros(1, 75, 61).long()}, 0)
    predicted = []

    def engine(images):
        predicted.append(images.clone())
        return images[:, :1]

    segmenter = Segmenter(engine, whole_image_limit=40 * 40, tile=32, size_multiple=task.size_multiple)
    segmenter.segment((image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    assert len(predicted) == len(seen) == 9
    for one, other in zip(predicted, seen, strict=True):
        torch.testing.assert_close(one, other, atol=1 / 255, rtol=0)


def test_small_classes_weigh_as_much_as_large_ones():
    # Of class one all of six pixels are found, of class two none of one.
    truth = torch.tensor([[[1, 1, 1, 1], [1, 1, 2, 0]]])
    found = torch.where(truth == 2, 0, truth)
    logits = torch.nn.functional.one_hot(found, 3).movedim(-1, 1) * 9.0
    assert dice_per_image(logits, truth, "multiclass").tolist() == [0.5]
    labels = torch.stack([truth == 1, truth == 2], dim=1).float()
    assert dice_per_image(logits[:, 1:] - 4.5, labels, "multilabel").tolist() == [0.5]


def test_padding_counts_nothing(task):
    """A perfect network on an image whose lower half is object scores 1 at any size."""
    values = batch(36, 37)
    values["mask"] = torch.zeros(2, 36, 37).long()
    values["mask"][:, 18:] = 1
    seen = []

    def perfect(image):
        seen.append(image.shape[-2:])
        rows = torch.arange(image.shape[-2])[:, None].expand(image.shape[-2:])
        mask = torch.where(rows >= 18, 20.0, -20.0).expand(2, 1, -1, -1)
        return mask if task.run.network.name == "unet" else MSRFNetOutput(mask, mask, mask, mask)

    task.network.forward = perfect
    task.validation_step(values, 0)
    height, width = seen[0]
    assert (height % 8, width % 8) == (0, 0)
    assert task.logged["val/dice"] == 1
    assert task.logged["val/mask_dice"] < 1e-4
