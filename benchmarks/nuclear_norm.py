"""How much of 128 singular value decompositions the softmax nuclear-norm weights of one pair cost.

Run ``python benchmarks/nuclear_norm.py``. Images are drawn here; where the authors' weights lie in
``../shared/golden`` and data under ``SCALEFUSE_DATA`` or ``../shared/data``, real pairs are measured too.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.reference.dilran import plain_largest_nuclear_norm, plain_softmax_nuclear_norm
from scalefuse.fusion.nuclear_norm import largest_nuclear_norm, search
from scalefuse.fusion.strategies import softmax_nuclear_norm
from scalefuse.networks.dilran import DILRAN

HEADER = (
    "| pair | 128 × SVD, ms | largest norms, ms | share | decompositions "
    "| plain strategy, ms | ours, ms | share |\n|---|---|---|---|---|---|---|---|"
)
_SHARED = Path(__file__).resolve().parents[2] / "shared"


@dataclass(frozen=True)
class Row:
    """One measured pair; times in ms are medians of interleaved runs."""

    pair: str
    svd: float
    norms: float
    num_decomposed: int
    plain_strategy: float
    strategy: float

    def markdown(self) -> str:
        """The row of the table under ``HEADER``."""
        return (
            f"| {self.pair} | {self.svd:.0f} | {self.norms:.1f} | {self.norms / self.svd:.1%} "
            f"| {self.num_decomposed} of 128 | {self.plain_strategy:.0f} | {self.strategy:.1f} "
            f"| {self.strategy / self.plain_strategy:.1%} |"
        )


def draw_pair(size: int = 256) -> tuple[Tensor, Tensor]:
    """Two head-like pictures ``(1, 1, size, size)`` in [0, 1]: a bright shell, and textured tissue inside."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, size),) * 2, indexing="ij")
    radius = (x.square() / 0.49 + y.square() / 0.72).sqrt()
    texture = torch.rand(1, 1, size // 8, size // 8, generator=generator)
    texture = torch.nn.functional.interpolate(texture, size=(size, size), mode="bicubic")[0, 0].clamp(0, 1)
    inside = (radius < 0.9).float()
    shell = ((radius >= 0.9) & (radius < 1.0)).float()
    return (shell + 0.15 * inside)[None, None], (inside * (0.3 + 0.5 * texture) + 0.1 * shell)[None, None]


def measure_pair(pair: str, f1: Tensor, f2: Tensor, repeats: int = 5) -> Row:
    """Time the plain form and ours on the features ``(1, C, H, W)`` of one pair, and check that they agree.

    Raises:
        AssertionError: If the norms differ by more than 1e-5 (the float32 reference's own error) or the
            fused features by more than 1e-5 of the largest.
    """
    first, second = torch.softmax(f1, dim=1), torch.softmax(f2, dim=1)
    runs: dict[str, Callable[[], object]] = {
        "svd": lambda: (plain_largest_nuclear_norm(first), plain_largest_nuclear_norm(second)),
        "norms": lambda: (largest_nuclear_norm(first), largest_nuclear_norm(second)),
        "plain": lambda: plain_softmax_nuclear_norm(f1, f2),
        "ours": lambda: softmax_nuclear_norm(f1, f2),
    }
    for matrices in (first, second):
        exact = plain_largest_nuclear_norm(matrices).double()
        assert torch.allclose(largest_nuclear_norm(matrices), exact, rtol=1e-5, atol=0), "norms differ"
    plain = plain_softmax_nuclear_norm(f1, f2)
    worst = float((softmax_nuclear_norm(f1, f2) - plain).abs().amax())
    assert worst <= 1e-5 * float(plain.abs().amax()), "fused features differ"

    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    median = {name: statistics.median(values) for name, values in times.items()}
    num_decomposed = search(first[0])[1] + search(second[0])[1]
    return Row(pair, median["svd"], median["norms"], num_decomposed, median["plain"], median["ours"])


@torch.inference_mode()
def measure(repeats: int = 5) -> list[Row]:
    """Measure a drawn pair with seeded weights and, where the authors' weights lie beside, real pairs."""
    torch.manual_seed(0)
    network = DILRAN().eval()
    rows = [measure_pair("drawn pair, untrained weights", *map(network.encode, draw_pair()), repeats)]
    released = _SHARED / "golden" / "dilran_last.pt"
    if not released.is_file():
        return rows
    from scalefuse.networks.dilran.upstream import convert_state_dict

    state_dict, _ = convert_state_dict(torch.load(released, map_location="cpu", weights_only=True))
    network.load_state_dict(state_dict)
    rows.append(measure_pair("drawn pair, released weights", *map(network.encode, draw_pair()), repeats))
    data = Path(os.environ.get("SCALEFUSE_DATA", _SHARED / "data")) / "aanlib-ct-mri" / "train"
    for name in ("16010", "2010"):
        files = [data / modality / f"{name}.png" for modality in ("CT", "MRI")]
        if all(file.is_file() for file in files):
            f1, f2 = (network.encode(_read(file)) for file in files)
            rows.append(measure_pair(f"CT/MRI {name}, released weights", f1, f2, repeats))
    return rows


def _read(file: Path) -> Tensor:
    import numpy as np
    from PIL import Image

    return torch.from_numpy(np.asarray(Image.open(file).convert("L"), dtype=np.float32) / 255)[None, None]


if __name__ == "__main__":
    print(HEADER)
    for row in measure():
        print(row.markdown())
