"""``scalefuse evaluate`` from end to end."""

import csv
import json
import threading

import numpy as np
import pytest
import tifffile

from scalefuse.data import read_image, write_image
from scalefuse.evaluation.fusion import DEFAULT_METRICS, luma_8bit
from scalefuse.metrics import FUSION_METRICS
from scalefuse.workflows import evaluate_fusion as evaluate_fusion_workflow

METHODS = ["local_energy_ratio", "baseline:average", "baseline:maximum", "baseline:laplacian_pyramid"]


def table(folder):
    with (folder / "cases.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_writes_table_summary_and_sheet(cli, folders, model, tmp_path):
    out = tmp_path / "evaluation"
    done = cli("evaluate", model, *folders, "-o", out)
    assert done.code == 0, done.text
    rows = table(out)
    assert [row["case"] for row in rows[:: len(METHODS)]] == ["0", "1", "2"]
    assert [row["method"] for row in rows[: len(METHODS)]] == METHODS
    assert list(rows[0]) == ["case", "method", *DEFAULT_METRICS]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["num_cases"] == 3
    for metric in DEFAULT_METRICS:
        values = [float(row[metric]) for row in rows if row["method"] == METHODS[0]]
        entry = summary["methods"][METHODS[0]][metric]
        assert entry["mean"] == pytest.approx(np.mean(values), rel=1e-6)
        assert min(values) - 1e-9 <= entry["low"] <= entry["mean"] <= entry["high"] <= max(values) + 1e-9
        assert summary["definitions"][metric]
    assert set(summary[f"{METHODS[0]} minus"]) == set(METHODS[1:])
    sheet = read_image(out / "sheet.png")
    assert sheet.size[0] > 300
    assert sheet.size[1] > 300
    for word in ("VIF", "Qabf", "baseline:maximum", "3 pairs"):
        assert word in done.out


def test_the_values_are_those_of_the_measures_on_the_written_pictures(cli, folders, model, tmp_path):
    chosen = ["VIF", "Qabf", "SSIM", "SCD", "EN"]
    cli("fuse", *folders, "-m", model, "-o", tmp_path / "fused")
    cli(
        "evaluate", model, *folders, "--no-baselines", "--metrics", ",".join(chosen), "-o", tmp_path / "model"
    )
    cli(
        "evaluate",
        *folders,
        "--fused",
        tmp_path / "fused",
        "--no-baselines",
        "--metrics",
        ",".join(chosen),
        "-o",
        tmp_path / "ready",
    )
    made, ready = table(tmp_path / "model"), table(tmp_path / "ready")
    assert len(made) == len(ready) == 3
    for ours, theirs in zip(made, ready, strict=True):
        case = f"{ours['case']}.png"
        pictures = [luma_8bit(read_image(folder / case).pixels) for folder in (tmp_path / "fused", *folders)]
        assert theirs["method"] == "fused"
        for name in chosen:
            expected = FUSION_METRICS[name](*pictures)
            assert float(ours[name]) == pytest.approx(expected, rel=1e-6)
            assert float(theirs[name]) == pytest.approx(expected, rel=1e-6)


def test_the_next_pair_is_made_while_one_is_measured(folders, model, tmp_path, monkeypatch):
    """Measuring the first pair waits for the second to be made: one after the other, this would fail."""
    second, made = threading.Event(), []
    make, measure = evaluate_fusion_workflow._make_case, evaluate_fusion_workflow.evaluate_fusion

    def noted(pair, *arguments):
        made.append(pair.name)
        if len(made) == 2:
            second.set()
        return make(pair, *arguments)

    def waiting(cases):
        for number, case in enumerate(cases):
            if number == 0:
                assert second.wait(30), "the second pair was not made"
            yield case

    monkeypatch.setattr(evaluate_fusion_workflow, "_make_case", noted)
    monkeypatch.setattr(
        evaluate_fusion_workflow,
        "evaluate_fusion",
        lambda cases, metrics, on_case=None: measure(waiting(cases), metrics, on_case=on_case),
    )
    result = evaluate_fusion_workflow.evaluate(
        *folders, tmp_path / "out", model=str(model), metrics=["EN"], engine="torch", precision="fp32"
    )
    assert result.summary["num_cases"] == 3


def test_strategies_and_all_measures(cli, folders, model, tmp_path):
    chosen = ("-s", "average", "-s", "maximum", "--no-baselines", "--metrics", "all")
    done = cli("evaluate", model, folders[0] / "0.png", folders[1] / "0.png", *chosen, "-o", tmp_path / "out")
    assert done.code == 0, done.text
    rows = table(tmp_path / "out")
    assert [row["method"] for row in rows] == ["average", "maximum"]
    assert list(rows[0])[2:] == list(FUSION_METRICS)


def test_constant_pictures(cli, model, tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png", np.full((64, 64), 0.5), bits=8)
    done = cli("evaluate", model, tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out")
    assert done.code == 0, done.text
    json.loads((tmp_path / "out/summary.json").read_text(), parse_constant=pytest.fail)


def test_small_pictures_have_the_measures_that_they_can_have(cli, model, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png", rng.random((18, 20)), bits=8)
    done = cli("evaluate", model, tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out")
    assert done.code == 0, done.text
    summary = json.loads((tmp_path / "out/summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["methods"]["baseline:average"]["EN"]["mean"] > 0


# Failures


def test_bad_pairs_are_listed(cli, folders, model, tmp_path):
    (folders[0] / "1.png").write_bytes(b"")
    (folders[1] / "2.png").unlink()
    done = cli("evaluate", model, *folders, "-o", tmp_path / "out", "--no-baselines", "--metrics", "EN,CC")
    assert done.code == 3
    assert "1.png" in done.err
    assert "2.png" in done.err
    assert [row["case"] for row in table(tmp_path / "out")] == ["0"]
    # Of the two pairs one failed; a file without a partner is no pair, but is named too.
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["num_cases"], summary["num_failed"], len(summary["failures"])) == (1, 1, 2)
    assert "Means over 1 of 2 pairs" in done.out


@pytest.mark.parametrize("baselines", ["--baselines", "--no-baselines"])
def test_a_missing_fused_picture_is_listed_once(cli, folders, model, tmp_path, baselines):
    cli("fuse", *folders, "-m", model, "-o", tmp_path / "fused")
    (tmp_path / "fused/1.png").unlink()
    done = cli("evaluate", *folders, "--fused", tmp_path / "fused", "-o", tmp_path / "out", baselines)
    assert done.code == 3
    assert done.err.count("no fused picture named '1'") == 1
    assert "1 of 3 failed" in done.err
    assert {row["case"] for row in table(tmp_path / "out")} == {"0", "2"}


def test_no_fused_picture_at_all(refused, folders, tmp_path):
    (tmp_path / "fused").mkdir()
    write_image(tmp_path / "fused" / "other.png", np.zeros((64, 64)), bits=8)
    assert "no fused picture" in refused(
        "evaluate", *folders, "--fused", tmp_path / "fused", "-o", tmp_path / "o"
    )


def test_fused_picture_of_another_size(cli, folders, model, tmp_path):
    cli("fuse", *folders, "-m", model, "-o", tmp_path / "fused")
    write_image(tmp_path / "fused/0.png", np.zeros((30, 64)), bits=8)
    done = cli("evaluate", *folders, "--fused", tmp_path / "fused", "-o", tmp_path / "out", "--no-baselines")
    assert done.code == 3
    assert "30×64" in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--metrics", "VIFF"), "VIFF"),
        (("--metrics", ""), "Unknown measure"),
        (("-s", "nothing"), "nothing"),
        (("--range-a", "bright"), "bright"),
        (("--fused", ".", "-s", "average"), "either"),
        (("--fused", "/no/such/folder"), "/no/such/folder"),
    ],
)
def test_wrong_options(refused, folders, model, tmp_path, options, said):
    assert said in refused("evaluate", model, *folders, *options, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_inputs(refused, folders, model, tmp_path):
    assert "expected two pictures or folders" in refused("evaluate", folders[0])
    refused("evaluate", tmp_path / "no-bundle", *folders, "-o", tmp_path / "out")
    (tmp_path / "file").write_text("")
    assert "is a file" in refused("evaluate", model, *folders, "-o", tmp_path / "file")
    for file in folders[0].iterdir():
        file.write_bytes(b"")
    assert "No pair could be measured" in refused("evaluate", model, *folders, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Memory


def test_a_pair_that_does_not_fit_into_memory_is_one_line(cli, folders, model, tmp_path, monkeypatch):
    from scalefuse.workflows import evaluate_fusion

    made = evaluate_fusion._make_case

    def hungry(pair, *rest):
        if pair.name == "1":
            raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")
        return made(pair, *rest)

    monkeypatch.setattr(evaluate_fusion, "_make_case", hungry)
    chosen = ("--no-baselines", "--metrics", "EN", "-o", tmp_path / "out")
    done = cli("evaluate", model, *folders, *chosen)
    assert done.code == 3
    assert "1: not enough memory for images of this size" in done.err
    assert [row["case"] for row in table(tmp_path / "out")] == ["0", "2"]


def test_measuring_without_memory_is_one_line(refused, folders, model, tmp_path, monkeypatch):
    from scalefuse.workflows import evaluate_fusion

    def hungry(cases, *rest, **options):
        next(cases)
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr(evaluate_fusion, "evaluate_fusion", hungry)
    assert "0: not enough memory" in refused("evaluate", model, *folders, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_errors_keep_their_traceback(folders, model, tmp_path, monkeypatch):
    from scalefuse.workflows import evaluate_fusion

    monkeypatch.setattr(evaluate_fusion, "_make_case", lambda *all_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate_fusion.evaluate(*folders, tmp_path / "out", model=str(model))
    monkeypatch.setattr(
        evaluate_fusion, "_make_case", lambda *all_: (_ for _ in ()).throw(RuntimeError("shape"))
    )
    with pytest.raises(RuntimeError, match="shape"):
        evaluate_fusion.evaluate(*folders, tmp_path / "out", model=str(model))


def test_pictures_are_not_kept(folders, model, tmp_path, monkeypatch):
    """At most those of the three pairs on the sheet are held while it is drawn."""
    import gc
    import weakref

    from scalefuse.workflows import evaluate_fusion

    kept = []
    made = evaluate_fusion._make_case

    def watched(*arguments):
        case, shown = made(*arguments)
        gc.collect()
        assert sum(one() is not None for one in kept) == 0
        kept.extend(weakref.ref(picture) for picture in shown)
        return case, shown

    def drawn(path, evaluation, main, pictures):
        path.touch()

    monkeypatch.setattr(evaluate_fusion, "_make_case", watched)
    monkeypatch.setattr(evaluate_fusion, "_draw_sheet", drawn)
    evaluate_fusion.evaluate(*folders, tmp_path / "out", model=str(model), metrics=["EN"], baselines=False)
    assert len(kept) == 9


def test_ready_pictures_of_real_numbers(cli, folders, tmp_path):
    """In [0, 1] measured and drawn as in 8 bits; of other numbers refused."""
    for kind, number in (("png", np.uint8), ("unit", np.float32), ("wide", np.float32)):
        for file in sorted(folders[0].iterdir()):
            pixels = read_image(file).pixels.astype(np.float32)
            scaled = pixels / 255 if kind == "unit" else pixels.astype(number)
            (tmp_path / kind).mkdir(exist_ok=True)
            if kind == "png":
                write_image(tmp_path / kind / file.name, pixels / 255, bits=8)
            else:
                tifffile.imwrite(tmp_path / kind / f"{file.stem}.tif", scaled.astype(np.float32))
    options = ("--no-baselines", "--metrics", "EN,CC,VIF")
    for kind in ("png", "unit"):
        done = cli("evaluate", *folders, "--fused", tmp_path / kind, *options, "-o", tmp_path / f"o-{kind}")
        assert done.code == 0, done.text
    assert table(tmp_path / "o-png") == table(tmp_path / "o-unit")
    sheets = [read_image(tmp_path / f"o-{kind}" / "sheet.png").pixels for kind in ("png", "unit")]
    np.testing.assert_array_equal(*sheets)
    done = cli("evaluate", *folders, "--fused", tmp_path / "wide", *options, "-o", tmp_path / "o-wide")
    assert done.code == 2
    assert "0.tif: Expected real numbers in [0, 1]" in done.text
    assert not (tmp_path / "o-wide").exists()


def test_pairs_too_small_for_a_measure_are_neither_worst_nor_best(cli, folders, tmp_path, monkeypatch):
    """What could not be measured stands in summary.json; a name is no formula."""
    for folder in folders:
        write_image(folder / "p$x^$q.png", np.random.default_rng(0).random((30, 30)), bits=8)
    lines = {}
    monkeypatch.setattr(
        evaluate_fusion_workflow, "picture_sheet", lambda path, rows, *_, **__: lines.update(rows)
    )
    done = cli("evaluate", *folders, "--fused", folders[0], "--metrics", "VIF", "-o", tmp_path / "o")
    assert done.code == 0, done.text
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert summary["methods"]["fused"]["VIF"]["n"] == 3
    assert any(note.startswith("p$x^$q: VIF not measured") for note in summary["notes"])
    values = [float(label.split("VIF ")[1]) for label in lines]
    assert [label.split(":")[0] for label in lines] == ["worst", "median", "best"]
    assert values == sorted(values)
    monkeypatch.undo()
    done = cli("evaluate", *folders, "--fused", folders[0], "--metrics", "EN", "-o", tmp_path / "drawn")
    assert done.code == 0, done.text


def test_two_ready_pictures_of_one_name_are_refused(cli, folders, tmp_path):
    (tmp_path / "ready").mkdir()
    for name in ("0.png", "0.tif", "1.png", "2.png"):
        write_image(tmp_path / "ready" / name, np.zeros((64, 64)), bits=8)
    done = cli("evaluate", *folders, "--fused", tmp_path / "ready", "-o", tmp_path / "o")
    assert done.code == 2
    assert "0.png and 0.tif have the same name" in done.text
