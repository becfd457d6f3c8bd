"""What the machine can do at best: a large matrix product and a wide convolution, timed beside networks."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
CHANNELS = 64


@dataclass(frozen=True)
class Ceiling:
    """One operation of known size.

    Attributes:
        what: ``matrix product`` or ``convolution``, and the memory format.
        precision: ``fp32``, ``tf32`` (on a GPU) or ``bf16``.
        gflop: Operations of one run, in thousands of millions; a multiply-accumulate counts two.
        run: Runs it once.
    """

    what: str
    precision: str
    gflop: float
    run: Callable[[], Any]

    @property
    def name(self) -> str:
        return f"ceiling: {self.what}, {self.precision}"


def bf16_is_native(device: str = "cpu") -> bool:
    """Whether the processor or the GPU computes in bf16, rather than imitating it."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def ceilings(*, quick: bool = False, device: str = "cpu") -> list[Ceiling]:
    """A square matrix product, and a 3×3 convolution from 64 to 64 channels in both memory formats.

    Each has run once, so that every further run counts.
    """
    side, size = (128, 32) if quick else (2048, 256) if device == "cpu" else (8192, 1024)
    found = []
    for precision, dtype in DTYPES.items():
        if precision == "bf16" and not bf16_is_native(device):
            continue
        if precision == "tf32" and device == "cpu":
            continue
        a, b = torch.randn(2, side, side, device=device).to(dtype)
        found.append(Ceiling("matrix product", precision, 2e-9 * side**3, _in(precision, torch.mm, a, b)))
        image = torch.randn(1, CHANNELS, size, size, device=device).to(dtype)
        weight = (torch.randn(CHANNELS, CHANNELS, 3, 3, device=device) / 24).to(dtype)
        gflop = 2e-9 * 9 * CHANNELS**2 * size**2
        for layout, memory_format in (("NCHW", torch.contiguous_format), ("NHWC", torch.channels_last)):
            x, w = (tensor.contiguous(memory_format=memory_format) for tensor in (image, weight))
            run = _in(precision, F.conv2d, x, w, padding=1)
            found.append(Ceiling(f"convolution {layout}", precision, gflop, run))
    for one in found:
        one.run()
    return found


def _in(precision: str, operation: Callable[..., Any], *tensors: Any, **options: Any) -> Callable[[], Any]:
    """The operation as a function without arguments, with TF32 allowed or not."""

    def run() -> Any:
        allow_tf32(precision == "tf32")
        return operation(*tensors, **options)

    return run


def allow_tf32(allowed: bool) -> None:
    """Whether a GPU may round float32 to TF32 in products; nothing to a processor."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def rates(measured: list[Ceiling], seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """GFLOP/s by precision and operation, of the better memory format, from median times."""
    found: dict[str, dict[str, float]] = {}
    for one in measured:
        kind = one.what.removesuffix(" NCHW").removesuffix(" NHWC")
        rate = one.gflop / statistics.median(seconds[one.name])
        of_precision = found.setdefault(one.precision, {})
        of_precision[kind] = max(rate, of_precision.get(kind, 0.0))
    return found
