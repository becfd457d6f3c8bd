"""Graphs as engines, also those that were fixed to a number of images."""

import numpy as np
import onnx
import pytest

from scalefuse.inference.exported.runtime import open_graph


@pytest.mark.parametrize("num", [1, 2, 3, 5])
def test_a_fixed_batch_is_filled_up(tmp_path, num):
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [2, 1, 3]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    imports = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=imports, ir_version=10), tmp_path / "g.onnx")
    batch = np.random.default_rng(0).random((num, 1, 3), dtype=np.float32)
    np.testing.assert_array_equal(open_graph(tmp_path / "g.onnx", "onnx", batch=2)(batch)["y"], -batch)
