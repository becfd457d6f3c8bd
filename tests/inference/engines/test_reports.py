"""OpenVINO's converter and ONNX Runtime report their use to their makers; they must not from here."""

import os
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


def test_onnxruntime_collects_nothing(tmp_path):
    pytest.importorskip("onnxruntime")
    check = (
        "import os\n"
        "from scalefuse.inference.engines.packages import import_onnxruntime\n"
        "print(import_onnxruntime().__name__, os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    places = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"} | places
    command = [sys.executable, "-c", check]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["onnxruntime", "1"]
    # With reports on, it keeps a session file and a database there.
    assert list(tmp_path.iterdir()) == []
    environment["ORT_DISABLE_TELEMETRY"] = "0"
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["onnxruntime", "0"]
