"""The perceptual term, with random weights in place of the trained ones."""

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from scalefuse.errors import BundleError
from scalefuse.losses.perceptual import PerceptualLoss

LAYOUT = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool")


def vgg_features():
    """The first ten layers of VGG-16 with batch norm, numbered as everywhere."""
    torch.manual_seed(0)
    layers, channels = [], 3
    for width in LAYOUT:
        if width == "pool":
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    network = nn.Sequential(*layers)
    for module in network:
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


@pytest.fixture(scope="module")
def reference():
    return vgg_features()


@pytest.fixture(scope="module")
def weights(reference, tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg.pth"
    torch.save({f"features.{name}": tensor for name, tensor in reference.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 2, 1, 20, 24, generator=torch.manual_seed(1))


def test_is_the_distance_of_the_features_before_each_pooling(reference, weights, images):
    def features(x):
        x = (x.expand(-1, 3, -1, -1) - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
            [0.229, 0.224, 0.225]
        ).view(3, 1, 1)
        kept = []
        for layer in reference:
            if isinstance(layer, nn.MaxPool2d):
                kept.append(x)
            x = layer(x)
        return kept

    with torch.no_grad():
        expected = sum(
            nn.functional.mse_loss(a, b)
            for a, b in zip(features(images[0]), features(images[1]), strict=True)
        )
        torch.testing.assert_close(PerceptualLoss(weights)(*images), expected)


def test_equal_images_have_none_and_the_output_gets_a_gradient(weights, images):
    loss = PerceptualLoss(weights).train()
    assert not loss.training
    assert loss(images[0], images[0]).item() == 0
    assert not any(p.requires_grad for p in loss.parameters())
    output = images[0].clone().requires_grad_()
    loss(output, images[1]).backward()
    assert output.grad.abs().max() > 0


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_wrong_files(weights, tmp_path):
    state = torch.load(weights, weights_only=True)
    files = {
        "absent": None,
        "empty": b"",
        "text": b"no weights",
        "cut": weights.read_bytes()[:1000],
        "code": pickle.dumps(Malicious(tmp_path / "ran")),
        "lacks features.3.weight": {name: t for name, t in state.items() if name != "features.3.weight"},
        "shape": {**state, "features.3.weight": torch.zeros(3)},
        "tensor": torch.zeros(3),
        "list": [1, 2],
    }
    for name, content in files.items():
        path = tmp_path / name.replace(" ", "-")
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(BundleError, match=str(path)) as caught:
            PerceptualLoss(path)
        if name.startswith(("lacks", "shape")):
            assert name in str(caught.value)
    assert not (tmp_path / "ran").exists()
