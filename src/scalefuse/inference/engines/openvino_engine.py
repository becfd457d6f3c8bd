"""Parts computed by OpenVINO on the CPU."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scalefuse.inference.engines.openvino_graphs import GraphsBySize
from scalefuse.inference.engines.packages import import_openvino, require_packages
from scalefuse.inference.engines.protocol import Compiled, Part

_HINT = {"fp32": "f32", "bf16": "bf16"}


class OpenVINOBackend:
    """Computes with OpenVINO, with torch's number of threads.

    A part is traced, its constants are folded, and the graph is converted in memory. It is compiled for the
    examples' shapes alone, or for every size that comes, see :class:`GraphsBySize`.

    Raises:
        MissingExtraError: OpenVINO is not installed.

    Example:
        >>> import pytest
        >>> _ = pytest.importorskip("openvino")
        >>> run = OpenVINOBackend().compile(Part(torch.nn.Conv2d(3, 1, 1), (torch.zeros(1, 3, 8, 8),)))
        >>> run(torch.zeros(2, 3, 5, 7)).shape
        torch.Size([2, 1, 5, 7])
    """

    fixes_classifiers = True
    # Its normalisation adds up a whole image in one float32 number.
    sums_roughly = True

    def __init__(self) -> None:
        require_packages("openvino")

    def compile(self, part: Part) -> Compiled:
        """Trace, convert and compile a part."""
        settings = {
            "INFERENCE_PRECISION_HINT": _HINT[part.precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        last = part.channels_last
        graphs = GraphsBySize(_converted(part), settings)

        def call(*inputs: Tensor) -> Any:
            taken = [one.detach().cpu().float() for one in inputs]
            pixels = taken[0].numel() // taken[0].shape[1]
            # Not with torch, whose threads wait busily afterwards and take OpenVINO's time.
            arrays = [np.ascontiguousarray((_innermost(one) if last else one).numpy()) for one in taken]
            found = [torch.from_numpy(one) for one in graphs(arrays, pixels)]
            results = [_outermost(one) for one in found] if last else found
            return results[0] if len(results) == 1 else tuple(results)

        return call


class _ChannelsLast(nn.Module):
    """A module for images with their channels innermost, which is how OpenVINO computes convolutions.

    Without this every graph would begin and end with a pass over memory that only moves numbers about.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Any:
        """Map tensors ``(N, H, W, C)``, and others as they are."""
        output: Any = self.module(*(_outermost(one) for one in inputs))
        return _innermost(output) if isinstance(output, Tensor) else tuple(_innermost(one) for one in output)


def _innermost(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def _outermost(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def _converted(part: Part) -> Any:
    """The part as a graph of OpenVINO."""
    openvino = import_openvino()

    fixed = part.multiple is None
    trace: Any = torch.jit.trace
    # Sizes that become constants, and that torch would rather have another way of tracing used.
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, examples = part.module.eval().requires_grad_(False), part.examples
        if part.channels_last:
            module, examples = _ChannelsLast(module), tuple(_innermost(one) for one in examples)
        if fixed:
            from torch.fx.experimental.proxy_tensor import make_fx

            # Sizes that layers compute become plain numbers: from the computations of HiFuse's windows
            # OpenVINO gets wrong ones.
            module = make_fx(module, pre_dispatch=True)(*examples)
        # Modules dissolved and weights made constants, so that converting takes a third of the time.
        traced = torch.jit.freeze(trace(module.eval(), examples, check_trace=False), optimize_numerics=False)
        shapes = [openvino.PartialShape(list(one.shape)) for one in examples] if fixed else None
        return openvino.convert_model(traced, example_input=examples, input=shapes)
