"""From a torch module to an ONNX graph."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scalefuse.data.read import silenced

if TYPE_CHECKING:
    from scalefuse.export.graphs import Graph

OPSET = 18
"""Version of the operators: what the exporter writes natively, read by ONNX Runtime 1.14 and later."""

# Small tensors (biases, norms) weigh nothing and matter most.
_SMALLEST_HALVED = 256


def to_onnx(graph: Graph, metadata: Mapping[str, str]) -> Any:
    """Trace a graph.

    Free axes carry the names ``batch``, ``height`` and ``width`` in the result.

    Args:
        graph: what to trace.
        metadata: written into the file's properties.

    Returns:
        ``onnx.ModelProto``, float32.

    Example:
        >>> from torch import nn
        >>> from scalefuse.export.graphs import EncoderGraph, Graph
        >>> from scalefuse.networks.dilran import DILRAN
        >>> module = EncoderGraph(DILRAN(features=2, dilations=(1,))).eval()
        >>> graph = Graph("encoder", module, "image", 1, ("features",), ("",), (16, 16), 1)
        >>> model = to_onnx(graph, {"name": "tiny"})
        >>> [output.name for output in model.graph.output], model.opset_import[0].version
        (['features'], 18)
    """
    import torch

    shapes = _dynamic_shapes(graph)
    # The exporter reports on operators of packages that are not installed, and on its own use of torch.
    with torch.no_grad(), warnings.catch_warnings(), silenced("torch.onnx"), silenced("onnxscript"):
        warnings.simplefilter("ignore")
        exported = torch.export.export(
            graph.module, (graph.example(),), dynamic_shapes=(shapes,) if shapes else None, strict=False
        )
        program = torch.onnx.export(
            exported,
            (graph.example(),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[graph.input_name],
            output_names=list(graph.output_names),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    model.producer_name = "ScaleFuse"
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    for tensor in (*model.graph.input, *model.graph.output):
        _name_axes(tensor, graph)
    # Shapes of what lies between hold the tracer's names for the axes; every runtime finds them anew.
    del model.graph.value_info[:]
    return model


def halve_weights(model: Any) -> Any:
    """Store the weights in half precision; casts at the start of the graph bring them back.

    Every runtime computes as before and folds the casts while loading.

    Args:
        model: ``onnx.ModelProto``; changed in place.

    Returns:
        ``model``.

    Example:
        >>> import onnx
        >>> weight = onnx.numpy_helper.from_array(np.ones((256, 2), np.float32), "w")
        >>> x, y = (onnx.helper.make_tensor_value_info(n, 1, [1, s]) for n, s in (("x", 256), ("y", 2)))
        >>> product = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
        >>> model = onnx.helper.make_model(onnx.helper.make_graph([product], "g", [x], [y], [weight]))
        >>> [node.op_type for node in halve_weights(model).graph.node]
        ['Cast', 'MatMul']
    """
    import onnx

    largest = float(np.finfo(np.float16).max)
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(weight)
        if values.size < _SMALLEST_HALVED or np.abs(values).max() > largest:
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(
            onnx.helper.make_node(
                "Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=onnx.TensorProto.FLOAT
            )
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _dynamic_shapes(graph: Graph) -> dict[int, Any]:
    from torch.export import Dim

    shapes: dict[int, Any] = {}
    if graph.batch is None:
        shapes[0] = Dim("batch", min=1)
    if graph.size is None:
        multiple = graph.size_multiple
        least = -(-graph.min_size // multiple)
        for axis, name in ((2, "height"), (3, "width")):
            if multiple > 1:
                shapes[axis] = multiple * Dim(f"{name}_steps", min=least)
            else:
                shapes[axis] = Dim(name, min=least)
    return shapes


def _name_axes(tensor: Any, graph: Graph) -> None:
    dims = tensor.type.tensor_type.shape.dim
    names = {0: "batch"} if graph.batch is None else {}
    if graph.size is None and len(dims) == 4:
        names |= {2: "height", 3: "width"}
    for axis, name in names.items():
        assert not dims[axis].HasField("dim_value"), f"{tensor.name}: axis {axis} was traced as a constant"
        dims[axis].dim_param = name
