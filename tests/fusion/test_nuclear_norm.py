from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from scalefuse.errors import InputError
from scalefuse.fusion.nuclear_norm import _energy_bounds, _subspace_bounds, largest_nuclear_norm, search


def exact(features: Tensor) -> Tensor:
    """Nuclear norm of every channel by NumPy in float64, ``(N, C)``."""
    values = np.linalg.svd(features.double().numpy(), compute_uv=False)
    return torch.from_numpy(values.sum(-1))


def smooth(num_channels: int, height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    waves = [torch.sin(c * x + 0.3 * c * c * y * x) + 0.2 * c * y for c in range(num_channels)]
    return torch.stack(waves)[None]


def low_rank(num_channels: int, height: int, width: int, rank: int) -> Tensor:
    return torch.randn(2, num_channels, height, rank) @ torch.randn(2, num_channels, rank, width)


def made(kind: str) -> Tensor:
    torch.manual_seed(0)
    return {
        "random": lambda: torch.randn(2, 12, 40, 40),
        "softmax": lambda: torch.softmax(3 * torch.randn(2, 12, 40, 56), 1),
        "one channel dominates": lambda: torch.rand(2, 12, 48, 32) * torch.arange(12).view(1, 12, 1, 1) ** 3,
        "smooth": lambda: smooth(12, 50, 70),
        "smooth, softmax": lambda: torch.softmax(4 * smooth(12, 70, 50), 1),
        "rank 1": lambda: low_rank(12, 200, 180, 1),
        "rank 3": lambda: low_rank(12, 60, 64, 3),
        "constant": lambda: torch.full((2, 12, 128, 130), 1 / 12),
        "grey veil": lambda: 5 + 0.1 * torch.randn(2, 12, 33, 47),
        "identical channels": lambda: torch.rand(1, 1, 30, 40).expand(2, 12, 30, 40),
        "tall": lambda: torch.randn(1, 5, 300, 7),
        "wide": lambda: torch.randn(1, 5, 7, 300),
        "one row": lambda: torch.randn(2, 5, 1, 30),
        "one pixel": lambda: torch.randn(2, 5, 1, 1),
        "one channel": lambda: torch.randn(3, 1, 20, 20),
        "sparse": lambda: (torch.rand(2, 12, 64, 64) > 0.99).float(),
        "diagonal": lambda: torch.diag_embed(torch.rand(2, 12, 40)),
    }[kind]()


KINDS = (
    "random", "softmax", "one channel dominates", "smooth", "smooth, softmax", "rank 1", "rank 3", "constant",
    "grey veil",
    "identical channels", "tall", "wide", "one row", "one pixel", "one channel", "sparse", "diagonal",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_all_singular_values_in_float64(kind: str) -> None:
    features = made(kind)
    expected = exact(features).amax(1)
    torch.testing.assert_close(largest_nuclear_norm(features), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_are_never_below_the_norm(kind: str) -> None:
    for matrices in made(kind):
        norms = exact(matrices)
        assert (_energy_bounds(matrices) >= norms).all()
        assert (_subspace_bounds(matrices) >= norms * (1 - 1e-12)).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e-7, 1e7, 1e18, 1e30])
def test_scales_with_the_features(scale: float) -> None:
    features = torch.rand(1, 6, 20, 24)
    scaled = features * scale
    torch.testing.assert_close(largest_nuclear_norm(scaled), exact(scaled).amax(1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    features = torch.rand(2, 6, 20, 24, dtype=torch.float64).to(dtype)
    norms = largest_nuclear_norm(features)
    assert norms.dtype == torch.float64
    torch.testing.assert_close(norms, exact(features).amax(1), rtol=1e-6, atol=0)


def test_is_exact_under_autocast() -> None:
    features = made("softmax")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        norms = largest_nuclear_norm(features)
    torch.testing.assert_close(norms, exact(features).amax(1), rtol=1e-6, atol=0)


def test_zero_features_have_norm_zero_and_cost_nothing() -> None:
    assert search(torch.zeros(4, 20, 20)) == (0.0, 0)


@pytest.mark.parametrize(
    ("kind", "most"),
    [("constant", 1), ("identical channels", 12), ("one channel dominates", 1), ("rank 1", 2)],
)
def test_channels_that_cannot_win_are_skipped(kind: str, most: int) -> None:
    for matrices in made(kind):
        assert search(matrices)[1] <= most


def test_veiled_channels_need_one_decomposition() -> None:
    torch.manual_seed(0)
    # Channels whose energy is all veil: √r ‖A‖_F alone cannot tell them from the strong one.
    weak = 0.5 + 0.001 * torch.randn(30, 64, 64)
    strong = torch.eye(64)[None] * 2
    assert search(torch.cat([weak, strong]))[1] == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    features = torch.rand(2, 3, 16, 16)
    features[1, 2, 3, 4] = bad
    with pytest.raises(InputError, match="NaN or infinity"):
        largest_nuclear_norm(features)


def test_other_shapes_are_refused() -> None:
    for shape in ((3, 16, 16), (1, 0, 16, 16)):
        with pytest.raises(InputError, match="shape"):
            largest_nuclear_norm(torch.zeros(shape))


def test_result_is_reproducible_and_leaves_the_random_state_alone() -> None:
    features = made("random")
    state = torch.random.get_rng_state()
    first = largest_nuclear_norm(features)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(largest_nuclear_norm(features), first)
