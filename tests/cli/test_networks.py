"""``scalefuse networks`` and the options that every command shares."""

import pytest

from scalefuse.catalog import NETWORKS
from scalefuse.version import __version__


def test_list(cli):
    done = cli("networks")
    assert done.code == 0
    for name, spec in NETWORKS.items():
        assert name in done.out
        assert spec.task in done.out


@pytest.mark.parametrize("name", NETWORKS)
def test_one(cli, name):
    done = cli("networks", name)
    assert done.code == 0
    for part in (*NETWORKS[name].parts, "total", NETWORKS[name].paper.url):
        assert part in done.out


def test_dilran_names_the_strategies(cli):
    out = cli("networks", "dilran").out
    for name in ("local_energy_ratio", "softmax_nuclear_norm", "baseline:laplacian_pyramid"):
        assert name in out


def test_arguments_change_the_sizes(cli):
    assert "216,001" in cli("networks", "dilran").out
    assert "216,001" not in cli("networks", "dilran", "--set", "features=8").out


@pytest.mark.parametrize(
    "setting",
    ["feature=8", "features=wide", "features=7", "features", "features=[", "name=hifuse", "features=null"],
)
def test_wrong_arguments(refused, setting):
    refused("networks", "dilran", "--set", setting)


def test_unknown_network(refused):
    line = refused("networks", "dilram")
    assert "'dilram'" in line
    assert "dilran" in line


def test_version_and_help(cli):
    assert __version__ in cli("--version").out
    done = cli("--help")
    assert done.code == 0
    for command in ("fuse", "train", "evaluate", "convert", "networks", "demo"):
        assert command in done.out
    assert cli("fusee").code == 2


def test_sizes_of_a_network_for_other_channels():
    from scalefuse.workflows.networks import describe

    grey, colour = describe("hifuse", in_channels=1)[-1], describe("hifuse")[-1]
    # Two stems of 4×4 convolutions to 96 channels read two channels less.
    assert colour.parameters - grey.parameters == 2 * 2 * 96 * 16
    assert colour.macs - grey.macs == 2 * 2 * 96 * 16 * 56 * 56
