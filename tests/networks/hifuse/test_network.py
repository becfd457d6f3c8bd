"""HiFuse as a whole: counts, sizes, gradients, export, bad input."""

from __future__ import annotations

import copy
import importlib.util
import pickle
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scalefuse.errors import InputError
from scalefuse.networks.hifuse import SPEC, VARIANTS, HiFuse, HiFuseConfig, base, small, tiny
from scalefuse.networks.hifuse.layers import DropPath


@pytest.fixture
def network():
    torch.manual_seed(0)
    return HiFuse(num_classes=4, embed_dim=32).eval()


def explicit_reference():
    path = Path(__file__).resolve().parents[3] / "benchmarks" / "reference" / "hifuse.py"
    spec = importlib.util.spec_from_file_location("hifuse_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("factory", "parameters", "gmac"),
    [(tiny, 54_673_217, 8.17), (small, 58_250_993, 8.90), (base, 68_984_321, 11.07)],
)
def test_parameters_and_multiply_accumulates(factory, parameters, gmac):
    with torch.device("meta"):
        network = factory(num_classes=7).eval()
        image = torch.zeros(1, 3, 224, 224)
    # A counter does not see inside fused attention, so the products are counted under the plain backend.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(image)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, abs=0.005)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 224), (97, 35), (192, 192), (225, 224), (32, 300)])
def test_any_size_from_32_on(network, size):
    with torch.inference_mode():
        fused = network.forward_features(torch.randn(1, 3, *size))
    for stage, features in enumerate(fused):
        stride = 4 << stage
        assert features.shape == (1, 32 << stage, -(-size[0] // stride), -(-size[1] // stride))
        assert torch.isfinite(features).all()


def test_head_takes_the_last_stage_and_the_embedding_is_what_it_sees(network):
    image = torch.randn(2, 3, 64, 48)
    with torch.inference_mode():
        fused = network.forward_features(image)
        embedding = network.forward_embedding(fused[-1])
        assert embedding.shape == (2, 256)
        assert torch.equal(network.head(embedding), network(image))
        assert torch.equal(network.forward_head(fused[-1]), network(image))


def test_images_of_a_batch_do_not_mix(network):
    images = torch.randn(3, 3, 70, 90)
    with torch.inference_mode():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def test_the_same_image_gives_the_same_logits(network):
    image = torch.randn(2, 3, 75, 64)
    with torch.inference_mode():
        assert torch.equal(network(image), network(image))


@pytest.mark.parametrize("size", [(224, 224), (97, 120), (32, 40)])
@pytest.mark.parametrize("shift_single_window", [False, True])
def test_equals_explicit_softmax_attention(size, shift_single_window):
    torch.manual_seed(1)
    network = HiFuse(num_classes=4, embed_dim=16, shift_single_window=shift_single_window).double().eval()
    for name, parameter in network.named_parameters():
        if "attention" in name and parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)  # attention far from uniform
    reference = explicit_reference().with_explicit_attention(network)
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), reference(image), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [(64, 64), (65, 90)])
def test_every_parameter_but_the_listed_biases_has_a_gradient(size):
    torch.manual_seed(0)
    network = SPEC.build(HiFuseConfig(**SPEC.tiny)).double().train()
    logits = network(torch.randn(2, 3, *size, dtype=torch.float64))
    (logits * torch.randn_like(logits)).sum().backward()
    vanishing = {name for name, parameter in network.named_parameters() if parameter.grad.abs().max() < 1e-11}
    assert vanishing == set(SPEC.biases_before_norm)


def test_every_weight_is_initialised_as_swin_is():
    torch.manual_seed(0)
    network = HiFuse(num_classes=4, embed_dim=32)
    for name, parameter in network.named_parameters():
        if parameter.ndim >= 2:
            assert parameter.abs().max() < 0.14, name  # seven deviations
            if parameter.numel() >= 1000:
                assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name
        elif name.endswith("bias"):
            assert not parameter.any(), name
        else:
            assert (parameter == 1).all(), name


@pytest.mark.parametrize("embed_dim", [16, 48])
def test_fan_in_initialisation_keeps_the_spread_of_what_passes(embed_dim):
    torch.manual_seed(0)
    network = HiFuse(num_classes=4, embed_dim=embed_dim, initialisation="fan_in")
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            inputs = module.weight[0].numel()
            assert module.weight.abs().max() <= 2 / inputs**0.5 * (1 + 1e-6), name
            if module.weight.numel() >= 2000:
                # 0.88: what cutting a normal distribution at two deviations leaves of its spread
                assert module.weight.std().item() * inputs**0.5 == pytest.approx(0.88, rel=0.06), name
            assert module.bias is None or not module.bias.any(), name
    # Of the blocks, which add to their input, the branches then do not merely pass on their first stage.
    shares = {}
    for start in ("fixed", "fan_in"):
        torch.manual_seed(0)
        block = HiFuse(num_classes=4, embed_dim=embed_dim, initialisation=start).local_branch.stages[1][0]
        x = torch.randn(2, 2 * embed_dim, 16, 16)
        shares[start] = ((block(x) - x).std() / x.std()).item()
    assert shares["fan_in"] > 0.3 > 0.15 > shares["fixed"]


def test_an_unknown_initialisation_is_refused():
    with pytest.raises(InputError, match="fixed, fan_in, but got 'xavier'"):
        HiFuse(num_classes=2, embed_dim=16, initialisation="xavier")


def test_drop_path_grows_with_depth_and_spares_the_first_fusion():
    network = HiFuse(num_classes=2, embed_dim=16, depths=(1, 2, 2, 1), drop_path=0.5)
    rates = [module.rate for module in network.local_branch.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert rates == [
        module.rate for module in network.global_branch.modules() if isinstance(module, DropPath)
    ]
    assert [block.drop_path.rate for block in network.fusion_blocks] == pytest.approx([0, 0.2, 0.4, 0.5])


def test_drop_path_drops_whole_samples_and_keeps_the_expectation():
    torch.manual_seed(0)
    dropped = DropPath(0.25).train()(torch.ones(4000, 3, 2))
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert torch.equal(dropped.amin(dim=(1, 2)), dropped.amax(dim=(1, 2)))
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_factories_build_the_variants(name):
    network = {"tiny": tiny, "small": small, "base": base}[name](num_classes=2, embed_dim=16)
    assert tuple(len(stage) for stage in network.local_branch.stages) == VARIANTS[name]
    assert tuple(len(stage.blocks) for stage in network.global_branch.stages) == VARIANTS[name]


@pytest.mark.parametrize(("embed_dim", "heads"), [(16, 1), (32, 1), (64, 2), (96, 3), (128, 4)])
def test_heads_follow_the_width(embed_dim, heads):
    with torch.device("meta"):
        network = HiFuse(num_classes=2, embed_dim=embed_dim)
    found = [stage.blocks[0].attention.num_heads for stage in network.global_branch.stages]
    assert found == [heads, 2 * heads, 4 * heads, 8 * heads]


def test_one_channel_and_other_windows():
    network = HiFuse(in_channels=1, num_classes=1, embed_dim=16, window_size=4, depthwise_inverted_mlp=False)
    assert network.eval()(torch.rand(2, 1, 50, 50)).shape == (2, 1)
    assert network.fusion_blocks[1].inverted_mlp.spatial_conv.weight.shape == (96, 96, 3, 3)


@pytest.mark.parametrize("size", [(64, 64), (70, 45)])
def test_exports_with_any_batch(network, size):
    image = torch.randn(2, 3, *size)
    dynamic = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(network, (image,), dynamic_shapes=dynamic)
    with torch.no_grad():
        five = torch.randn(5, 3, *size)
        torch.testing.assert_close(program.module()(five), network(five), rtol=1e-4, atol=1e-6)
        # What the trace left behind must not disturb the network.
        assert torch.isfinite(network(image)).all()


def test_copies_and_pickles(network):
    image = torch.randn(1, 3, 45, 45)
    with torch.inference_mode():
        logits = network(image)
        assert torch.equal(copy.deepcopy(network)(image), logits)
        assert torch.equal(pickle.loads(pickle.dumps(network))(image), logits)
    assert not [name for name in network.state_dict() if "mask" in name or "index" in name]


def test_works_in_bfloat16(network):
    image = torch.randn(2, 3, 65, 64)
    with torch.inference_mode():
        exact = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(image)
        half = copy.deepcopy(network).bfloat16()(image.bfloat16())
    assert half.dtype == torch.bfloat16
    for rough in (mixed, half):
        assert (rough.float() - exact).abs().max() <= 0.05 * exact.abs().max()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 64, 64), r"\(N, 3, H, W\), but got \(3, 64, 64\)"),
        ((1, 1, 64, 64), r"got \(1, 1, 64, 64\).*set in_channels"),
        ((1, 3, 31, 64), "at least 32×32 pixels, but got 31×64"),
        ((1, 3, 1, 1), "but got 1×1"),
    ],
)
def test_images_of_another_shape_are_refused(network, shape, message):
    with pytest.raises(InputError, match=message):
        network(torch.zeros(shape))


def test_a_single_small_image_cannot_be_trained_on(network):
    network.train()
    with pytest.raises(InputError, match="batch of at least 2"):
        network(torch.zeros(1, 3, 32, 32))
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "`num_classes` of at least 1, but got 0"),
        ({"embed_dim": 0}, "`embed_dim`"),
        ({"window_size": 0}, "`window_size`"),
        ({"depths": (2, 2, 2)}, r"`depths` with 4 numbers.*\(2, 2, 2\)"),
        ({"depths": (2, 0, 2, 2)}, "`depths`"),
        ({"num_heads": (5, 5, 5, 5)}, "32 channels of stage 1 cannot be split over 5 attention heads"),
        ({"drop_path": 1.0}, r"`drop_path` in \[0, 1\), but got 1.0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        HiFuse(**({"num_classes": 2, "embed_dim": 32} | arguments))


def test_config_has_the_constructors_arguments_and_defaults():
    import inspect

    parameters = inspect.signature(HiFuse).parameters
    fields = HiFuseConfig.model_fields
    assert set(fields) == set(parameters) | {"name"}
    for name, parameter in parameters.items():
        if name != "num_classes":  # the constructor has no default here
            assert fields[name].default == parameter.default, name


def test_parts_of_the_spec_cover_every_parameter():
    with torch.device("meta"):
        network = SPEC.build(HiFuseConfig(**SPEC.tiny))
    modules = [network.get_submodule(name) for names in SPEC.parts.values() for name in names]
    counted = sum(parameter.numel() for module in modules for parameter in module.parameters())
    assert counted == sum(parameter.numel() for parameter in network.parameters())


def test_onnx_computes_the_same_for_any_batch(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    network = HiFuse(num_classes=3, embed_dim=16, depths=(1, 2, 1, 1)).eval()
    dynamic = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.onnx.export(
        network, (torch.randn(2, 3, 75, 110),), dynamo=True, dynamic_shapes=dynamic, verbose=False
    )
    program.save(str(tmp_path / "hifuse.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "hifuse.onnx", providers=["CPUExecutionProvider"])
    images = torch.randn(3, 3, 75, 110)
    with torch.inference_mode():
        expected = network(images)
    result = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-6)
