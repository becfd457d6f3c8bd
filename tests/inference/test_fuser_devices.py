"""Features of an engine may lie on another device than the pictures."""

import pytest
import torch

from scalefuse.fusion import GUIDED
from scalefuse.inference.fuser import Fuser


class Elsewhere:
    """An engine as on an accelerator: features stay there, decoded pictures come back."""

    def encode(self, image):
        return torch.empty(image.shape[0], 4, *image.shape[2:], device="meta")

    def decode(self, features):
        assert features.device.type == "meta"
        return torch.zeros(features.shape[0], 1, *features.shape[2:])


@pytest.mark.parametrize("name", ["guided_bands", "average"])
def test_pictures_come_back_from_where_they_were(name, monkeypatch):
    def strategy(a, b, f1, f2):
        assert {one.device.type for one in (a, b, f1, f2)} == {"meta"}
        # Nothing can be copied from this device; a real one would be.
        return torch.zeros(a.shape)

    monkeypatch.setitem(GUIDED, "guided_bands", strategy)
    fused = Fuser(Elsewhere(), strategy=name).fuse_tensors(torch.rand(1, 1, 20, 24), torch.rand(1, 1, 20, 24))
    assert (fused.device.type, fused.shape) == ("cpu", (1, 1, 20, 24))


def test_features_meet_where_an_engine_went_on():
    """The first picture was encoded on one device, the second, after a failure, on another."""

    class Moved(Elsewhere):
        def __init__(self):
            self.devices = ["cpu", "meta"]

        def encode(self, image):
            return torch.empty(image.shape[0], 4, *image.shape[2:], device=self.devices.pop(0))

    pictures = torch.rand(1, 1, 20, 24), torch.rand(1, 1, 20, 24)
    assert Fuser(Moved(), strategy="average").fuse_tensors(*pictures).shape == (1, 1, 20, 24)
