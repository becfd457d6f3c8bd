"""The largest nuclear norm among an image's channels, without decomposing every channel.

Only the largest of an image's nuclear norms weighs in the softmax nuclear-norm strategy. A cheap upper bound
of every channel's norm orders the channels; the most promising is decomposed, and every channel whose bound
does not exceed the best exact norm so far is skipped. Trained features have one dominant channel, so one
decomposition per image is the rule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scalefuse.errors import InputError

# A channel that could exceed the best by no more than this share is skipped: half of the promised 1e-6.
_TOLERANCE = 5e-7
# Safety margins over the rounding of sums of float32 values and of their energies.
_FLOAT32_MARGIN = 1e-4
_ENERGY_MARGIN = 1e-5
# Sharper bounds pay from this number of undecided channels on: each costs a third of a decomposition.
_MIN_TO_SHARPEN = 3
_SUBSPACE_RANK = 8


def largest_nuclear_norm(features: Tensor) -> Tensor:
    """Largest sum of singular values among the channels' H×W matrices, one number per image.

    Nothing flows back through it: to autograd the result is a constant.

    Args:
        features: Features, ``(N, C, H, W)``.

    Returns:
        Nuclear norms in float64, ``(N,)``, exact to 1e-6 relative; 0 for all-zero features.

    Raises:
        InputError: If the shape is another one or a value is NaN or infinite.

    Reference:
        arXiv 2212.04661, section 3.3, where all channels are decomposed. The bounds are ours; the values
        are the same.

    Example:
        >>> largest_nuclear_norm(torch.diag(torch.tensor([1.0, 2.0, 3.0])).expand(1, 4, 3, 3))
        tensor([6.], dtype=torch.float64)
    """
    if features.ndim != 4 or 0 in features.shape[1:]:
        raise InputError(f"Expected features of shape (N, C, H, W) but got {tuple(features.shape)}.")
    norms = [search(matrices)[0] for matrices in features]
    return torch.tensor(norms, dtype=torch.float64, device=features.device)


@torch.no_grad()
def search(matrices: Tensor) -> tuple[float, int]:
    """Find the largest nuclear norm among the matrices of one image.

    Args:
        matrices: One matrix per channel, ``(C, H, W)``.

    Returns:
        The norm and the number of matrices that had to be decomposed.

    Raises:
        InputError: If a value is NaN or infinite.

    Example:
        >>> weak, strong = torch.full((5, 20, 30), 0.1), torch.eye(20, 30)[None]
        >>> search(torch.cat([weak, strong]))
        (20.0, 1)
    """
    if matrices.dtype in (torch.float16, torch.bfloat16):
        matrices = matrices.float()
    # aminmax takes a twentieth of the time of an infinity norm or of isfinite, and hands on NaN.
    peak = float(torch.stack(torch.aminmax(matrices)).abs().amax())
    if not peak < float("inf"):  # also true for NaN
        raise InputError("Expected finite features but got NaN or infinity; check the images for NaN.")
    if peak == 0.0:
        return 0.0, 0
    if not 1e-6 < peak < 1e6:  # squares would leave the range of float32
        norm, num_decomposed = search(matrices.double() / peak)
        return norm * peak, num_decomposed

    bounds = _energy_bounds(matrices)
    first = int(bounds.argmax())
    best, num_decomposed = _nuclear_norm(matrices[first]), 1
    bounds[first] = 0.0
    undecided = torch.nonzero(bounds > best * (1 + _TOLERANCE)).flatten()
    if len(undecided) >= _MIN_TO_SHARPEN:
        bounds[undecided] = torch.minimum(bounds[undecided], _subspace_bounds(matrices[undecided]))
    for channel in undecided[bounds[undecided].argsort(descending=True)].tolist():
        if float(bounds[channel]) <= best * (1 + _TOLERANCE):
            break
        best = max(best, _nuclear_norm(matrices[channel]))
        num_decomposed += 1
    return best, num_decomposed


def _nuclear_norm(matrix: Tensor) -> float:
    # Not from the eigenvalues of the Gram matrix: the square root of a rounded zero is 1e-8 of the largest
    # singular value, and hundreds of those exceed 1e-6 for a matrix of low rank.
    return float(torch.linalg.svdvals(matrix.double()).sum())


def _energy_bounds(matrices: Tensor) -> Tensor:
    """Upper bounds of the nuclear norms from each channel's energy and mean alone, ``(C,)`` in float64.

    ``‖A‖_* ≤ √r ‖A‖_F`` for rank r; splitting off the mean μ, a matrix of rank one, ``‖A‖_* ≤ |μ| √(HW) +
    √r ‖A - μ‖_F``. The second wins where a grey veil carries most of the energy.
    """
    height, width = matrices.shape[-2:]
    rank, num_pixels = min(height, width), height * width
    frobenius = torch.linalg.vector_norm(matrices, dim=(1, 2)).double()
    energy = frobenius.square()
    veil = matrices.mean(dim=(1, 2)).double().abs() * num_pixels**0.5
    rest = ((energy - veil.square()).clamp_min(0.0) + _ENERGY_MARGIN * energy).sqrt()
    bounds = torch.minimum(rank**0.5 * frobenius, veil + rank**0.5 * rest)
    return bounds * (1 + _FLOAT32_MARGIN)


def _subspace_bounds(matrices: Tensor) -> Tensor:
    """Sharper upper bounds, ``(C,)``: ``A = A Q Qᵀ + R`` for orthonormal Q, so ``‖A‖_* ≤ ‖A Q‖_* + ‖R‖_*``.

    Q spans nearly the leading right singular vectors (one step of subspace iteration). ``‖R‖_*`` is bounded
    by the lengths of its columns, of its rows and by √r ‖R‖_F. Valid for any Q; float64 keeps margins tiny.
    """
    if matrices.shape[-1] > matrices.shape[-2]:
        matrices = matrices.mT
    matrices = matrices.double()
    size = matrices.shape[-1]
    # A fixed start keeps the result reproducible and the global random state untouched.
    start = torch.randn(
        size, min(_SUBSPACE_RANK, size), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).to(matrices.device)
    basis = torch.linalg.qr(matrices.mT @ (matrices @ start)).Q
    projected = matrices @ basis
    rest = matrices - projected @ basis.mT
    lengths = [torch.linalg.vector_norm(rest, dim=axis).sum(1) for axis in (1, 2)]
    lengths.append(torch.linalg.vector_norm(rest, dim=(1, 2)) * size**0.5)
    bounds: Tensor = torch.linalg.svdvals(projected).sum(1) + torch.stack(lengths).amin(0)
    return bounds * (1 + 1e-9)
