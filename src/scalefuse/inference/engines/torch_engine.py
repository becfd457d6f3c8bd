"""Parts computed by torch: eager or compiled, on the CPU or on a CUDA device."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
from typing import Any

import torch
from torch import Tensor, nn

from scalefuse.errors import InputError
from scalefuse.inference.engines.protocol import Compiled, Part


class TorchBackend:
    """Computes with torch.

    In bf16, convolutions and matrix products take and give bf16, and torch's autocast keeps in float32 what
    it holds to be delicate. In fp32 nothing is shortened, TF32 on CUDA devices included.

    Args:
        device: ``cpu`` or ``cuda``.
        compiled: whether to use ``torch.compile``.

    Raises:
        InputError: compiling was asked for, but there is no C++ compiler.

    Example:
        >>> backend = TorchBackend()
        >>> run = backend.compile(Part(nn.Conv2d(3, 1, 1), (torch.zeros(1, 3, 8, 8),)))
        >>> run(torch.zeros(2, 3, 5, 7)).shape
        torch.Size([2, 1, 5, 7])
    """

    fixes_classifiers = False
    sums_roughly = False

    def __init__(self, *, device: str = "cpu", compiled: bool = False) -> None:
        if compiled and device == "cpu" and not has_compiler():
            raise InputError(
                "The engine `compiled` needs a C++ compiler, but none was found; install g++ or clang++, or "
                "use another engine."
            )
        self.device, self.compiled = torch.device(device), compiled

    def compile(self, part: Part) -> Compiled:
        """Make a part runnable; with ``compiled`` the work is done when it first runs."""
        layout = torch.channels_last if part.channels_last else torch.contiguous_format
        shorter = part.precision == "bf16"
        module = part.module
        if shorter or part.channels_last or self.device.type != "cpu":
            # The caller's network stays where and as it is.
            module = copy.deepcopy(module).to(self.device)
        if part.channels_last:
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if shorter:
            _shorten(module)
        run: Any = torch.compile(module) if self.compiled else module
        kind = self.device.type

        def call(*inputs: Tensor) -> Any:
            moved = [
                one.to(self.device, torch.float32).contiguous(memory_format=layout)
                if one.ndim == 4
                else one.to(self.device)
                for one in inputs
            ]
            autocast = torch.autocast(kind, torch.bfloat16, enabled=shorter)
            with torch.inference_mode(), autocast, _full_float32(kind, shorter):
                return _floats(run(*moved))

        return call


def has_compiler() -> bool:
    """Whether a C++ compiler is there, which ``torch.compile`` needs on the CPU.

    Example:
        >>> has_compiler() in (True, False)
        True
    """
    names = (os.environ.get("CXX"), "g++", "clang++", "c++")
    return any(name is not None and shutil.which(name) is not None for name in names)


def _shorten(module: nn.Module) -> None:
    """Store the weights that autocast would shorten at every call as bf16."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            layer.to(torch.bfloat16)


def _full_float32(kind: str, shorter: bool) -> contextlib.AbstractContextManager[Any]:
    """On CUDA devices, keep torch from rounding float32 to TF32."""
    if kind != "cuda" or shorter:
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(
        enabled=True,
        benchmark=torch.backends.cudnn.benchmark,
        deterministic=torch.backends.cudnn.deterministic,
        allow_tf32=False,
    )


def _floats(output: Any) -> Any:
    return output.float() if isinstance(output, Tensor) else tuple(one.float() for one in output)
