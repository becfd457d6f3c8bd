"""The floors of the house, as stated in ``pyproject.toml``."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "pyproject.toml"
SOURCES = sorted((ROOT / "src" / "scalefuse").rglob("*.py"))
FORBIDDEN = {
    # What reading somebody else's file must never do: run code in it.
    r"\bpickle\.loads?\(": "unpickles",
    r"\byaml\.(load|full_load|unsafe_load)\(": "reads YAML with objects",
    r"\ballow_pickle\s*=\s*True": "unpickles arrays",
    r"(?<![\w.])(eval|exec)\(": "runs text",
    r"\bos\.system\(|shell\s*=\s*True": "runs a shell",
    # What no part of a library does.
    r"^\s*from \S+ import \*": "imports everything",
    r"\bweights_only\s*=\s*False": "loads checkpoints with code",
    r"trust_remote_code|torch\.hub|urllib\.request|requests\.get": "downloads",
    r"import torchvision|from torchvision|import timm|from timm": "needs a package that is not installed",
}


def test_imports_run_downward():
    pytest.importorskip("importlinter", reason="import-linter is a development dependency")
    # In a process of its own: import-linter configures logging anew, at which the handler of a library that
    # other tests have loaded (absl's, by way of OpenVINO) closes the stream that pytest captures.
    lint = (
        f"from importlinter.cli import lint_imports as l; raise SystemExit(l({str(CONFIG)!r}, no_cache=True))"
    )
    done = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_nothing_dangerous(path):
    text = path.read_text(encoding="utf-8")
    for pattern, what in FORBIDDEN.items():
        found = re.search(pattern, text, re.MULTILINE)
        assert not found, f"{path.name} {what}: {found and found[0]}"


def test_every_checkpoint_is_read_without_code():
    calls = [
        (path.name, call)
        for path in SOURCES
        for call in re.findall(
            r"\btorch\.load\(([^()]*(?:\([^()]*\)[^()]*)*)\)", path.read_text(encoding="utf-8")
        )
    ]
    assert calls
    assert [name for name, call in calls if not re.search(r"weights_only\s*=\s*True", call)] == []


def test_only_the_command_line_prints_or_exits():
    rooms = [path for path in SOURCES if path.parts[len(ROOT.parts) + 2] not in ("cli", "web")]
    pattern = re.compile(r"^(?!\s*(>>>|\.\.\.)).*(?<![\w.\"'`])(print\(|input\(|sys\.exit\()", re.MULTILINE)
    found = [(path.name, pattern.search(path.read_text(encoding="utf-8"))) for path in rooms]
    assert [(name, match[0]) for name, match in found if match] == []


def test_no_grab_bags_and_no_giants():
    for path in SOURCES:
        assert path.stem not in ("utils", "helpers", "common", "misc")
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
