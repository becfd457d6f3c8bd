import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss
from scipy import ndimage
from skimage.segmentation import find_boundaries

from scalefuse.errors import InputError
from scalefuse.losses import SegmentationLoss, cross_entropy, dice_loss, edge_target


class Output(NamedTuple):
    mask: torch.Tensor
    scale3: torch.Tensor
    scale2: torch.Tensor
    edge: torch.Tensor


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_dice_by_hand():
    # Over the batch: intersection 0.8 + 0.4, sums 0.8 + 0.2 + 0.4 + 0.6 = 2 and 2.
    logits = torch.tensor([[logit(0.8), logit(0.2)], [logit(0.4), logit(0.6)]]).reshape(2, 1, 1, 2)
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).reshape(2, 1, 1, 2)
    assert dice_loss(logits, target).item() == pytest.approx(1 - (2 * 1.2 + 1) / (2 + 2 + 1))
    assert dice_loss(logits, target, smooth=0.0).item() == pytest.approx(1 - 2 * 1.2 / 4)


def test_dice_of_an_empty_mask_found_empty_is_zero():
    logits = torch.full((2, 1, 4, 4), -50.0)
    assert dice_loss(logits, torch.zeros(2, 1, 4, 4)).item() == pytest.approx(0.0, abs=1e-6)


def test_cross_entropy_by_hand():
    logits = torch.tensor([logit(0.8), logit(0.25)]).reshape(1, 1, 1, 2)
    target = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    expected = -(math.log(0.8) + math.log(0.75)) / 2
    assert cross_entropy(logits, target).item() == pytest.approx(expected)
    classes = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]).log().T.reshape(1, 3, 1, 2)
    found = cross_entropy(classes, torch.tensor([[[1, 2]]]), mode="multiclass")
    assert found.item() == pytest.approx(-(math.log(0.3) + math.log(0.8)) / 2)


@pytest.mark.parametrize(("mode", "channels"), [("binary", 1), ("multilabel", 3)])
def test_dice_agrees_with_monai_on_sigmoids(mode, channels):
    torch.manual_seed(0)
    logits, target = torch.randn(3, channels, 9, 7), (torch.rand(3, channels, 9, 7) > 0.6).float()
    monai = DiceLoss(sigmoid=True, batch=True, smooth_nr=1, smooth_dr=1)
    torch.testing.assert_close(dice_loss(logits, target, mode=mode), monai(logits, target))


def test_multiclass_agrees_with_monai():
    torch.manual_seed(0)
    logits, target = torch.randn(3, 4, 9, 7), torch.randint(0, 4, (3, 1, 9, 7))
    monai = DiceCELoss(softmax=True, to_onehot_y=True, batch=True, smooth_nr=1, smooth_dr=1)
    found = dice_loss(logits, target, mode="multiclass") + cross_entropy(logits, target, mode="multiclass")
    torch.testing.assert_close(found, monai(logits, target))


def test_multiclass_takes_indices_with_and_without_channel_and_probabilities():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 5, 4), torch.randint(0, 3, (2, 5, 4))
    one_hot = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    for term in (dice_loss, cross_entropy):
        expected = term(logits, target, mode="multiclass")
        torch.testing.assert_close(term(logits, target[:, None], mode="multiclass"), expected)
        torch.testing.assert_close(term(logits, one_hot, mode="multiclass"), expected)


@pytest.mark.parametrize("mode", ["binary", "multilabel"])
def test_soft_and_integer_targets(mode):
    logits = torch.zeros(1, 1, 1, 2)
    soft = torch.tensor([0.5, 0.5]).reshape(1, 1, 1, 2)
    # intersection 0.5, sums 1 and 1
    assert dice_loss(logits, soft, mode=mode).item() == pytest.approx(1 - 2 / 3)
    hard = torch.tensor([1, 0]).reshape(1, 1, 1, 2)
    for dtype in (torch.uint8, torch.bool, torch.int64):
        assert torch.equal(
            dice_loss(logits, hard.to(dtype), mode=mode), dice_loss(logits, hard.float(), mode=mode)
        )


def test_total_is_the_papers_sum():
    torch.manual_seed(0)
    output = Output(*(torch.randn(2, 1, 8, 8) for _ in range(4)))
    target = torch.zeros(2, 1, 8, 8)
    target[:, :, 2:6, 1:7] = 1
    both = {
        name: cross_entropy(getattr(output, name), target) + dice_loss(getattr(output, name), target)
        for name in ("mask", "scale3", "scale2")
    }
    edge = torch.nn.functional.binary_cross_entropy(output.edge.sigmoid(), edge_target(target))
    found = SegmentationLoss()(output, target)
    torch.testing.assert_close(found["loss"], 2 * both["mask"] + edge + both["scale3"] + both["scale2"])
    torch.testing.assert_close(found["mask_cross_entropy"] + found["mask_dice"], both["mask"])
    torch.testing.assert_close(found["edge_cross_entropy"], edge)


def test_total_by_hand_at_zero_logits():
    # Every term is log 2, and Dice is 1 - (2·2·0.5 + 1) / (16·0.5 + 2 + 1) for two pixels of sixteen.
    output = Output(*(torch.zeros(1, 1, 4, 4) for _ in range(4)))
    target = torch.zeros(1, 1, 4, 4)
    target[..., 1, 1:3] = 1
    expected = 4 * (math.log(2) + 1 - 3 / 11) + math.log(2)
    assert SegmentationLoss()(output, target)["loss"].item() == pytest.approx(expected)


def test_a_plain_tensor_gives_the_masks_terms():
    logits, target = torch.randn(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    found = SegmentationLoss(mask_weight=1.0)(logits, target)
    assert set(found) == {"loss", "mask_cross_entropy", "mask_dice"}
    torch.testing.assert_close(found["loss"], cross_entropy(logits, target) + dice_loss(logits, target))


@pytest.mark.parametrize("given_as", ["indices", "probabilities"])
def test_multiclass_loss_reaches_every_output(given_as):
    torch.manual_seed(0)
    logits = [torch.randn(2, 3, 8, 8, requires_grad=True) for _ in range(3)]
    edge = torch.randn(2, 1, 8, 8, requires_grad=True)
    indices = torch.randint(0, 3, (2, 8, 8))
    one_hot = torch.nn.functional.one_hot(indices, 3).movedim(-1, 1).float()
    parts = SegmentationLoss("multiclass")(
        Output(*logits, edge), indices if given_as == "indices" else one_hot
    )
    parts["loss"].backward()
    assert all(tensor.grad.abs().min() > 0 for tensor in (*logits, edge))
    expected = SegmentationLoss("multiclass")(Output(*logits, edge), indices)["edge_cross_entropy"]
    assert torch.equal(parts["edge_cross_entropy"], expected)


def test_half_precision_logits_are_computed_in_single_precision():
    # 512×512 ones: a bfloat16 sum would stop growing long before.
    logits = torch.full((1, 1, 512, 512), 30.0, dtype=torch.bfloat16, requires_grad=True)
    target = torch.ones(1, 1, 512, 512)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = SegmentationLoss()(Output(logits, logits, logits, logits), target)
    parts["loss"].backward()
    assert parts["loss"].dtype == torch.float32
    assert parts["mask_dice"].item() == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_large_logits_stay_finite(value):
    logits = torch.full((1, 1, 4, 4), value, requires_grad=True)
    loss = SegmentationLoss()(Output(logits, logits, logits, logits), torch.ones(1, 1, 4, 4))["loss"]
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(logits.grad).all()


def blobs() -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal((40, 56)), 3)
    return noise > 0.02


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dice_of_half_precision_is_summed_in_single_precision(dtype):
    generator = torch.manual_seed(3)
    logits = torch.randn(2, 1, 40, 50, generator=generator).to(dtype)
    target = (torch.rand(2, 1, 40, 50, generator=generator) > 0.4).float()
    assert torch.equal(dice_loss(logits, target), dice_loss(logits.float(), target))


def test_edge_of_a_mask_agrees_with_scipy_and_scikit_image():
    mask = blobs()
    found = edge_target(torch.from_numpy(mask)[None, None])[0, 0].numpy().astype(bool)
    eroded = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(2, 1), border_value=1)
    assert np.array_equal(found, mask & ~eroded)
    assert np.array_equal(found, find_boundaries(mask, connectivity=1, mode="inner"))


def test_edge_of_classes_is_the_union_of_their_boundaries():
    classes = np.zeros((12, 12), dtype=np.int64)
    classes[1:7, 1:11], classes[7:11, 3:9], classes[3:5, 3:5] = 1, 2, 3
    union = np.zeros_like(classes, dtype=bool)
    for label in (1, 2, 3):
        mask = classes == label
        union |= mask & ~ndimage.binary_erosion(mask, border_value=1)
    indices = torch.from_numpy(classes)[None]
    one_hot = torch.nn.functional.one_hot(indices, 4).movedim(-1, 1)
    for given in (indices, indices[:, None], indices.float(), one_hot[:, 1:]):
        assert np.array_equal(edge_target(given)[0, 0].numpy().astype(bool), union)


@pytest.mark.parametrize("value", [0, 1])
def test_a_uniform_mask_has_no_edge(value):
    assert edge_target(torch.full((1, 1, 6, 6), value)).sum() == 0


@pytest.mark.parametrize(
    ("mode", "logits", "target", "message"),
    [
        ("binary", (1, 2, 4, 4), (1, 2, 4, 4), "one channel"),
        ("binary", (1, 1, 4, 4), (1, 1, 4, 5), r"\(1, 1, 4, 4\), but got \(1, 1, 4, 5\)"),
        ("multiclass", (1, 3, 4, 4), (1, 2, 4, 4), "class indices of shape"),
        ("other", (1, 1, 4, 4), (1, 1, 4, 4), "'other'"),
    ],
)
def test_wrong_input(mode, logits, target, message):
    with pytest.raises(InputError, match=message):
        dice_loss(torch.zeros(logits), torch.zeros(target), mode=mode)


def test_a_class_that_the_network_lacks():
    with pytest.raises(InputError, match="from 0 to 2, but got values from 0 to 3"):
        cross_entropy(torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 3]]]), mode="multiclass")


def test_wrong_mode_and_mask_shape():
    with pytest.raises(InputError, match="`mode`"):
        SegmentationLoss("both")
    with pytest.raises(InputError, match=r"\(N, H, W\)"):
        edge_target(torch.zeros(4, 4))
