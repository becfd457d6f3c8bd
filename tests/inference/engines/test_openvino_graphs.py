"""Which sizes get a graph of their own, and that every graph computes the same."""

import numpy as np
import pytest
import torch
from torch import nn

from scalefuse.inference.engines import openvino_graphs
from scalefuse.inference.engines.protocol import Part

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")


class Counted(openvino_graphs.GraphsBySize):
    """Remembers for each compilation whether it holds for one size only."""

    compiled: list[str]

    def _compiled(self, model):
        self.compiled.append("any size" if model.is_dynamic() else "one size")
        return super()._compiled(model)


@pytest.fixture
def graphs():
    from openvino import Model, opset13

    x = opset13.parameter([-1, 1, -1, -1], np.float32)
    counted = Counted(Model([opset13.multiply(x, np.float32(3))], [x]), {})
    counted.compiled = []
    return counted


def run(graphs, height, width=8):
    image = np.random.default_rng(height).random((1, 1, height, width), np.float32)
    np.testing.assert_allclose(graphs([image], height * width)[0], 3 * image, rtol=1e-6)


def test_the_first_sizes_have_graphs_of_their_own_and_the_others_share_one(graphs):
    for _ in range(3):
        for height in range(1, 8):
            run(graphs, height)
    assert graphs.compiled == ["one size"] * openvino_graphs.MAX_GRAPHS + ["any size"]


def test_a_size_that_comes_often_takes_the_place_of_the_one_unused_longest(graphs):
    for height in range(1, 5):
        run(graphs, height)
    for _ in range(openvino_graphs.MANY_USES + 1):
        run(graphs, 9)
    assert graphs.compiled == ["one size"] * 4 + ["any size", "one size"]
    for height in (2, 3, 4, 9):
        run(graphs, height)
    assert len(graphs.compiled) == 6
    # Size 1 has gone, and begins anew with the graph for all.
    for _ in range(openvino_graphs.MANY_USES + 1):
        run(graphs, 1)
    assert graphs.compiled[6:] == ["one size"]


def test_large_pictures_have_one_graph_of_their_own_only(graphs):
    run(graphs, 1024, 1024)
    run(graphs, 512, 1024)
    assert graphs.compiled == ["one size", "any size"]


def test_a_model_of_one_size_is_compiled_once():
    from openvino import Model, opset13

    x = opset13.parameter([1, 1, 4, 8], np.float32)
    graphs = Counted(Model([opset13.multiply(x, np.float32(3))], [x]), {})
    graphs.compiled = []
    run(graphs, 4)
    run(graphs, 4)
    assert graphs.compiled == ["one size"]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("multiple", [1, None])
def test_channels_and_sizes_of_a_part_stay_as_they_are(channels_last, multiple):
    from scalefuse.inference.engines.openvino_engine import OpenVINOBackend

    class TwoInputs(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3, padding=1)

        def forward(self, image, rows):
            features = self.conv(image)
            return features * rows[:, :, None, None], features.mean((2, 3))

    torch.manual_seed(0)
    module, examples = TwoInputs().eval(), (torch.rand(2, 3, 12, 8), torch.rand(2, 5))
    run = OpenVINOBackend().compile(Part(module, examples, multiple=multiple, channels_last=channels_last))
    sizes = [(12, 8)] if multiple is None else [(12, 8), (7, 9), (8, 12), (5, 5), (6, 6), (9, 7)]
    for height, width in sizes:
        image, rows = torch.rand(2, 3, height, width), torch.rand(2, 5)
        with torch.inference_mode():
            expected = module(image, rows)
        for ours, theirs in zip(run(image, rows), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
