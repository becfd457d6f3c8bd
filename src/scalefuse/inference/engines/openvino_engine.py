"""Parts computed by OpenVINO on the CPU."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from scalefuse.inference.engines.packages import import_openvino, require_packages
from scalefuse.inference.engines.protocol import Compiled, Part
from scalefuse.inference.engines.signal_stack import signal_stack_kept

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HINT = {"fp32": "f32", "bf16": "bf16"}


class OpenVINOBackend:
    """Computes with OpenVINO, with torch's number of threads.

    A part is traced, its constants are folded, and the graph is converted in memory. It is compiled for any
    batch, height and width, or for the examples' shapes alone.

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
        openvino = import_openvino()

        settings = {
            "INFERENCE_PRECISION_HINT": _HINT[part.precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        model = _converted(part)

        def make() -> Any:
            with signal_stack_kept():
                return openvino.Core().compile_model(model, "CPU", settings).create_infer_request()

        requests = InferRequests(make)

        def call(*inputs: Tensor) -> Any:
            arrays = [one.detach().cpu().float().contiguous().numpy() for one in inputs]
            results = [torch.from_numpy(one) for one in requests(arrays)]
            return results[0] if len(results) == 1 else tuple(results)

        return call


class InferRequests:
    """A compiled graph, run one computation at a time; one that failed is never asked again.

    Args:
        make: compiles the graph and gives a request, which holds one computation's buffers.

    Example:
        >>> import pytest
        >>> openvino = pytest.importorskip("openvino")
        >>> x = openvino.opset13.parameter([1, 2], np.float32)
        >>> model = openvino.Model([openvino.opset13.relu(x)], [x])
        >>> make = lambda: openvino.Core().compile_model(model, "CPU").create_infer_request()
        >>> InferRequests(make)([np.array([[-1, 1]], np.float32)])[0].tolist()
        [[0.0, 1.0]]
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._kept, self._lock = [make()], threading.Lock()

    def __call__(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Compute the outputs, in their order.

        Raises:
            MemoryError: there is not enough.
        """
        with self._lock:
            if not self._kept:
                self._kept.append(self._make())
            try:
                # Not `infer`: it gives the buffers of the computation before where one fails.
                self._kept[0].start_async(list(arrays), share_inputs=True)
                self._kept[0].wait()
                # The buffers are used again by the next call.
                return [np.array(one.data) for one in self._kept[0].output_tensors]
            except RuntimeError as error:
                # What failed once gives wrong results later.
                self._kept.clear()
                if "alloc" in str(error):
                    raise MemoryError("OpenVINO: not enough memory") from error
                raise


def _converted(part: Part) -> Any:
    """The part as a graph of OpenVINO."""
    openvino = import_openvino()

    fixed = part.multiple is None
    trace: Any = torch.jit.trace
    # Sizes that become constants, and that torch would rather have another way of tracing used.
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = part.module.eval().requires_grad_(False)
        if fixed:
            from torch.fx.experimental.proxy_tensor import make_fx

            # Sizes that layers compute become plain numbers: from the computations of HiFuse's windows
            # OpenVINO gets wrong ones.
            module = make_fx(module, pre_dispatch=True)(*part.examples)
        # Modules dissolved and weights made constants, so that converting takes a third of the time.
        traced = torch.jit.freeze(
            trace(module.eval(), part.examples, check_trace=False), optimize_numerics=False
        )
        shapes = [openvino.PartialShape(list(one.shape)) for one in part.examples] if fixed else None
        return openvino.convert_model(traced, example_input=part.examples, input=shapes)
