"""One suite for every network of the catalogue; a new network is picked up by its two lines there."""

import typing

import pytest
import torch
from torch import nn

from scalefuse.bundle import BundleInfo, load_bundle, save_bundle
from scalefuse.catalog import NETWORKS, NetworkConfig
from scalefuse.errors import BundleError, InputError
from scalefuse.networks.spec import NetworkSpec
from scalefuse.workflows.networks import describe

# Gradients below this part of the largest are rounding; live ones lie far above it.
ROUNDING = 1e-9


@pytest.fixture(params=NETWORKS)
def spec(request) -> NetworkSpec:
    return NETWORKS[request.param]


def tiny_config(spec):
    return spec.config.model_validate({"name": spec.name, **spec.tiny})


def tiny(spec, seed=0) -> nn.Module:
    torch.manual_seed(seed)
    return spec.build(tiny_config(spec))


def images(spec, size, number=1, dtype=torch.float32):
    channels = getattr(tiny_config(spec), "in_channels", spec.example_shape[0])
    return torch.rand(number, channels, *size, generator=torch.manual_seed(7), dtype=dtype)


def tensors(output) -> list[torch.Tensor]:
    return [output] if isinstance(output, torch.Tensor) else list(output)


def loss_of(output) -> torch.Tensor:
    """A loss with another weight for every number, so that nothing cancels."""
    generator = torch.manual_seed(11)
    return torch.stack(
        [
            (part * torch.rand(part.shape, generator=generator, dtype=part.dtype)).sum()
            for part in tensors(output)
        ]
    ).sum()


def test_the_name_is_the_key_everywhere():
    for name, spec in NETWORKS.items():
        assert spec.name == name
        assert typing.get_args(spec.config.model_fields["name"].annotation) == (name,)
        assert spec.config().name == name


def test_dict_and_union_hold_the_same():
    union = typing.get_args(NetworkConfig)[0]
    assert set(typing.get_args(union)) == {spec.config for spec in NETWORKS.values()}


def test_the_entry_says_what_people_need(spec):
    assert spec.task in ("fusion", "segmentation", "classification")
    assert spec.summary
    assert spec.paper.url.startswith("https://")
    assert spec.min_size >= spec.size_multiple >= 1


def test_the_default_config_builds(spec):
    with torch.device("meta"):
        network = spec.build(spec.config())
    assert sum(p.numel() for p in network.parameters()) > 100_000


def test_tiny_is_smaller(spec):
    with torch.device("meta"):
        whole = spec.build(spec.config())
    assert sum(p.numel() for p in tiny(spec).parameters()) < sum(p.numel() for p in whole.parameters()) / 4


def test_parts_cover_every_parameter_once(spec):
    network = tiny(spec)
    counted = [
        id(p)
        for modules in spec.parts.values()
        for m in modules
        for p in network.get_submodule(m).parameters()
    ]
    assert sorted(counted) == sorted(id(p) for p in network.parameters())


def test_the_head_is_what_depends_on_the_number_of_classes(spec):
    if "num_classes" not in spec.config.model_fields:
        assert spec.head == ()
        return
    two, five = (
        {
            name: tensor.shape
            for name, tensor in spec.build(spec.config(**{**spec.tiny, "num_classes": classes}))
            .state_dict()
            .items()
        }
        for classes in (2, 5)
    )
    assert two.keys() == five.keys()
    assert {n for n in two if two[n] != five[n]} == {n for n in two if n.startswith(spec.head)} != set()


def test_described_parts_sum_to_the_total(spec):
    *parts, total = describe(spec.name, **spec.tiny)
    assert total.name == "total"
    assert [part.name for part in parts] == list(spec.parts)
    assert sum(part.parameters for part in parts) == total.parameters
    assert total.parameters == sum(p.numel() for p in tiny(spec).parameters())
    assert sum(part.macs for part in parts) <= total.macs
    assert sum(part.macs for part in parts) > 0.95 * total.macs


def test_every_parameter_learns_but_the_listed_ones(spec):
    multiple = spec.size_multiple
    size = (64, 64 + multiple) if multiple > 1 else (65, 72)
    assert size[0] % multiple == size[1] % multiple == 0
    largest: dict[str, float] = {}
    # A narrow gate may start with all its ReLUs shut: a parameter is live if one of a few starts moves it.
    for seed in range(4):
        network = tiny(spec, seed).double().train()
        loss_of(network(images(spec, size, 2, torch.float64))).backward()
        gradients = {
            name: 0.0 if p.grad is None else p.grad.abs().max().item()
            for name, p in network.named_parameters()
        }
        assert all(torch.tensor(value).isfinite() for value in gradients.values())
        top = max(gradients.values())
        for name, value in gradients.items():
            largest[name] = max(largest.get(name, 0.0), value / top)
        dead = {name for name, value in largest.items() if value < ROUNDING}
        if dead <= set(spec.biases_before_norm):
            break
    assert set(spec.biases_before_norm) <= largest.keys()
    assert dead == set(spec.biases_before_norm)


def claimed_sizes(spec):
    if spec.size_multiple == 1:
        least = spec.min_size
        return [(least, least), (least + 1, least), (least, 47), (49, 33), (64, 61), (75, 50)]
    step, least = spec.size_multiple, spec.min_size
    return [(least, least), (least, least + step), (5 * step, 7 * step), (64, 64 + step)]


def test_every_size_that_is_claimed(spec):
    network = tiny(spec).eval()
    for size in claimed_sizes(spec):
        with torch.no_grad():
            for part in tensors(network(images(spec, size))):
                assert part.isfinite().all(), size
                assert part.shape[0] == 1
                if spec.task != "classification":
                    assert part.shape[-2:] == size


def test_sizes_that_are_not_claimed_say_what_to_do(spec):
    network = tiny(spec).eval()
    step = spec.size_multiple
    if step == 1:
        with pytest.raises(InputError, match=f"{spec.min_size}×{spec.min_size}.*got {spec.min_size - 1}×40"):
            network(images(spec, (spec.min_size - 1, 40)))
        return
    size = (4 * step + 1, 5 * step - 1)
    with pytest.raises(InputError) as caught:
        network(images(spec, size))
    for said in (f"multiples of {step}", f"{size[0]}×{size[1]}", f"{5 * step}×{5 * step}"):
        assert said in str(caught.value)


def test_batch_1_in_training_and_evaluation(spec):
    network = tiny(spec)
    for training in (True, False):
        output = tensors(network.train(training)(images(spec, (64, 64))))
        assert all(part.isfinite().all() for part in output)


def test_images_of_a_batch_do_not_mix_in_evaluation(spec):
    network = tiny(spec).eval()
    batch = images(spec, (64, 64), 3)
    with torch.no_grad():
        for together, alone in zip(tensors(network(batch)), tensors(network(batch[1:2])), strict=True):
            torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


def test_the_same_seed_and_image_give_the_same(spec):
    image = images(spec, (64, 64))
    first, second = tiny(spec, 3), tiny(spec, 3)
    for (name, one), two in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    with torch.no_grad():
        outputs = [tensors(network.eval()(image)) for network in (first, second, second)]
    for one, two, three in zip(*outputs, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(two, three)


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_round_trip_through_a_bundle(spec, tmp_path, name):
    network = tiny(spec).eval()
    info = BundleInfo(name="tiny", task=spec.task, network=tiny_config(spec))
    save_bundle(tmp_path / name, info, network.state_dict(), "# card\n")
    bundle = load_bundle(tmp_path / name)
    assert bundle.card == "# card\n"
    assert bundle.info.network == tiny_config(spec)
    assert bundle.info.versions["torch"] == torch.__version__
    image = images(spec, (64, 64))
    with torch.no_grad():
        for ours, theirs in zip(tensors(network(image)), tensors(bundle.build_network()(image)), strict=True):
            assert torch.equal(ours, theirs)


def test_half_precision_bundle_comes_back_in_single(spec, tmp_path):
    network = tiny(spec)
    info = BundleInfo(name="tiny", task=spec.task, network=tiny_config(spec))
    save_bundle(tmp_path / "half", info, network.state_dict(), "", half=True)
    rebuilt = load_bundle(tmp_path / "half").build_network()
    for (name, ours), theirs in zip(network.state_dict().items(), rebuilt.state_dict().values(), strict=True):
        assert theirs.dtype == ours.dtype, name
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-6)


def test_half_precision_keeps_what_it_cannot_hold(spec, tmp_path):
    # The variances of a trained norm may exceed 65504: rounded, they would be infinite.
    state = {
        name: 1e5 * tensor for name, tensor in tiny(spec).state_dict().items() if tensor.is_floating_point()
    }
    info = BundleInfo(name="tiny", task=spec.task, network=tiny_config(spec))
    save_bundle(tmp_path / "half", info, tiny(spec).state_dict() | state, "", half=True)
    rebuilt = load_bundle(tmp_path / "half").build_network().state_dict()
    for name, tensor in state.items():
        torch.testing.assert_close(rebuilt[name], tensor, rtol=1e-3, atol=1e-2)


def test_a_missing_tensor_is_named(spec, tmp_path):
    state = tiny(spec).state_dict()
    lost = list(state)[3]
    del state[lost]
    info = BundleInfo(name="tiny", task=spec.task, network=tiny_config(spec))
    save_bundle(tmp_path / "bundle", info, state, "")
    with pytest.raises(BundleError, match=lost):
        load_bundle(tmp_path / "bundle").build_network()


def test_exports_to_one_graph(spec):
    network = tiny(spec).eval()
    image = images(spec, (64, 64))
    with torch.no_grad():
        exported = torch.export.export(network, (image,), strict=False).module()
        for ours, theirs in zip(tensors(network(image)), tensors(exported(image)), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_unknown_arguments_are_refused(spec):
    with pytest.raises(ValueError, match="Extra inputs"):
        spec.config.model_validate({"name": spec.name, "no_such_argument": 1})
