"""Pictures joined band by band, the features saying how much of which: no decoder is involved."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from scalefuse.errors import InputError
from scalefuse.fusion.adaptive import gradient_energy
from scalefuse.fusion.strategies import check_pair

BAND_CELLS = (3, 8)
"""Where the bands part: details below about 3 pixels, structures below about 8, and the base."""

EVIDENCE_CELLS = (2, 4, 8, 16)
"""Sides of the cells, in pixels, over which evidence is averaged."""


BRIGHTNESS_FLOOR = 0.01
"""Added to brightness before ratios are taken: black against almost black decides nothing."""


class JoinWeights(NamedTuple):
    """What each piece of evidence counts for.

    Attributes:
        exponents: ``(bands, cells, 3)``: powers of the ratios of gradient energy, energy and brightness.
        lift: ``(bands,)``: how much of the weaker image is added where the choice is firm.
    """

    exponents: Tensor
    lift: Tensor


GUIDED_WEIGHTS = JoinWeights(
    exponents=torch.tensor(
        [
            [[1.12, 1.70, 1.82], [1.65, 0.80, 1.10], [0.21, 0.28, -0.08], [1.10, 1.04, 0.80]],
            [[0.26, 0.69, 1.21], [0.53, 0.71, 1.41], [2.24, 1.46, 1.21], [0.36, 0.77, 0.68]],
            [[0.19, 0.76, 0.81], [0.68, 0.79, 0.85], [1.03, 2.59, 0.40], [1.21, 0.72, 0.46]],
        ]
    ),
    lift=torch.tensor([0.163, 0.215, 0.113]),
)
"""Of :func:`guided_bands`; made by ``python -m benchmarks.guided_weights``."""


def energies_of(features: Tensor) -> Tensor:
    """Gradient energy and energy of features, each meaned over the channels.

    Args:
        features: ``(N, C, H, W)``.

    Returns:
        ``(N, 2, H, W)``, float32.

    Example:
        >>> energies_of(2 * torch.ones(1, 8, 4, 4))[0, :, 0, 0].tolist()
        [0.0, 4.0]
    """
    energy = features.square().mean(1, keepdim=True, dtype=torch.float32)
    return torch.cat([gradient_energy(features), energy], dim=1)


def join_bands(a: Tensor, b: Tensor, energies_a: Tensor, energies_b: Tensor, weights: JoinWeights) -> Tensor:
    """Join two pictures band by band with the given weights; see :func:`guided_bands`.

    Args:
        a: First pictures, ``(N, 1, H, W)`` in [0, 1].
        b: Second pictures, same shape.
        energies_a: :func:`energies_of` the first pictures' features, ``(N, 2, H, W)``.
        energies_b: The same of the second.
        weights: What each piece of evidence counts for.

    Returns:
        ``(N, 1, H, W)`` in [0, 1].
    """
    share = torch.sigmoid(_evidence(a, b, energies_a, energies_b, weights.exponents))
    fused = torch.zeros_like(a)
    for band in range(len(BAND_CELLS) + 1):
        part_a, part_b = a, b
        if band < len(BAND_CELLS):
            a, b = _smooth(a, BAND_CELLS[band]), _smooth(b, BAND_CELLS[band])
            part_a, part_b = part_a - a, part_b - b
        own = share[:, band : band + 1]
        firm = (2 * own - 1).abs() * weights.lift[band]
        # own · a + (1 − own) · b, and a little of the weaker one where the choice is firm.
        fused = fused + torch.lerp(part_b, part_a, own) + firm * torch.lerp(part_a, part_b, own)
    return fused.clamp(0, 1)


def guided_bands(a: Tensor, b: Tensor, f1: Tensor, f2: Tensor) -> Tensor:
    """Join two pictures in three bands, with weights per pixel and band from their features: the default.

    Each picture is parted into detail (below about 3 pixels), structures (below about 8) and the base. In
    each band a pixel takes the share ``w`` of the first picture and ``1 − w`` of the second, where
    ``w / (1 − w)`` is a product of powers of ratios, first over second: energy of the features' gradients,
    energy of the features, and brightness, each averaged over cells of 2, 4, 8 and 16 pixels. Where one
    picture is clearly preferred, ``|2w − 1|`` of a small part of the other is added, so that, say, the grey
    of soft tissue in a CT stays visible under the MRI. What both pictures have in common comes out as it is:
    no decoder is involved, and nothing of its reconstruction error.

    Args:
        a: First pictures, ``(N, 1, H, W)`` in [0, 1].
        b: Second pictures, same shape.
        f1: Features of the first pictures, ``(N, C, H, W)``.
        f2: Features of the second.

    Returns:
        ``(N, 1, H, W)``, float32 in [0, 1].

    Raises:
        InputError: If the shapes do not fit.

    Reference:
        Not from the paper, whose strategies join features and decode them. That deep features may weigh bands
        of the pictures themselves is in Li, Wu, Kittler, ICPR 2018 (two bands, VGG features, fixed weights
        for the base); shares from energies in pyramid fusion (Burt and Kolczynski 1993). The exponents are
        fitted on the training pairs of AANLIB for VIF, Qabf, SSIM and SCD together:
        ``python -m benchmarks.guided_weights``.

    Example:
        >>> a, b = torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5)
        >>> fused = guided_bands(a, b, torch.zeros(1, 4, 8, 8), torch.ones(1, 4, 8, 8))
        >>> round(fused.mean().item(), 3)
        0.5
    """
    check_pair(a, b)
    check_pair(f1, f2)
    if a.shape[1] != 1 or (len(a), *a.shape[2:]) != (len(f1), *f1.shape[2:]):
        raise InputError(
            f"Expected pictures (N, 1, H, W) and features (N, C, H, W) of one size but got {tuple(a.shape)} "
            f"and {tuple(f1.shape)}; encode these pictures."
        )
    return join_bands(a.float(), b.float(), energies_of(f1), energies_of(f2), _weights_on(f1.device))


@functools.cache
def _weights_on(device: torch.device) -> JoinWeights:
    # Copied once: a copy from host memory cannot be part of a CUDA graph.
    return JoinWeights(*(value.to(device) for value in GUIDED_WEIGHTS))


def _evidence(a: Tensor, b: Tensor, energies_a: Tensor, energies_b: Tensor, exponents: Tensor) -> Tensor:
    """Logits of the first image's share in each band, ``(N, bands, H, W)``."""
    # A floor relative to the image, so that noise in an empty background decides nothing.
    floor = 1e-3 * (energies_a + energies_b).mean(dim=(2, 3), keepdim=True) + 1e-30
    cells = torch.cat(
        [torch.cat([e + floor, x + BRIGHTNESS_FLOOR], dim=1) for e, x in ((energies_a, a), (energies_b, b))]
    )
    logits, side = torch.zeros(()), 1
    for place, size in enumerate(EVIDENCE_CELLS):
        cells, side = _pooled(cells, size // side), size
        one, two = _mean3(cells).log().chunk(2)
        ratio = torch.einsum("ke,nehw->nkhw", exponents[:, place], one - two)
        logits = logits.to(ratio) + _drawn(ratio, size, a.shape[-2:])
    return logits


def _pooled(x: Tensor, cell: int) -> Tensor:
    return F.avg_pool2d(x, cell, ceil_mode=True, count_include_pad=False)


def _mean3(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _drawn(cells: Tensor, cell: int, size: tuple[int, ...]) -> Tensor:
    full = F.interpolate(cells, scale_factor=float(cell), mode="bilinear", align_corners=False)
    return full[..., : size[0], : size[1]]


def _smooth(x: Tensor, cell: int) -> Tensor:
    return _drawn(_mean3(_pooled(x, cell)), cell, x.shape[-2:])
