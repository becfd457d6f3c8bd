import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scalefuse.data.classification_input import ClassificationPreprocessing
from scalefuse.errors import InputError
from scalefuse.inference.classifier import Classifier
from scalefuse.inference.explanation import class_to_explain, grad_cam, over_input, to_picture
from scalefuse.inference.occlusion import log_odds, occlusion_sensitivity
from scalefuse.networks.hifuse import HiFuse
from scalefuse.networks.resnet.spec import ResNet18Config, build

SIDE = 64
PREPROCESSING = ClassificationPreprocessing(size=(SIDE, SIDE), intensity="range:0:1")


class Staged(nn.Module):
    """Two stages whose Grad-CAM is known: the head sums two channels of the last stage with fixed weights."""

    def __init__(self):
        super().__init__()
        self.weight = torch.tensor([[1.0, -1.0], [0.0, 2.0]])

    def forward_features(self, x):
        return [x, F.avg_pool2d(x, 2)]

    def forward_embedding(self, features):
        return features.mean(dim=(2, 3))

    def forward_head(self, features):
        return self.forward_embedding(features) @ self.weight.T

    def forward(self, x):
        return self.forward_head(self.forward_features(x)[-1])


def test_grad_cam_by_hand():
    images = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    first, second = (F.avg_pool2d(images, 2) - images.mean(dim=(2, 3), keepdim=True)).unbind(dim=1)
    chosen = torch.tensor([0, 1, 1])
    cam, stage = grad_cam(Staged(), images, chosen, stage=2, multi_label=True)
    assert stage == 2
    # The logits are linear: the head's mean over 16 cells hands each a sixteenth of the weight.
    expected = torch.stack([first[0] - second[0], 2 * second[1], 2 * second[2]]).relu() / 16
    torch.testing.assert_close(cam, expected)
    # Of two classes the log odds are the difference of the logits: weights of 1 - 0 and -1 - 2.
    cam, _ = grad_cam(Staged(), images, chosen, stage=2)
    odds = first - 3 * second
    torch.testing.assert_close(cam, torch.stack([odds[0], -odds[1], -odds[2]]).relu() / 16)
    cam, _ = grad_cam(Staged(), images, chosen, stage=1, multi_label=True)
    first, second = (images - images.mean(dim=(2, 3), keepdim=True)).unbind(dim=1)
    expected = torch.stack([first[0] - second[0], 2 * second[1], 2 * second[2]]).relu() / 64
    torch.testing.assert_close(cam, expected)


def test_evidence_of_a_saturated_network_is_not_lost():
    """Where the picture itself has no gradient any more, the way to it still has one."""

    class Saturated(Staged):
        def forward_head(self, features):
            return super().forward_head(features.clamp(max=0.3))

    images = torch.zeros(1, 2, 8, 8)
    images[0, 0, :4, :4] = 1  # mean 0.25
    flat, _ = grad_cam(Saturated(), images, torch.tensor([0]), stage=1, multi_label=True, steps=1)
    assert flat.max() == 0
    # The first of 8 pictures, a sixteenth of the way from 0.25 to 1, lies below 0.3; the others above.
    expected = torch.zeros(1, 8, 8)
    expected[0, :4, :4] = 0.75 / 64 / 8
    cam, _ = grad_cam(Saturated(), images, torch.tensor([0]), stage=1, multi_label=True)
    torch.testing.assert_close(cam, expected)


def test_works_inside_inference_mode_and_without_trainable_weights():
    network = HiFuse(in_channels=1, num_classes=2, embed_dim=16, depths=(1, 1, 1, 1)).eval()
    network.requires_grad_(False)
    with torch.inference_mode():
        cam, _ = grad_cam(network, torch.rand(1, 1, 64, 64), torch.tensor([1]), stage=1)
    assert cam.shape == (1, 16, 16)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("picture", [(64, 64), (100, 60), (31, 90), (5, 7)])
@pytest.mark.parametrize("fit", ["resize", "pad", "crop"])
def test_a_bright_spot_is_found_where_it_is(picture, fit):
    """The input itself as the map, brought back: what is brightest there must lie on the spot."""
    height, width = picture
    pixels = np.zeros(picture, np.float32)
    spot = slice(height * 3 // 8, height // 2 + 1), slice(width * 3 // 8, width // 2 + 1)
    pixels[spot] = 1
    classifier = Classifier(
        lambda images: images,
        labels=("a", "b"),
        preprocessing=ClassificationPreprocessing(size=(48, 40), fit=fit, mean=0, std=1, intensity="minmax"),
        in_channels=1,
    )
    heat = to_picture(classifier.prepare(pixels)[0], picture, (48, 40), fit).numpy()
    assert heat.shape == picture
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert pixels[row, column] == 1
    centre = (np.indices(picture) * heat).sum(axis=(1, 2)) / heat.sum()
    wanted = (np.indices(picture) * pixels).sum(axis=(1, 2)) / pixels.sum()
    np.testing.assert_allclose(centre, wanted, atol=0.02 * max(picture) + 0.1)


def test_outside_of_the_crop_nothing_is_claimed():
    heat = to_picture(torch.ones(7, 7), (64, 128), (56, 56), "crop")
    assert heat[:, :25].max() == 0
    assert heat[:, -25:].max() == 0
    assert heat[32, 64] == 1


def middle(heat):
    """Row and column of the centre of mass, in pixels from the upper left edge."""
    places = np.indices(heat.shape) + 0.5
    return (places * np.asarray(heat)).sum(axis=(1, 2)) / np.asarray(heat).sum()


@pytest.mark.parametrize(
    ("size", "stage", "cell", "expected"),
    [(100, 4, 2, 80), (225, 3, 12, 200), (128, 4, 2, 80), (48, 4, 0, 16)],
)
def test_cells_that_reach_beyond_the_picture_are_drawn_where_they_lie(size, stage, cell, expected):
    network = HiFuse(num_classes=2, embed_dim=16, depths=(1, 1, 1, 1)).eval()
    cam = torch.zeros_like(network.forward_features(torch.zeros(1, 3, size, size))[stage - 1][0, 0])
    cam[cell, cell] = 1
    heat = to_picture(over_input(cam, (size, size), network, stage), (size, size), (size, size), "resize")
    assert heat.shape == (size, size)
    side = 2 ** (stage + 1)
    np.testing.assert_allclose(middle(heat), expected, atol=side / 8)


@pytest.mark.parametrize("name", ["hifuse", "resnet18"])
@pytest.mark.parametrize("size", [90, 96])
def test_a_cell_lies_where_the_pixels_lie_that_move_it(name, size):
    torch.manual_seed(0)
    if name == "hifuse":
        network = HiFuse(num_classes=2, embed_dim=16, depths=(1, 1, 1, 1)).eval()
    else:
        network = build(ResNet18Config(width=16)).eval()
    image = torch.rand(1, 3, size, size).requires_grad_()
    cell = network.forward_features(image)[0][0, :, 10, 10]
    moved = sum(torch.autograd.grad(one, image, retain_graph=True)[0].abs().sum(dim=(0, 1)) for one in cell)
    cam = torch.zeros(*network.forward_features(image)[0].shape[2:])
    cam[10, 10] = 1
    laid = to_picture(over_input(cam, (size, size), network, 1), (size, size), (size, size), "resize")
    np.testing.assert_allclose(middle(laid), middle(moved), atol=1)


def test_networks_of_different_cells_are_explained_together():
    networks = HiFuse(num_classes=2, embed_dim=16, depths=(1, 1, 1, 1)).eval(), build(ResNet18Config()).eval()
    classifier = Classifier(list(networks), labels=("a", "b"), preprocessing=PREPROCESSING)
    picture = np.random.default_rng(0).random((70, 50, 3), np.float32)
    assert classifier.explain(picture, class_index=1).map.shape == (70, 50)


def test_of_several_labels_one_that_is_called_is_explained():
    probabilities = np.array([0.2, 0.6, 0.9])
    assert class_to_explain(probabilities, np.array([True, True, False])) == 1
    assert class_to_explain(probabilities, np.array([False, False, False])) == 2
    assert class_to_explain(probabilities, np.int64(0)) == 0


def test_bad_input():
    network = HiFuse(num_classes=2, embed_dim=16, depths=(1, 1, 1, 1)).eval()
    with pytest.raises(InputError, match="stages 1 to 4, but got stage 0"):
        grad_cam(network, torch.rand(1, 3, 32, 32), torch.tensor([0]), stage=0)
    with pytest.raises(InputError, match="plain function"):
        grad_cam(lambda x: x, torch.rand(1, 3, 32, 32), torch.tensor([0]))
    classifier = Classifier(network, labels=("a", "b"), preprocessing=PREPROCESSING)
    with pytest.raises(InputError, match="0 to 1, but got 2"):
        classifier.explain(np.zeros((9, 9), np.uint8), class_index=2)
    with pytest.raises(InputError, match="Expected grad-cam or occlusion, but got 'lime'"):
        classifier.explain(np.zeros((9, 9), np.uint8), method="lime")
    with pytest.raises(InputError, match="leave the stage out"):
        classifier.explain(np.zeros((9, 9), np.uint8), stage=2, method="occlusion")
    with pytest.raises(InputError, match=r"\(2, 3, 32, 32\)"):
        occlusion_sensitivity(lambda x: x.mean(dim=(1, 2, 3)), torch.rand(2, 3, 32, 32))


def test_occlusion_explains_a_plain_function():
    """No stages are needed: the score is the brightness of the left upper corner."""
    pixels = np.full((40, 40), 0.2, np.float32)
    pixels[:10, :10] = 1
    classifier = Classifier(
        lambda images: (
            torch.stack([-images[:, 0, :16, :16].mean(dim=(1, 2))] * 2, dim=1) * torch.tensor([1, -1])
        ),
        labels=("dark", "bright"),
        preprocessing=PREPROCESSING,
        in_channels=1,
    )
    found = classifier.explain(pixels, method="occlusion")
    assert (found.label, found.stage) == ("bright", None)
    assert found.map[:5, :5].min() > 0.5
    assert found.map[20:, 20:].max() == 0


def planted(number, seed):
    """Noisy pictures ``(N, H, W)`` in [0, 1], whether a bright disc is on each, and where it would be."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    coarse = torch.from_numpy(generator.normal(size=(number, 1, 8, 8)).astype(np.float32))
    clutter = F.interpolate(coarse, size=SIDE, mode="bicubic")[:, 0].numpy()
    radius = generator.uniform(7, 10, (number, 1, 1))
    centre = generator.uniform(radius + 1, SIDE - radius - 1, (number, 1, 2))
    disc = np.hypot(rows - centre[..., :1], columns - centre[..., 1:]) <= radius
    shown = generator.integers(0, 2, number)
    pictures = 0.4 + 0.06 * generator.normal(size=disc.shape) + 0.05 * clutter
    pictures += 0.25 * disc * shown[:, None, None]
    return pictures.clip(0, 1).astype(np.float32), shown, disc


@pytest.fixture(scope="module")
def trained():
    return train("fixed")


def train(initialisation):
    """A small HiFuse that tells whether a disc is there; some ten seconds on one core."""
    torch.manual_seed(3)
    network = HiFuse(
        in_channels=1, num_classes=2, embed_dim=16, depths=(1, 1, 1, 1), initialisation=initialisation
    )
    pictures, shown, _ = planted(512, seed=30)
    images, targets = (torch.from_numpy(pictures)[:, None] - 0.5) / 0.5, torch.from_numpy(shown)
    steps = 60
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randint(len(images), (32,), generator=generator)
        loss = F.cross_entropy(network(images[chosen]), targets[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return Classifier(network.eval(), labels=("nothing", "disc"), preprocessing=PREPROCESSING, in_channels=1)


def pointed_at(classifier, **options):
    """The share of 50 pictures with a disc whose map is largest on it, and the last explanation."""
    pictures, shown, disc = planted(150, seed=31)
    assert (classifier.predict(list(pictures)).argmax(axis=1) == shown).mean() > 0.95
    present = np.flatnonzero(shown)[:50]
    assert len(present) == 50
    hits = 0
    for index in present:
        found = classifier.explain(pictures[index], class_index=1, **options)
        assert found.label == "disc"
        assert found.map.shape == (SIDE, SIDE)
        assert found.map.min() >= 0
        assert found.map.max() == 1
        hits += disc[index].ravel()[found.map.argmax()]
    return hits / 50, found


# The disc covers about a twentieth of a picture; a point within it is no accident. No tolerance.
def test_maps_point_at_the_planted_object_however_weights_began(trained):
    for classifier in (trained, train("fan_in")):
        share, found = pointed_at(classifier)
        assert (found.stage, found.cells) == (2, (8, 8))
        assert share >= 0.8
        share, found = pointed_at(classifier, method="occlusion")
        assert (found.stage, found.cells) == (None, (8, 8))
        assert share >= 0.8


def test_occlusion_as_monai_where_both_cover_a_cell_four_times():
    """MONAI's squares do not reach over the edge: its outermost cells are covered less often."""
    from monai.visualize import OcclusionSensitivity

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 5), torch.nn.GELU(), torch.nn.Flatten())
    network = torch.nn.Sequential(network, torch.nn.LazyLinear(3)).eval()
    image = torch.rand(1, 1, 40, 24) * torch.linspace(0, 4, 40)[:, None]
    theirs = OcclusionSensitivity(
        network, mask_size=(10, 6), overlap=0.5, mode="mean_img", activate=False, verbose=False
    )
    falls = network(image)[0] - theirs(image)[0][0].permute(1, 2, 0)
    ours = occlusion_sensitivity(lambda x: network(x)[:, 2], image, cells=8, batch_size=7)
    cells = falls[..., 2].detach().clamp(min=0)[2::5, 1::3]
    torch.testing.assert_close(ours[1:-1, 1:-1], cells[1:-1, 1:-1].as_tensor(), atol=1e-6, rtol=1e-4)
    assert (ours[1:-1, 1:-1] > 0).sum() > 5


def test_occlusion_by_hand():
    """A score of one pixel falls by what it stands above its channel's mean, where a square covers it."""
    image = torch.zeros(1, 2, 6, 10)
    image[0, 0, 3, 9] = 6.0
    image[0, 1] = 5.0
    falls = occlusion_sensitivity(lambda x: x[:, 0, 3, 9] + x[:, 1].mean(dim=(1, 2)), image, cells=3)
    # The pixel lies in row 1, column 2 of 3×3 cells. Of the four squares on its cell all cover it, of those
    # on a cell beside it two, diagonally one. Its channel's mean is 6/60; the other channel is its own mean.
    expected = torch.tensor([[0, 1, 2], [0, 2, 4], [0, 1, 2]]) / 4 * (6 - 0.1)
    torch.testing.assert_close(falls, expected)


def test_log_odds_are_those_of_the_probability():
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    probability = logits.softmax(dim=1)[:, 2]
    torch.testing.assert_close(log_odds(logits, 2), (probability / (1 - probability)).log())
    torch.testing.assert_close(log_odds(logits, 2, multi_label=True), logits[:, 2])


def test_the_map_follows_the_picture_to_its_own_size(trained):
    pictures, shown, disc = planted(60, seed=32)
    hits = 0
    for index in np.flatnonzero(shown)[:20]:
        large = np.kron(pictures[index], np.ones((3, 2), np.float32))
        found = trained.explain(large, class_index=1)
        assert found.map.shape == (3 * SIDE, 2 * SIDE)
        row, column = divmod(int(found.map.argmax()), 2 * SIDE)
        hits += disc[index, row // 3, column // 2]
    assert hits >= 16
