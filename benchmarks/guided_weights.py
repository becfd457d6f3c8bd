"""Fit the constants of the default fusion strategy, ``guided_bands``, on the training pairs.

Gradient descent on the strategy's exponents alone (38 numbers; the encoder is the shipped one and stays as it
is): for each modality the means of VIF, Qabf, SSIM and SCD should exceed, by a margin, those of the plain
average, the pixel-wise maximum and the Laplacian pyramid; what is above that counts little. Minutes on one
core::

    SCALEFUSE_DATA=… python -m benchmarks.guided_weights

Prints the constants as they stand in ``scalefuse/fusion/guided.py``, and the four measures on the validation
pairs. ``--without PET`` leaves a modality out of the fit; ``--evidence pictures`` takes the energies from the
pictures instead of DILRAN's features, to see what the features are good for.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import scalefuse
from benchmarks.figures import data_folder
from scalefuse.data.colour import to_luma_chroma
from scalefuse.data.pairs import pair_by_name
from scalefuse.data.read import read_image
from scalefuse.fusion.baselines import BASELINES
from scalefuse.fusion.guided import (
    BAND_CELLS,
    EVIDENCE_CELLS,
    JoinWeights,
    energies_of,
    join_bands,
)
from scalefuse.losses.fusion import (
    correlations_of_differences,
    edge_transfer,
    structural_similarity,
    visual_information,
)
from scalefuse.metrics import FUSION_METRICS

MEASURES = ("VIF", "Qabf", "SSIM", "SCD")
MARGINS = (0.03, 0.012, 0.006, 0.09)
"""How far above the best baseline each measure should be."""
SCALES = (0.04, 0.005, 0.006, 0.03)
"""What one step of each measure is worth: the same pull."""
ENOUGH_SCD = 1.4
"""SCD has a target of its own: it is highest for the plain sum, where the others are low."""
FOLDERS = {"CT": "aanlib-ct-mri", "SPECT": "aanlib-spect-mri", "PET": "aanlib-pet-mri"}


class Case(NamedTuple):
    """One pair: pictures, energies of the features, and the best that the baselines reach."""

    a: Tensor
    b: Tensor
    energies_a: Tensor
    energies_b: Tensor
    baseline: Tensor


def measured(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The four measures with gradients, ``(N, 4)``."""
    return torch.stack(
        [
            visual_information(fused, a) + visual_information(fused, b),
            edge_transfer(fused, a, b),
            structural_similarity(fused, a) + structural_similarity(fused, b),
            correlations_of_differences(fused, a, b),
        ],
        dim=1,
    )


def read(modality: str, split: str, folder: Path, evidence: str, every: int) -> list[Case]:
    """Every so-manieth pair of a modality."""
    network = scalefuse.load("dilran").engine
    root = folder / FOLDERS[modality] / split
    if not root.is_dir():
        return []
    pairs, _ = pair_by_name(root / modality, root / "MRI")
    cases = []
    for pair in pairs[::every]:
        pictures = []
        for path in (pair.a, pair.b):
            unit = read_image(path).pixels.astype(np.float32) / 255
            luma = to_luma_chroma(unit)[0] if unit.ndim == 3 else unit
            pictures.append(torch.from_numpy(np.ascontiguousarray(luma))[None, None])
        with torch.no_grad():
            sources = pictures if evidence == "pictures" else [network.encode(x) for x in pictures]
            energies = [energies_of(source) for source in sources]
            best = torch.stack([measured(join(*pictures), *pictures) for join in BASELINES.values()]).amax(0)
        cases.append(Case(*pictures, *energies, best))
    return cases


def fit(train: dict[str, list[Case]], epochs: int, seed: int) -> JoinWeights:
    """The constants after so many passes over the training pairs."""
    bands = len(BAND_CELLS) + 1
    exponents = torch.zeros(bands, len(EVIDENCE_CELLS), 3)
    exponents[0, 1, 0] = exponents[1, 2, 0] = exponents[-1, 2, 1] = 2.0
    lift = torch.full((bands,), -2.5)
    parameters = [exponents.requires_grad_(), lift.requires_grad_()]
    optimizer = torch.optim.Adam(parameters, lr=0.12)
    margins, scales, order = torch.tensor(MARGINS), torch.tensor(SCALES), random.Random(seed)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = 0.12 * (1 - epoch / epochs) + 0.002
        batches = []
        for cases in train.values():
            shuffled = order.sample(cases, len(cases))
            batches += [shuffled[start : start + 6] for start in range(0, len(cases), 6)]
        order.shuffle(batches)
        for batch in batches:
            a, b, energies_a, energies_b, baseline = (torch.cat(parts) for parts in zip(*batch, strict=True))
            weights = JoinWeights(exponents, F.softplus(lift))
            reached = measured(join_bands(a, b, energies_a, energies_b, weights), a, b).mean(0)
            target = baseline.mean(0)
            target[3] = ENOUGH_SCD
            missing = (target + margins - reached) / scales
            loss = (F.softplus(2 * missing) / 2).sum() + 0.05 * missing.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"  epoch {epoch + 1}/{epochs}: {loss.item():.2f}", file=sys.stderr, flush=True)
    return JoinWeights(
        (exponents.detach() * 100).round() / 100, (F.softplus(lift.detach()) * 1000).round() / 1000
    )


def on_validation(cases: list[Case], weights: JoinWeights) -> list[float]:
    """Means of the measures as ``scalefuse evaluate`` computes them, on pictures of 8 bits."""
    rows = []
    for case in cases:
        fused = join_bands(*case[:4], weights)
        levels = [np.rint(x[0, 0].numpy().astype(np.float64) * 255) for x in (fused, case.a, case.b)]
        rows.append([float(FUSION_METRICS[name](*levels)) for name in MEASURES])
    return [float(value) for value in np.mean(rows, axis=0)]


def main() -> int:
    """Fit, print the constants, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--every", type=int, default=5, help="use every so-manieth training pair")
    parser.add_argument("--without", action="append", default=[], choices=list(FOLDERS))
    parser.add_argument("--evidence", choices=["features", "pictures"], default="features")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = data_folder()
    if folder is None:
        sys.exit("No data folder: set SCALEFUSE_DATA.")
    train = {
        modality: read(modality, "train", folder, arguments.evidence, arguments.every)
        for modality in FOLDERS
        if modality not in arguments.without
    }
    weights = fit(train, arguments.epochs, arguments.seed)
    print("exponents:")
    for band in weights.exponents:
        print("   ", [[round(value, 2) for value in cell] for cell in band.tolist()])
    print("lift:", [round(value, 3) for value in weights.lift.tolist()])
    for modality in FOLDERS:
        cases = read(modality, "val", folder, arguments.evidence, 1) or read(
            modality, "train", folder, arguments.evidence, 2
        )
        values = on_validation(cases, weights)
        print(modality, *(f"{name} {value:.3f}" for name, value in zip(MEASURES, values, strict=True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
