"""OpenVINO's converter reports its use to its makers; it must not from here."""

import subprocess
import sys

import pytest

CHECK = """
from scalefuse.inference.engines.packages import import_openvino

openvino = import_openvino()
from openvino.tools.ovc import convert_impl, telemetry_utils

for module in (convert_impl, telemetry_utils):
    print(module.tm.__name__)
print(openvino.__name__)
"""


def test_nothing_is_there_to_report_with():
    pytest.importorskip("openvino")
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=True)
    stub = "openvino.tools.ovc.telemetry_stub"
    assert done.stdout.split() == [stub, stub, "openvino"]
