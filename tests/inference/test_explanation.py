import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scalefuse.data.classification_input import ClassificationPreprocessing
from scalefuse.errors import InputError
from scalefuse.inference.classifier import Classifier
from scalefuse.inference.explanation import grad_cam, to_picture
from scalefuse.networks.hifuse import HiFuse

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
    first, second = F.avg_pool2d(images, 2).unbind(dim=1)
    cam, stage = grad_cam(Staged(), images, torch.tensor([0, 1, 1]), stage=2)
    assert stage == 2
    # The mean over 16 cells hands each a sixteenth of the weight; a weight of -1 counts nothing.
    expected = torch.stack([first[0], 2 * second[1], 2 * second[2]]).relu() / 16
    torch.testing.assert_close(cam, expected)
    cam, _ = grad_cam(Staged(), images, torch.tensor([0, 1, 1]), stage=1)
    expected = torch.stack([images[0, 0], 2 * images[1, 1], 2 * images[2, 1]]).relu() / 64
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


def test_bad_input():
    network = HiFuse(num_classes=2, embed_dim=16, depths=(1, 1, 1, 1)).eval()
    with pytest.raises(InputError, match="stages 1 to 4, but got stage 0"):
        grad_cam(network, torch.rand(1, 3, 32, 32), torch.tensor([0]), stage=0)
    with pytest.raises(InputError, match="plain function"):
        grad_cam(lambda x: x, torch.rand(1, 3, 32, 32), torch.tensor([0]))
    classifier = Classifier(network, labels=("a", "b"), preprocessing=PREPROCESSING)
    with pytest.raises(InputError, match="0 to 1, but got 2"):
        classifier.explain(np.zeros((9, 9), np.uint8), class_index=2)


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
    """A small HiFuse that tells whether a disc is there; some ten seconds on one core."""
    torch.manual_seed(3)
    network = HiFuse(in_channels=1, num_classes=2, embed_dim=16, depths=(1, 1, 1, 1))
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


def test_the_map_points_at_the_planted_object(trained):
    pictures, shown, disc = planted(150, seed=31)
    assert (trained.predict(list(pictures)).argmax(axis=1) == shown).mean() > 0.95
    present = np.flatnonzero(shown)[:50]
    assert len(present) == 50
    hits = 0
    for index in present:
        found = trained.explain(pictures[index], class_index=1)
        assert (found.stage, found.cells, found.label) == (2, (8, 8), "disc")
        assert found.map.shape == (SIDE, SIDE)
        assert found.map.min() >= 0
        assert found.map.max() == 1
        hits += disc[index].ravel()[found.map.argmax()]
    # The disc covers about a twentieth of a picture; a point within it is no accident. No tolerance.
    assert hits / 50 >= 0.8


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
