"""The plain U-Net is MONAI's; what is ours are its arguments, its messages and its size."""

import pytest
import torch
from monai.networks.nets import BasicUNet

from scalefuse.config import load_config
from scalefuse.errors import InputError
from scalefuse.networks.unet import UNet
from scalefuse.workflows.networks import describe


def test_it_is_monais():
    torch.manual_seed(0)
    ours = UNet(in_channels=1, num_classes=2, width=4, norm="instance", dropout=0.1).eval()
    theirs = BasicUNet(2, 1, 2, (4, 8, 16, 32, 64, 4), norm=("instance", {"affine": True}), bias=False).eval()
    theirs.load_state_dict({name.removeprefix("layers."): one for name, one in ours.state_dict().items()})
    image = torch.rand(2, 1, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=0)


@pytest.mark.parametrize("part", ["nuclei", "lesions", "polyps"])
def test_the_baseline_costs_what_msrf_net_costs(part, monkeypatch):
    monkeypatch.setenv("SCALEFUSE_DATA", "/data")
    ours, plain = load_config(f"msrf_net_{part}"), load_config(f"unet_{part}")
    macs = [describe(**one.network.model_dump())[-1].macs for one in (plain, ours)]
    assert macs == [22_042_116_096, 21_911_526_688]  # 256×256
    assert 0.9 < macs[0] / macs[1] < 1.1
    for section in ("data", "augmentation", "optimizer", "training"):
        assert getattr(ours, section) == getattr(plain, section), section


def test_the_full_width_equivalent():
    plain, ours = (
        describe(name, **more)[-1].macs for name, more in (("unet", {"width": 84}), ("msrf_net", {}))
    )
    assert plain / ours == pytest.approx(1.0053, abs=1e-4)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("in_channels", 0), ("num_classes", 0), ("width", 5), ("width", 0), ("norm", "layer"), ("dropout", 1.0)],
)
def test_bad_arguments_are_named(argument, value):
    with pytest.raises(InputError, match=rf"`{argument}`.*got '?{value}"):
        UNet(**{argument: value})


def test_another_number_of_channels():
    with pytest.raises(InputError, match=r"\(N, 3, H, W\).*\(1, 1, 16, 16\)"):
        UNet(width=4)(torch.zeros(1, 1, 16, 16))


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_smallest_image(norm):
    """Its coarsest level is one pixel, which PyTorch's instance norm refuses."""
    network = UNet(width=4, norm=norm).eval()
    with torch.no_grad():
        small = network(torch.rand(2, 3, 16, 16))
    assert small.shape == (2, 1, 16, 16)
    assert torch.isfinite(small).all()


def test_instance_norm_is_pytorchs():
    network, values = UNet(width=4, norm="instance"), torch.randn(2, 4, 5, 6)
    found = [module for module in network.modules() if isinstance(module, torch.nn.InstanceNorm2d)]
    assert len(found) == 18
    norm = found[0]
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    own = torch.nn.InstanceNorm2d(4, affine=True)
    own.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm(values), own(values))
    # One pixel is its own mean; what rounding leaves of the difference is divided by the root of eps.
    shift = norm.bias[:, None, None].expand(2, 4, 1, 1)
    torch.testing.assert_close(norm(values[:, :, :1, :1]), shift, atol=1e-4, rtol=0)
