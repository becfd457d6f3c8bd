from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from scalefuse.errors import InputError
from scalefuse.fusion import STRATEGIES, UNNORMALISED

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.reference.dilran import plain_softmax_nuclear_norm

PAPERS = (
    "softmax_nuclear_norm", "average", "addition", "maximum",
    "feature_energy_ratio", "l1_norm", "l1_norm_raw", "l1_norm_half",
)  # fmt: skip
WEIGHTED_MEANS = ("softmax_nuclear_norm", "average", "feature_energy_ratio", "l1_norm")


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 6, 17, 20, dtype=torch.float64), 2 * torch.randn(2, 6, 17, 20, dtype=torch.float64)


def test_the_papers_strategies_are_listed() -> None:
    assert set(PAPERS) <= set(STRATEGIES)
    assert set(STRATEGIES) >= UNNORMALISED == {"l1_norm_raw", "l1_norm_half"}


@pytest.mark.parametrize("name", PAPERS)
class TestEveryStrategy:
    def test_is_symmetric(self, name: str, features: tuple[torch.Tensor, torch.Tensor]) -> None:
        f1, f2 = features
        torch.testing.assert_close(STRATEGIES[name](f1, f2), STRATEGIES[name](f2, f1))

    def test_treats_images_of_a_batch_alone(
        self, name: str, features: tuple[torch.Tensor, torch.Tensor]
    ) -> None:
        alone = torch.cat([STRATEGIES[name](a[None], b[None]) for a, b in zip(*features, strict=True)])
        torch.testing.assert_close(STRATEGIES[name](*features), alone)

    def test_leaves_its_inputs_and_their_kind(
        self, name: str, features: tuple[torch.Tensor, torch.Tensor]
    ) -> None:
        copies = [f.clone() for f in features]
        fused = STRATEGIES[name](*features)
        assert fused.shape == features[0].shape
        assert fused.dtype == features[0].dtype
        assert all(torch.equal(f, copy) for f, copy in zip(features, copies, strict=True))

    def test_zero_features_give_zero(self, name: str) -> None:
        zero = torch.zeros(1, 4, 16, 16)
        assert torch.equal(STRATEGIES[name](zero, zero), zero)

    def test_gradient_is_finite_even_at_zero(self, name: str) -> None:
        f1, f2 = (torch.zeros(1, 4, 16, 16, requires_grad=True) for _ in range(2))
        STRATEGIES[name](f1, f2).sum().backward()
        assert f1.grad is not None
        assert f2.grad is not None
        assert (f1.grad + f2.grad).isfinite().all()

    def test_other_shapes_are_refused_with_both_named(self, name: str) -> None:
        with pytest.raises(InputError, match=r"\(1, 4, 16, 16\) and \(1, 4, 16, 18\)"):
            STRATEGIES[name](torch.zeros(1, 4, 16, 16), torch.zeros(1, 4, 16, 18))


@pytest.mark.parametrize("name", WEIGHTED_MEANS)
def test_weighted_means_stay_between_the_two(name: str, features: tuple[torch.Tensor, torch.Tensor]) -> None:
    f1, f2 = features
    fused = STRATEGIES[name](f1, f2)
    assert (fused >= torch.minimum(f1, f2) - 1e-12).all()
    assert (fused <= torch.maximum(f1, f2) + 1e-12).all()
    torch.testing.assert_close(STRATEGIES[name](f1, f1), f1)


def test_known_values() -> None:
    f1, f2 = torch.tensor([1.0, -2.0, 0.0, 3.0]), torch.tensor([3.0, 1.0, 0.0, -3.0])
    expected = {
        "average": [2.0, -0.5, 0.0, 0.0],
        "addition": [4.0, -1.0, 0.0, 0.0],
        "maximum": [3.0, 1.0, 0.0, 3.0],
        "feature_energy_ratio": [2.8, -1.4, 0.0, 0.0],
        "l1_norm": [27 / 13, -5 / 13, 0.0, -3 / 13],  # ‖f1‖ = 6, ‖f2‖ = 7
        "l1_norm_raw": [27.0, -5.0, 0.0, -3.0],
        "l1_norm_half": [13.5, -2.5, 0.0, -1.5],
    }
    for name, values in expected.items():
        fused = STRATEGIES[name](f1.view(1, 1, 2, 2), f2.view(1, 1, 2, 2)).flatten()
        torch.testing.assert_close(fused, torch.tensor(values), msg=name)


def test_softmax_nuclear_norm_agrees_with_its_plain_form(
    features: tuple[torch.Tensor, torch.Tensor],
) -> None:
    fused = STRATEGIES["softmax_nuclear_norm"](*features)
    torch.testing.assert_close(fused, plain_softmax_nuclear_norm(*features), rtol=1e-6, atol=1e-6)


def test_softmax_nuclear_norm_known_weights() -> None:
    # Two channels: softmax of (t, 0) with t = ±log 3 on a 2×2 board is 0.75 / 0.25, rank one or two.
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]) * torch.log(torch.tensor(3.0))
    f1 = torch.stack([board, torch.zeros(2, 2)])[None]
    f2 = torch.zeros(1, 2, 2, 2)
    # f1: [[.75, .25], [.25, .75]] has singular values 1 and 0.5; f2: all 0.5 has 1.
    fused = STRATEGIES["softmax_nuclear_norm"](f1, f2)
    torch.testing.assert_close(fused, f1 * (2.25 / 3.25))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_do_not_overflow(dtype: torch.dtype) -> None:
    f1, f2 = torch.ones(1, 64, 64, 64, dtype=dtype), 3 * torch.ones(1, 64, 64, 64, dtype=dtype)
    assert torch.equal(STRATEGIES["l1_norm"](f1, f2), torch.full_like(f1, 2.5))
    assert torch.equal(STRATEGIES["softmax_nuclear_norm"](f1, f2), torch.full_like(f1, 2.0))


def test_nan_features_are_refused_by_the_decomposition() -> None:
    f = torch.full((1, 4, 16, 16), float("nan"))
    with pytest.raises(InputError, match="NaN"):
        STRATEGIES["softmax_nuclear_norm"](f, f)
