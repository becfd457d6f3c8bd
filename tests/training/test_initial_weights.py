"""Starting a training from weights that exist."""

import re

import pytest
import torch
import yaml
from torch import nn

from scalefuse.bundle import BundleInfo, save_bundle
from scalefuse.errors import BundleError
from scalefuse.networks.dilran.spec import DILRANConfig, build
from scalefuse.networks.hifuse.spec import SPEC as HIFUSE
from scalefuse.networks.hifuse.spec import HiFuseConfig
from scalefuse.training.initial_weights import load_initial


def test_bundle_and_checkpoint_give_their_weights(tmp_path):
    torch.manual_seed(0)
    source, config = build(DILRANConfig(features=4)), DILRANConfig(features=4)
    info = BundleInfo(name="tiny", task="fusion", network=config)
    bundle = save_bundle(tmp_path / "tiny", info, source.state_dict(), "# tiny")
    checkpoint = tmp_path / "run.ckpt"
    torch.save({"state_dict": {f"network.{k}": v for k, v in source.state_dict().items()}}, checkpoint)
    for place in (bundle, checkpoint):
        network = build(config)
        assert not torch.equal(network.decoder[0].weight, source.decoder[0].weight)
        load_initial(network, str(place))
        for name, tensor in source.state_dict().items():
            assert torch.equal(network.state_dict()[name], tensor), name


def test_weights_of_another_network_are_refused(tmp_path):
    config = DILRANConfig(features=4)
    info = BundleInfo(name="tiny", task="fusion", network=config)
    bundle = save_bundle(tmp_path / "tiny", info, build(config).state_dict(), "# tiny")
    with pytest.raises(BundleError, match="another network"):
        load_initial(build(DILRANConfig(features=8)), str(bundle))


def test_nothing_named_changes_nothing():
    network: nn.Module = build(DILRANConfig(features=4))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    load_initial(network, None)
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.items())


def test_infinite_variances_start_anew(tmp_path):
    def layers() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3))

    source, network = layers(), layers()
    source[1].running_mean[:] = torch.tensor([5.0, 6.0, 7.0])
    source[1].running_var[:] = torch.tensor([2.0, torch.inf, 3.0])
    checkpoint = tmp_path / "run.ckpt"
    torch.save({"state_dict": {f"network.{k}": v for k, v in source.state_dict().items()}}, checkpoint)
    load_initial(network, str(checkpoint))
    assert network[1].running_mean.tolist() == [5.0, 0.0, 7.0]
    assert network[1].running_var.tolist() == [2.0, 1.0, 3.0]
    assert torch.equal(network[0].weight, source[0].weight)


@pytest.mark.parametrize(
    ("name", "value"),
    [("1.running_var", torch.nan), ("1.running_mean", torch.inf), ("0.weight", torch.inf)],
)
def test_weights_that_are_no_numbers_are_refused(tmp_path, name, value):
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3))
    state = network.state_dict()
    state[name].view(-1)[0] = value
    checkpoint = tmp_path / "run.ckpt"
    torch.save({"state_dict": {f"network.{k}": v for k, v in state.items()}}, checkpoint)
    with pytest.raises(BundleError, match=f"{name} hold NaN or infinite"):
        load_initial(network, str(checkpoint))


def hifuse_bundle(folder, num_classes: int):
    config = HiFuseConfig(num_classes=num_classes, embed_dim=32, depths=(1, 1, 1, 1))
    labels = tuple("abcdefg"[:num_classes])
    network = HIFUSE.build(config)
    info = BundleInfo(name="source", task="classification", network=config, labels=labels)
    return network.state_dict(), save_bundle(folder / "source", info, network.state_dict(), "# source")


def test_a_new_head_keeps_what_was_drawn_for_it(tmp_path):
    source, bundle = hifuse_bundle(tmp_path, 3)
    network = HIFUSE.build(HiFuseConfig(num_classes=5, embed_dim=32, depths=(1, 1, 1, 1)))
    drawn = {name: network.state_dict()[name].clone() for name in ("head.weight", "head.bias")}
    load_initial(network, str(bundle), head=HIFUSE.head, new_head=True)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, drawn.get(name, source[name])), name


def test_a_new_head_of_as_many_classes_is_new_too(tmp_path):
    source, bundle = hifuse_bundle(tmp_path, 3)
    network = HIFUSE.build(HiFuseConfig(num_classes=3, embed_dim=32, depths=(1, 1, 1, 1)))
    drawn = network.head.weight.detach().clone()
    load_initial(network, str(bundle), head=HIFUSE.head, new_head=True)
    assert torch.equal(network.head.weight, drawn)
    assert not torch.equal(network.head.weight, source["head.weight"])


def test_other_classes_without_a_new_head_say_what_to_do(tmp_path):
    _, bundle = hifuse_bundle(tmp_path, 3)
    network = HIFUSE.build(HiFuseConfig(num_classes=5, embed_dim=32, depths=(1, 1, 1, 1)))
    with pytest.raises(BundleError, match=r"head.bias is \(3,\) there and \(5,\) here\); set new_head=true"):
        load_initial(network, str(bundle), head=HIFUSE.head)
    wider = HIFUSE.build(HiFuseConfig(num_classes=5, embed_dim=64, depths=(1, 1, 1, 1)))
    with pytest.raises(BundleError, match=r"there and .* here\); give its network section") as error:
        load_initial(wider, str(bundle), head=HIFUSE.head, new_head=True)
    assert "new_head" not in str(error.value)


def test_the_network_that_is_named_is_the_one_that_fits(tmp_path):
    source, bundle = hifuse_bundle(tmp_path, 3)
    for new_head in (True, False):
        with pytest.raises(BundleError) as error:
            load_initial(HIFUSE.build(HiFuseConfig()), str(bundle), head=HIFUSE.head, new_head=new_head)
        named = re.search(r"--set 'network=(\{.*\})'", str(error.value))[1]
        config = HiFuseConfig.model_validate(yaml.safe_load(named))
        assert config.num_classes == (2 if new_head else 3)
        network = HIFUSE.build(config)
        load_initial(network, str(bundle), head=HIFUSE.head, new_head=new_head)
        for name, tensor in network.state_dict().items():
            assert name.startswith("head.") or torch.equal(tensor, source[name]), name
