"""Graphs that OpenVINO has compiled: one for each size that comes often, one for all others."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scalefuse.inference.engines.packages import import_openvino
from scalefuse.inference.engines.signal_stack import signal_stack_kept

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_GRAPHS = 4
"""Sizes that have a graph of their own."""

MAX_PIXELS = 1024 * 1024
"""Pixels, over all images of a batch and all graphs, up to which a further size gets a graph of its own."""

MANY_USES = 16
"""Uses after which a size takes the place of the one that was unused longest."""

_MAX_COUNTED = 1024


class GraphsBySize:
    """A model compiled for the sizes that come, each of which runs a quarter to a third faster than any size.

    Compiling for a size takes about half a second, so that only the first few sizes and those that come often
    get a graph of their own; the others share one that holds for every size. The two round differently in
    bf16.

    Args:
        model: of OpenVINO.
        settings: of the compilation.

    Example:
        >>> import pytest
        >>> openvino = pytest.importorskip("openvino")
        >>> x = openvino.opset13.parameter([-1, 2], np.float32)
        >>> graphs = GraphsBySize(openvino.Model([openvino.opset13.relu(x)], [x]), {})
        >>> [graphs([np.full((n, 2), -1, np.float32)], pixels=n)[0].shape for n in (1, 3)]
        [(1, 2), (3, 2)]
    """

    def __init__(self, model: Any, settings: Mapping[str, Any]) -> None:
        self._model, self._settings = model, dict(settings)
        self._graphs: OrderedDict[tuple[tuple[int, ...], ...], tuple[int, InferRequests]] = OrderedDict()
        self._uses: Counter[tuple[tuple[int, ...], ...]] = Counter()
        self._any_size: InferRequests | None = None
        self._lock = threading.Lock()

    def __call__(self, arrays: Sequence[NDArray[Any]], pixels: int) -> list[NDArray[Any]]:
        """Compute the outputs, in their order.

        Args:
            arrays: the inputs.
            pixels: of all images of the batch.

        Raises:
            MemoryError: there is not enough.
        """
        with self._lock:
            graph = self._graph(tuple(one.shape for one in arrays), pixels)
        return graph(arrays)

    def _graph(self, shapes: tuple[tuple[int, ...], ...], pixels: int) -> InferRequests:
        if not self._model.is_dynamic():
            return self._shared()
        if shapes in self._graphs:
            self._graphs.move_to_end(shapes)
            return self._graphs[shapes][1]
        if not self._has_room(pixels):
            if len(self._uses) > _MAX_COUNTED:
                self._uses.clear()
            self._uses[shapes] += 1
            if self._uses[shapes] <= MANY_USES:
                return self._shared()
            while not self._has_room(pixels):
                self._graphs.popitem(last=False)
        self._uses.pop(shapes, None)
        model = self._model.clone()
        model.reshape({port: list(shape) for port, shape in zip(model.inputs, shapes, strict=True)})
        self._graphs[shapes] = pixels, self._compiled(model)
        return self._graphs[shapes][1]

    def _has_room(self, pixels: int) -> bool:
        known = sum(one for one, _ in self._graphs.values())
        return not self._graphs or (len(self._graphs) < MAX_GRAPHS and known + pixels <= MAX_PIXELS)

    def _shared(self) -> InferRequests:
        self._any_size = self._any_size or self._compiled(self._model)
        return self._any_size

    def _compiled(self, model: Any) -> InferRequests:
        def make() -> Any:
            with signal_stack_kept():
                return (
                    import_openvino()
                    .Core()
                    .compile_model(model, "CPU", self._settings)
                    .create_infer_request()
                )

        return InferRequests(make)


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
