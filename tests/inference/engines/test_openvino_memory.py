"""A computation that OpenVINO has no memory for is an error, and leaves nothing for the next one."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from scalefuse.inference.engines.openvino_engine import OpenVINOBackend
from scalefuse.inference.engines.protocol import Part

torch.manual_seed(0)
torch.set_num_threads(1)
layers = torch.nn.Sequential(torch.nn.Conv2d(1, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(32, 2, 1))
run = OpenVINOBackend().compile(Part(layers, (torch.zeros(2, 1, 16, 24),)))
first, second, large = torch.rand(1, 1, 40, 40), torch.rand(1, 1, 40, 40), torch.zeros(1, 1, 6000, 6000)
run(first)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, hard))
try:
    print("computed", run(large).shape)
except MemoryError as error:
    print("refused:", error)
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
with torch.inference_mode():
    print("right" if torch.allclose(run(second), layers(second), atol=1e-4) else "wrong")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_picture_too_large_is_refused_and_the_next_one_is_right():
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["refused: OpenVINO: not enough memory", "right"], done.stderr
