"""The paper's fusion strategies: functions that join the features of two images.

Every strategy takes two tensors ``(N, C, H, W)`` of one shape and returns the fused features of that shape,
image by image: no image of a batch influences another.

Reference:
    Zhou, Xu, Zhang, arXiv 2212.04661, section 3.3 (softmax nuclear norm) and its ablations; the L1-norm
    strategies keep the definitions of the released program.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scalefuse.errors import InputError
from scalefuse.fusion.nuclear_norm import largest_nuclear_norm


def check_pair(first: Tensor, second: Tensor) -> None:
    """Refuse two tensors that cannot be joined element by element.

    Raises:
        InputError: If the shapes differ or are not ``(N, C, H, W)``.

    Example:
        >>> check_pair(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4))
    """
    if first.ndim != 4 or first.shape != second.shape:
        raise InputError(
            f"Expected two tensors of one shape (N, C, H, W) but got {tuple(first.shape)} and "
            f"{tuple(second.shape)}; fuse images of the same size."
        )


def softmax_nuclear_norm(f1: Tensor, f2: Tensor) -> Tensor:
    """One weight per image from the largest nuclear norm of its channels: the paper's own strategy.

    A softmax over the channels, the nuclear norm (sum of singular values) of each channel's H×W matrix,
    ``n`` the largest of them; ``fused = (n1² f1 + n2² f2) / (n1² + n2²)``. The weights are constants to
    autograd. A softmax is never all zero, so neither is the denominator.

    Args:
        f1: Features of the first image, ``(N, C, H, W)``.
        f2: Features of the second image, ``(N, C, H, W)``.

    Returns:
        Fused features, ``(N, C, H, W)``.

    Raises:
        InputError: If the shapes differ or a value is NaN or infinite.

    Reference:
        arXiv 2212.04661, section 3.3, equations of the softmax weights ("SFNN" in the released program).

    Example:
        >>> f = torch.rand(1, 8, 16, 16)
        >>> torch.allclose(softmax_nuclear_norm(f, f), f)
        True
    """
    check_pair(f1, f2)
    energies = [
        largest_nuclear_norm(torch.softmax(f.detach(), dim=1, dtype=torch.float32)).square() for f in (f1, f2)
    ]
    return _weighted(f1, f2, *energies)


def average(f1: Tensor, f2: Tensor) -> Tensor:
    """Element-wise mean, ``(N, C, H, W)``.

    Raises:
        InputError: If the shapes differ.

    Example:
        >>> average(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)).item()
        0.5
    """
    check_pair(f1, f2)
    return (f1 + f2) / 2


def addition(f1: Tensor, f2: Tensor) -> Tensor:
    """Element-wise sum, ``(N, C, H, W)``; the decoded picture is about twice as bright as it should be.

    Raises:
        InputError: If the shapes differ.

    Example:
        >>> addition(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1)).item()
        2.0
    """
    check_pair(f1, f2)
    return f1 + f2


def maximum(f1: Tensor, f2: Tensor) -> Tensor:
    """Element-wise maximum, ``(N, C, H, W)``.

    Raises:
        InputError: If the shapes differ.

    Example:
        >>> maximum(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)).item()
        1.0
    """
    check_pair(f1, f2)
    return torch.maximum(f1, f2)


def feature_energy_ratio(f1: Tensor, f2: Tensor) -> Tensor:
    """Element-wise weights ``f1² / (f1² + f2²)`` and ``f2² / (f1² + f2²)``, ``(N, C, H, W)``; 0/0 gives 0.

    Raises:
        InputError: If the shapes differ.

    Reference:
        "FER" in the released program.

    Example:
        >>> one = torch.ones(1, 1, 1, 1)
        >>> feature_energy_ratio(one, 3 * one).item(), feature_energy_ratio(0 * one, 0 * one).item()
        (2.799999952316284, 0.0)
    """
    check_pair(f1, f2)
    energy1, energy2 = f1.square(), f2.square()
    total = energy1 + energy2
    # Where both vanish the numerator is 0, so any divisor gives 0, and autograd meets no 0/0.
    return (energy1 * f1 + energy2 * f2) / torch.where(total > 0, total, 1.0)


def l1_norm(f1: Tensor, f2: Tensor) -> Tensor:
    """One weight per image from ``‖f‖ = Σ|f|``: ``(‖f1‖ f1 + ‖f2‖ f2) / (‖f1‖ + ‖f2‖)``, ``(N, C, H, W)``.

    Where both images' features are all zero, both weights are 0.5.

    Raises:
        InputError: If the shapes differ.

    Reference:
        "FL1N" in the released program.

    Example:
        >>> one = torch.ones(1, 1, 1, 1)
        >>> l1_norm(one, 3 * one).item()
        2.5
    """
    check_pair(f1, f2)
    return _weighted(f1, f2, _l1(f1), _l1(f2))


def l1_norm_raw(f1: Tensor, f2: Tensor) -> Tensor:
    """Unnormalised ``‖f1‖ f1 + ‖f2‖ f2`` with ``‖f‖ = Σ|f|`` of one image, ``(N, C, H, W)``.

    For reproduction only: values reach 10⁵ and more, and the decoded picture saturates.

    Raises:
        InputError: If the shapes differ.

    Reference:
        "L1NW" in the released program.

    Example:
        >>> one = torch.ones(1, 1, 1, 1)
        >>> l1_norm_raw(one, 3 * one).item()
        10.0
    """
    check_pair(f1, f2)
    norm1, norm2 = (norm.to(f1.dtype).view(-1, 1, 1, 1) for norm in (_l1(f1), _l1(f2)))
    return norm1 * f1 + norm2 * f2


def l1_norm_half(f1: Tensor, f2: Tensor) -> Tensor:
    """Half of :func:`l1_norm_raw`, ``(N, C, H, W)``; for reproduction only, the decoded picture saturates.

    Raises:
        InputError: If the shapes differ.

    Reference:
        "AL1NW" in the released program.

    Example:
        >>> one = torch.ones(1, 1, 1, 1)
        >>> l1_norm_half(one, 3 * one).item()
        5.0
    """
    return l1_norm_raw(f1, f2) / 2


def _l1(features: Tensor) -> Tensor:
    # Half precision cannot hold the sum over an image.
    dtype = torch.promote_types(features.dtype, torch.float32)
    return features.abs().sum(dim=(1, 2, 3), dtype=dtype)


def _weighted(f1: Tensor, f2: Tensor, amount1: Tensor, amount2: Tensor) -> Tensor:
    """Weight each image of a batch by its share, ``amount (N,)``; equal weights where both are zero."""
    total = amount1 + amount2
    share = torch.where(total > 0, amount1 / torch.where(total > 0, total, 1.0), 0.5)
    # lerp from the second image: f2 + share · (f1 - f2).
    return torch.lerp(f2, f1, share.to(f1.dtype).view(-1, 1, 1, 1))
