"""Signals find the stack that they had before a model was compiled."""

import subprocess
import sys

import pytest

HANDLED = """
import gc, os, signal, torch
from scalefuse.inference.engines.openvino_engine import OpenVINOBackend
from scalefuse.inference.engines.protocol import Part

seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append("handled"))
run = OpenVINOBackend().compile(Part(torch.nn.Conv2d(3, 4, 3), (torch.zeros(1, 3, 8, 8),)))
run(torch.zeros(1, 3, 8, 8))
stack = {stack}
del run
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
print(*seen, stack)
"""

ADDRESS = """
import ctypes
found = (ctypes.c_char * 24)()
assert ctypes.CDLL(None).sigaltstack(None, found) == 0
found = int.from_bytes(found[:8], sys.byteorder)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the stack is Linux's")
def test_a_signal_is_handled_after_a_model_is_gone():
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    program = f"import sys\ndef address():{ADDRESS.replace(chr(10), chr(10) + '    ')}\n    return found\n"
    program += HANDLED.format(stack="address()")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    # The interpreter has no stack for signals but what a library leaves behind.
    assert (done.returncode, done.stdout.split()) == (0, ["handled", "0"]), done.stderr
