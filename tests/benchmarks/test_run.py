"""The benchmarks run on tiny sizes and write results that can be read. Nothing here asserts a time."""

import doctest
import importlib
import json
import math
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import full, gpu, page, run
from benchmarks.ceilings import Ceiling, ceilings, rates
from benchmarks.compare import compare
from benchmarks.inference import QUICK, gflop
from benchmarks.jobs import Job, run_jobs
from benchmarks.measuring import Clock, describe_machine, interleaved, paired_ratio, peak_memory
from scalefuse.workflows.networks import describe

ROWS = ("path", "precision", "gflop", "seconds", "median", "speed_up", "share", "agreement")


@pytest.fixture(autouse=True)
def no_data(monkeypatch, tmp_path):
    """Drawn pictures, and an environment that is put back after ``hide_gpu``."""
    monkeypatch.setattr("benchmarks.inputs.data_folder", lambda: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def finite(value):
    if isinstance(value, dict):
        return all(finite(one) for one in value.values())
    if isinstance(value, list):
        return all(finite(one) for one in value)
    return not isinstance(value, float) or math.isfinite(value)


def check_files(folder: Path, stem: str, plots: list[str]) -> dict:
    results = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
    assert finite(results)
    text = (folder / f"{stem}.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|"), line
    for plot in plots:
        with Image.open(folder / plot) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 200
        assert f"]({plot})" in text
    on_page = (folder / page.PAGE).read_text(encoding="utf-8")
    for section in re.findall(r"^### (.*)$", text, re.MULTILINE):
        assert f"### {section}" in on_page
    return results


def test_a_quick_run_writes_results_tables_and_a_plot(tmp_path, capsys, monkeypatch):
    names = ["dilran", "msrf_net_half", "hifuse_shipped", "train_dilran"]
    words = ["--quick", "-o", str(tmp_path), *(word for name in names for word in ("--only", name))]
    monkeypatch.setattr(sys, "argv", ["run", *words])
    assert run.main(words) == 0
    results = check_files(tmp_path, "bench", ["bench.png"])
    assert [section["name"] for section in results["comparisons"]] == names[:3]
    for section in [*results["comparisons"], *results["training"]]:
        assert section["rows"][0]["path"] == section["reference"]
        assert all(rate > 0 for kinds in section["ceilings"].values() for rate in kinds.values())
        for row in section["rows"]:
            assert row.keys() >= set(ROWS), row.get("error")
            assert len(row["seconds"]) == section["turns"]
    fused, masks, classes = (
        {row["path"]: row["agreement"] for row in one["rows"]} for one in results["comparisons"]
    )
    # The float32 engine is exact; what the columns say is measured, not assumed.
    for path, agreement in fused.items():
        if path.startswith("torch fp32"):
            assert agreement["max_difference"] < 1e-5, path
            assert agreement["within_1_grey_level"] == 1
    assert masks["torch fp32"]["dice_min"] > 0.99
    assert classes["torch fp32"]["max_difference"] < 1e-5
    assert "--quick" in results["command"]
    assert "make bench" not in results["command"]
    assert results["comparisons"][0]["default_over_cheap"].keys() >= {"torch fp32"}
    assert capsys.readouterr().out.startswith("# On the processor")


def test_an_unknown_measurement_is_named(tmp_path):
    with pytest.raises(SystemExit, match="No measurement speed; there are: dilran"):
        run.main(["--quick", "--only", "speed", "-o", str(tmp_path)])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_whole_commands_are_measured(tmp_path):
    assert run.main(["--quick", "--only", "commands", "-o", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    (row,) = results["commands"]["rows"]
    assert row["words"] == "scalefuse fuse 0001.png 0001.png"
    assert 0.1 < row["peak_memory_gib"] < 4


def test_a_quick_full_run_writes_growth_and_loss_curves(tmp_path):
    words = ["--quick", "-o", str(tmp_path), "--only", "scaling", "--only", "windows", "--only", "curves"]
    assert full.main(words) == 0
    results = check_files(tmp_path, "bench-full", ["bench-full-scaling.png", "bench-full-curves.png"])
    for series in results["scaling"]["sides"].values():
        assert [row["side"] for row in series] == [32, 64]
    assert [row["side"] for row in results["windows"]] == [64, 128]
    assert {curve["name"] for curve in results["curves"]} == {"dilran", "msrf_net", "hifuse"}
    for curve in results["curves"]:
        first = [runs[0][0] for runs in curve["losses"].values()]
        # Same weights, same batch: only the number type differs.
        assert first[-1] == pytest.approx(first[0], rel=0.05)


def test_the_modes_of_a_gpu_compute_alike(tmp_path):
    comparisons = gpu.gpu_comparisons(QUICK, tmp_path, device="cpu")
    assert list(comparisons) == [
        "gpu_dilran",
        "gpu_msrf_net_1",
        "gpu_hifuse_1",
        "gpu_msrf_net_2",
        "gpu_hifuse_2",
    ]
    section = compare(comparisons["gpu_msrf_net_2"](), Clock(5, quiet=True), 2, quick=True)
    rows = {row["path"]: row for row in section["rows"]}
    assert list(rows) == ["plain fp32", "eager fp32", "eager bf16", "package, fp32", "package, bf16"]
    assert rows["eager fp32"]["agreement"]["max_difference"] < 1e-5
    assert rows["package, fp32"]["agreement"]["max_difference"] < 1e-4
    assert rows["eager bf16"]["agreement"]["max_difference"] < 0.1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_quick_run_on_a_gpu(tmp_path, monkeypatch):
    assert gpu.main(["--quick", "-o", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "bench-gpu.json").read_text(encoding="utf-8"))
    assert results["machine"]["gpu"]


def test_paths_take_turns():
    calls: list[str] = []
    times = interleaved(
        {name: lambda name=name: calls.append(name) for name in "abc"}, seconds=0, at_least=3, at_most=9
    )
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3, "c": 3}
    assert "".join(calls) == "abc" * 3


def test_ratios_are_taken_within_turns():
    # The machine was ten times slower in the second turn, for both.
    assert paired_ratio([4.0, 40.0, 4.0], [2.0, 20.0, 1.0]) == {"median": 2.0, "low": 2.0, "high": 4.0}


def test_peak_memory_counts_what_was_freed_again():
    with peak_memory() as peak:
        block = torch.ones(50_000_000)
        del block
    if peak.gib is None:
        pytest.skip("the system does not tell the peak")
    assert peak.gib == pytest.approx(0.2 / 1.024**3, rel=0.25)


def test_the_better_memory_format_is_the_ceiling():
    made = [Ceiling(what, "fp32", 8.0, lambda: None) for what in ("convolution NCHW", "convolution NHWC")]
    found = rates(made, {made[0].name: [2.0, 4.0, 4.0], made[1].name: [1.0, 1.0, 9.0]})
    assert found == {"fp32": {"convolution": 8.0}}
    assert {one.precision for one in ceilings(quick=True)} <= {"fp32", "bf16"}


def test_operations_are_the_catalogue_s():
    whole = describe("dilran")[-1].macs
    assert gflop("dilran", (256, 256)) == pytest.approx(2e-9 * whole)
    assert gflop("dilran", (512, 128)) == pytest.approx(2e-9 * whole)
    assert gflop("dilran", (128, 128), ("encoder",)) < gflop("dilran", (128, 128))


def test_a_part_is_not_added_to_the_result_of_another_machine(tmp_path):
    standing = {"kind": "bench", "machine": {**describe_machine(), "processor": "another"}, "date": "then"}
    (tmp_path / "bench.json").write_text(json.dumps(standing))
    with pytest.raises(SystemExit, match="of another machine or other packages, and would be lost"):
        run.main(["--quick", "--only", "nuclear_norms", "-o", str(tmp_path)])
    assert json.loads((tmp_path / "bench.json").read_text()) == standing
    (tmp_path / "bench.json").write_text(json.dumps({**standing, "machine": describe_machine()}))
    assert page.standing_result(tmp_path, "bench")["date"] == "then"
    assert page.standing_result(tmp_path, "bench-full") is None


def test_what_the_time_did_not_allow_is_named():
    ran = []
    made = [Job(name, "other", 1.0, lambda seconds, name=name: ran.append(name)) for name in "ab"]
    results = run_jobs("bench", made, Clock(0, quiet=True))
    assert ran == ["a"]
    assert results["left_out"] == ["b"]


def test_an_engine_that_fails_costs_one_row(tmp_path, monkeypatch, capsys):
    def refuse(*arguments, **options):
        raise RuntimeError("no such | operation\nsecond line")

    monkeypatch.setattr("benchmarks.inference.predictor", refuse)
    assert run.main(["--quick", "--only", "msrf_net_half", "-o", str(tmp_path)]) == 0
    results = check_files(tmp_path, "bench", ["bench.png"])
    rows = results["comparisons"][0]["rows"]
    assert "median" in rows[0]
    assert rows[1]["error"] == "RuntimeError: no such | operation"
    assert "no such / operation" in (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "RuntimeError" in capsys.readouterr().err


def test_the_page_says_what_is_not_measured_yet(tmp_path):
    (tmp_path / "bench.json").write_text('{"machine": {}, "pair": {}}')
    text = page.write_page(tmp_path, tmp_path / "docs").read_text(encoding="utf-8")
    assert text.count("Not measured yet") == 3
    assert "`make bench-full`" in text


def test_the_machine_is_described_but_not_named():
    import platform

    machine = describe_machine()
    assert machine["packages"]["torch"] == torch.__version__
    assert platform.node() not in json.dumps(machine)


@pytest.mark.parametrize("name", ["agreement", "breakdown", "scaling"])
def test_examples_in_docstrings(name):
    module = importlib.import_module(f"benchmarks.{name}")
    failures, tests = doctest.testmod(module)
    assert tests
    assert not failures
