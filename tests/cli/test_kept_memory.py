"""A training starts again with an allocator that keeps its memory."""

import os
import subprocess
import sys

import pytest

from scalefuse.cli.kept_memory import KEPT, environment_with_kept_memory

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="settings of Linux's C library")

SHOWN = "import os; print('tunables', os.environ.get('GLIBC_TUNABLES'), flush=True); "
MAIN = "from scalefuse.cli.main import main; main()"


def run(code, *arguments, **variables):
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "GLIBC_TUNABLES" and not name.startswith("MALLOC_")
    }
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=kept | variables,
        timeout=120,
        check=False,
    )


def test_only_where_nothing_was_chosen():
    train = ["train", "dilran"]
    assert environment_with_kept_memory(train, {"A": "b"}) == {"A": "b", "GLIBC_TUNABLES": KEPT}
    for chosen in ("GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "LD_PRELOAD"):
        assert environment_with_kept_memory(train, {chosen: "1"}) is None
    for other in ([], ["fuse", "train"], ["--version"]):
        assert environment_with_kept_memory(other, {}) is None


def test_the_command_runs_once_with_the_settings():
    done = run(SHOWN + MAIN, "train", "dilran", "--print-config")
    assert done.returncode == 0, done.stderr
    seen = [line for line in done.stdout.splitlines() if line.startswith("tunables")]
    assert seen == ["tunables None", f"tunables {KEPT}"]
    assert done.stdout.count("task: fusion") == 1
    refused = run(MAIN, "train", "no-such-configuration")
    assert refused.returncode == 2
    assert refused.stderr.count("error:") == 1


def test_other_commands_and_other_choices_start_once():
    for arguments, variables in ((("networks",), {}), (("train", "--help"), {"MALLOC_ARENA_MAX": "2"})):
        done = run(SHOWN + MAIN, *arguments, **variables)
        assert done.stdout.count("tunables") == 1
        assert done.returncode == 0, done.stderr


def test_a_caller_in_the_same_process_is_not_replaced(cli):
    before = os.getpid(), dict(os.environ)
    assert "task: fusion" in cli("train", "dilran", "--print-config").out
    assert (os.getpid(), dict(os.environ)) == before


def test_blocks_are_reused():
    """Freed blocks of changing sizes are taken again: the process stays as large as it was."""
    code = (
        "import torch\n"
        "def held(): return int(open('/proc/self/statm').read().split()[1]) * 4 / 1024\n"
        "def step(number):\n"
        "    kept = [torch.ones(2**20 * (3 + (number * 7 + place * 5) % 11)) for place in range(6)]\n"
        "for number in range(30): step(number)\n"
        "before = held()\n"
        "for number in range(300): step(number)\n"
        "print(held() - before)\n"
    )
    done = run(code, GLIBC_TUNABLES=KEPT)
    # A step holds 110 to 250 MiB.
    assert float(done.stdout) < 60, done.stderr
