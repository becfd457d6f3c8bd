"""``scalefuse predict`` with classification bundles, and what it refuses."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from scalefuse.bundle import BundleInfo, load_bundle, save_bundle
from scalefuse.data.read import read_image
from scalefuse.data.write import write_image, write_pixels
from scalefuse.inference.classifier import Classifier
from scalefuse.networks.hifuse.spec import HiFuseConfig, build
from scalefuse.networks.msrf_net.spec import MSRFNetConfig
from scalefuse.networks.msrf_net.spec import build as build_msrf_net
from scalefuse.report.heatmap import heat_overlay

LABELS = ("benign", "malignant")


def read_json(folder):
    return json.loads((folder / "predictions.json").read_text())


# Nineteen malignant cases 0.05 … 0.95: a sensitivity of 0.9 is the second smallest.
TABLE = [[0.3, 0.6, 0.9], [round(0.05 * step, 2) for step in range(1, 20)]]


def make_bundle(folder, *, labels=LABELS, multi_label=False, table=None, seed=0, name="tiny"):
    torch.manual_seed(seed)
    config = HiFuseConfig(embed_dim=16, depths=(1, 1, 1, 1), num_classes=len(labels))
    state = build(config).state_dict()
    # Freshly initialised, all logits are nearly the same.
    state["head.weight"] = torch.randn(state["head.weight"].shape) * 0.5
    fitted = {"temperature": 2.0, "true_probabilities": table or [], "multi_label": multi_label}
    info = BundleInfo(
        name=name,
        task="classification",
        network=config,
        labels=labels,
        preprocessing={"size": [64, 64], "multi_label": multi_label},
        postprocessing=fitted,
    )
    return save_bundle(folder / name, info, state, f"# {name}\n")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("classifier"), table=TABLE)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Without calibration."""
    return make_bundle(tmp_path_factory.mktemp("plain"), seed=1, name="plain")


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    table = [TABLE[1], TABLE[1], []]
    labels = ("edema", "mass", "nodule")
    return make_bundle(tmp_path_factory.mktemp("labels"), labels=labels, multi_label=True, table=table)


@pytest.fixture(scope="module")
def segmentation(tmp_path_factory):
    config = MSRFNetConfig(width=8, growth=4)
    info = BundleInfo(name="masks", task="segmentation", network=config, labels=("background", "object"))
    return save_bundle(
        tmp_path_factory.mktemp("masks") / "masks", info, build_msrf_net(config).state_dict(), "# masks"
    )


@pytest.fixture
def tree(tmp_path):
    """A folder per class, with a picture above them; grey and coloured, of several sizes."""
    generator = np.random.default_rng(0)
    names = ("top.png", "benign/a.png", "benign/b.png", "malignant/a.png", "malignant/10.png")
    for number, name in enumerate(names):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shape = (40 + 9 * number, 70, *([3] if number % 2 else []))
        write_pixels(tmp_path / "in" / name, generator.integers(0, 256, shape).astype(np.uint8))
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    return tmp_path / "in"


def rows_of(folder):
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_a_tree_of_folders_becomes_a_table(cli, bundle, tree, tmp_path):
    done = cli("predict", bundle, tree, "-o", tmp_path / "out", "--batch-size", 2)
    assert done.code == 0, done.text
    assert "5 pictures classified, 2 files written" in done.out
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "predictions.csv",
        "predictions.json",
    ]
    rows = rows_of(tmp_path / "out")
    names = ["top.png", "benign/a.png", "benign/b.png", "malignant/10.png", "malignant/a.png"]
    assert [row["name"] for row in rows] == names
    classifier = Classifier.from_bundle(load_bundle(bundle))
    expected = classifier.predict([read_image(tree / name) for name in names])
    found = [[float(row[f"probability_{label}"]) for label in LABELS] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [row["prediction"] for row in rows] == [LABELS[index] for index in expected.argmax(axis=1)]

    report = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert report["labels"] == list(LABELS)
    assert report["calibration_cases"] == 22
    assert report["set_coverage"] == 0.9
    sets = classifier.prediction_sets(expected, 0.9)
    for row, picture, members in zip(rows, report["pictures"], sets, strict=True):
        wanted = [label for label, member in zip(LABELS, members, strict=True) if member]
        assert picture["prediction_set"] == wanted
        assert row["prediction_set"] == "; ".join(wanted)
        assert row["set_coverage"] == "0.9"


def test_the_prediction_follows_the_sensitivity(cli, bundle, tree, tmp_path):
    done = cli("predict", bundle, tree, "-o", tmp_path, "--sensitivity", 0.9, "--format", "csv")
    assert done.code == 0, done.text
    assert not (tmp_path / "predictions.json").exists()
    for row in rows_of(tmp_path):
        assert (row["prediction"] == "malignant") == (float(row["probability_malignant"]) >= 0.1)
    assert {row["prediction"] for row in rows_of(tmp_path)} == {"malignant"}
    assert cli("predict", bundle, tree, "-o", tmp_path, "--sensitivity", 0.25, "--class", "benign").code == 0
    point = json.loads((tmp_path / "predictions.json").read_text())["operating_point"]
    assert point == {"sensitivity": 0.25, "thresholds": {"benign": 0.9}}


def test_empty_sets_are_said_to_be_empty(cli, bundle, tree, tmp_path):
    done = cli("predict", bundle, tree, "-o", tmp_path, "--coverage", 0.05)
    assert done.code == 0, done.text
    # Of 22 true probabilities the ⌊23 · 0.95⌋ = 21st smallest: 0.9.
    rows = rows_of(tmp_path)
    unsure = [max(float(row[f"probability_{label}"]) for label in LABELS) < 0.9 for row in rows]
    assert 0 < sum(unsure) < 5
    assert [row["prediction_set"] == "(empty)" for row in rows] == unsure
    note = f"{sum(unsure)} of 5 prediction sets are empty"
    assert note in done.err
    report = json.loads((tmp_path / "predictions.json").read_text())
    assert note in report["notes"][0]
    assert [picture["prediction_set"] == [] for picture in report["pictures"]] == unsure


def test_too_much_coverage_for_so_few_cases_is_said(cli, bundle, tree, tmp_path):
    done = cli("predict", bundle, tree / "top.png", "-o", tmp_path, "--coverage", 0.99)
    assert done.code == 0, done.text
    assert rows_of(tmp_path)[0]["prediction_set"] == "benign; malignant"
    assert "more calibration cases than the model carries (22)" in done.err


def test_without_calibration_there_are_no_sets(cli, plain, tree, tmp_path):
    assert cli("predict", plain, tree, "-o", tmp_path).code == 0
    assert set(rows_of(tmp_path)[0]) == {"name", "prediction", "probability_benign", "probability_malignant"}


def test_explanations_and_embeddings(cli, bundle, tree, tmp_path):
    done = cli("predict", bundle, tree, "-o", tmp_path / "out", "--explain", "--stage", 1, "--embeddings")
    assert done.code == 0, done.text
    for picture in json.loads((tmp_path / "out" / "predictions.json").read_text())["pictures"]:
        image, drawn = (
            read_image(tree / picture["name"]),
            read_image(tmp_path / "out" / picture["explanation"]),
        )
        assert drawn.is_colour
        assert drawn.size == image.size
        own = image.pixels if image.is_colour else np.repeat(image.pixels[..., None], 3, axis=2)
        assert (drawn.pixels != own).any()
    assert (tmp_path / "out" / "malignant" / "a_explanation.png").is_file()
    stored = np.load(tmp_path / "out" / "embeddings.npz")
    assert stored["names"].tolist() == [row["name"] for row in rows_of(tmp_path / "out")]
    classifier = Classifier.from_bundle(load_bundle(bundle))
    expected = classifier.embed([read_image(tree / name) for name in stored["names"]])
    np.testing.assert_allclose(stored["embeddings"], expected, atol=1e-4)


def test_the_class_to_explain_is_chosen(cli, bundle, tree, tmp_path):
    for label in LABELS:
        options = ("--explain", "--class", label, "-o", tmp_path / label)
        assert cli("predict", bundle, tree / "top.png", *options).code == 0
    maps = [read_image(tmp_path / label / "top_explanation.png").pixels.astype(int) for label in LABELS]
    assert (maps[0] != maps[1]).any()


def test_of_several_labels_one_that_is_called_is_explained(cli, several, tree, tmp_path):
    one = tree / "top.png"
    assert cli("predict", several, one, "--explain", "-o", tmp_path / "plain").code == 0
    probabilities = read_json(tmp_path / "plain")["pictures"][0]["probabilities"]
    least = min(("edema", "mass"), key=lambda label: probabilities[label])
    # At a sensitivity for this label, it alone has a threshold of its own: so low that it is called.
    options = ("--sensitivity", 0.9, "--class", least, "--explain")
    assert cli("predict", several, one, *options, "-o", tmp_path / "named").code == 0
    assert read_json(tmp_path / "named")["pictures"][0]["explained_class"] == least
    picture = read_json(tmp_path / "plain")["pictures"][0]
    called = picture["prediction"] or list(probabilities)
    assert picture["explained_class"] == max(called, key=lambda label: probabilities[label])


def test_several_pictures_by_name(cli, bundle, tree, tmp_path):
    files = [tree / "top.png", tree / "benign" / "a.png", tree / "malignant" / "a.png"]
    assert cli("predict", bundle, *files, "-o", tmp_path / "out").code == 0
    rows = rows_of(tmp_path / "out")
    # Two of one name keep the folders that tell them apart.
    assert [row["name"] for row in rows] == ["top.png", "benign/a.png", "malignant/a.png"]
    expected = Classifier.from_bundle(load_bundle(bundle)).predict([read_image(file) for file in files])
    np.testing.assert_allclose([float(row["probability_benign"]) for row in rows], expected[:, 0], atol=1e-5)
    (tmp_path / "set.npz").write_bytes(b"")
    done = cli("predict", bundle, files[0], tmp_path / "set.npz", "-o", tmp_path / "other")
    assert done.code == 2
    assert "holds many pictures; give it alone" in done.text
    among = cli("predict", bundle, *files, "--explain", "-o", tree / "benign")
    assert among.code == 2
    assert "is the folder of the pictures" in among.text
    done = cli("predict", bundle, *files, "--columns", "path=scan", "-o", tmp_path / "other")
    assert done.code == 2
    assert "are for a CSV file" in done.text
    assert not (tmp_path / "other").exists()


def test_no_memory_for_an_explanation_is_one_line(refused, bundle, tree, tmp_path, monkeypatch):
    def none_left(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("scalefuse.inference.classifier.occlusion_sensitivity", none_left)
    line = refused("predict", bundle, tree, "--explain", "--explain-by", "occlusion", "-o", tmp_path / "out")
    assert "not enough memory for its explanation; choose a smaller batch size" in line


def test_a_batch_of_bad_pictures_alone_writes_nothing(cli, bundle, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"not a picture")
    done = cli("predict", bundle, tmp_path, "-o", tmp_path / "out")
    assert done.code == 3
    assert "2 of 2 failed" in done.err
    assert "classified" not in done.out
    assert not (tmp_path / "out").exists()


def test_explanations_by_occlusion_are_those_of_the_classifier(cli, bundle, tree, tmp_path):
    # So many predictions may be worth bf16, in which random weights tell nothing apart.
    exact = ("--engine", "torch", "--precision", "fp32")
    options = ("--explain", "--explain-by", "occlusion", "--class", LABELS[1], *exact, "-o", tmp_path)
    assert cli("predict", bundle, tree / "top.png", *options).code == 0
    image = read_image(tree / "top.png")
    found = Classifier.from_bundle(load_bundle(bundle)).explain(image, class_index=1, method="occlusion")
    drawn = read_image(tmp_path / "top_explanation.png").pixels
    # The command prepares the network for many pictures: a value on the edge between two whole numbers may
    # fall to either side.
    difference = np.abs(drawn.astype(int) - heat_overlay(image.pixels, found.map))
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.995
    gradients = ("--explain", "--explain-by", "grad-cam", "--class", LABELS[1], "-o", tmp_path / "gradients")
    assert cli("predict", bundle, tree / "top.png", *gradients).code == 0
    assert (read_image(tmp_path / "gradients" / "top_explanation.png").pixels != drawn).any()


def test_explanations_do_not_lie_among_the_pictures(cli, bundle, tree):
    before = sorted(tree.rglob("*"))
    done = cli("predict", bundle, tree, "--explain", "-o", tree)
    assert done.code == 2
    assert "is the folder of the pictures, and the next run would take its explanations" in done.text
    assert sorted(tree.rglob("*")) == before


def test_embeddings_as_csv(cli, bundle, tree, tmp_path):
    assert cli("predict", bundle, tree, "-o", tmp_path, "--embeddings", "--format", "csv").code == 0
    rows = list(csv.DictReader((tmp_path / "embeddings.csv").open()))
    assert len(rows) == 5
    assert list(rows[0]) == ["name", *(f"f{number}" for number in range(128))]


def test_several_labels(cli, several, tree, tmp_path):
    done = cli("predict", several, tree, "-o", tmp_path, "--coverage", 0.9)
    assert done.code == 0, done.text
    pictures = json.loads((tmp_path / "predictions.json").read_text())["pictures"]
    for row, picture in zip(rows_of(tmp_path), pictures, strict=True):
        values = picture["probabilities"]
        assert picture["prediction"] == [label for label in values if values[label] >= 0.5]
        assert row["prediction"] == ("; ".join(picture["prediction"]) or "(none)")
        # No calibration case had a nodule: it can never be ruled out.
        assert picture["prediction_set"] == [
            label for label in values if label == "nodule" or values[label] >= 0.1
        ]
    assert "carries (0)" in done.err


def test_an_ensemble_averages(cli, bundle, plain, tree, tmp_path):
    assert cli("predict", bundle, tree, "--ensemble", plain, "-o", tmp_path).code == 0
    pictures = [read_image(tree / row["name"]) for row in rows_of(tmp_path)]
    each = [Classifier.from_bundle(load_bundle(one)).predict(pictures) for one in (bundle, plain)]
    found = [float(row["probability_benign"]) for row in rows_of(tmp_path)]
    np.testing.assert_allclose(found, np.mean(each, axis=0)[:, 0], atol=1e-5)
    assert json.loads((tmp_path / "predictions.json").read_text())["models"] == ["tiny", "plain"]


def test_medmnist_and_csv_files(cli, bundle, tree, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    parts = {"train": images[:2], "val": images[2:3], "test": images[3:]}
    arrays = {f"{part}_images": values for part, values in parts.items()} | {
        f"{part}_labels": np.arange(len(values))[:, None] % 2 for part, values in parts.items()
    }
    np.savez(tmp_path / "set.npz", **arrays)
    assert cli("predict", bundle, tmp_path / "set.npz", "-o", tmp_path / "npz").code == 0
    rows = rows_of(tmp_path / "npz")
    assert [row["name"].split("/")[0] for row in rows] == ["train", "train", "val", "test", "test"]
    expected = Classifier.from_bundle(load_bundle(bundle)).predict(images)
    np.testing.assert_allclose([float(row["probability_benign"]) for row in rows], expected[:, 0], atol=1e-5)

    table = tree / "table.csv"
    table.write_text("path,label\nbenign/a.png,benign\ntop.png,\nmissing.png,malignant\n")
    done = cli("predict", bundle, table, "-o", tmp_path / "csv")
    assert done.code == 3
    assert "1 of 3 failed" in done.err
    assert "missing.png" in done.err
    assert [row["name"] for row in rows_of(tmp_path / "csv")] == ["benign/a.png", "top.png"]


def test_tables_without_labels(cli, refused, bundle, tree, tmp_path):
    images = np.random.default_rng(0).random((3, 28, 28)).astype(np.float32)
    np.savez(tmp_path / "set.npz", test_images=images)
    done = cli("predict", bundle, tmp_path / "set.npz", "--range", "range:0:1", "-o", tmp_path / "npz")
    assert done.code == 0
    assert [row["name"] for row in rows_of(tmp_path / "npz")] == ["test/0", "test/1", "test/2"]
    np.savez(tmp_path / "channel.npz", test_images=images[..., None])
    done = cli(
        "predict", bundle, tmp_path / "channel.npz", "--range", "range:0:1", "-o", tmp_path / "channel"
    )
    assert done.code == 0
    assert rows_of(tmp_path / "channel") == rows_of(tmp_path / "npz")
    # One value that is no number costs its picture and no other.
    images[1, 5, 5] = np.nan
    np.savez(tmp_path / "set.npz", test_images=images)
    done = cli("predict", bundle, tmp_path / "set.npz", "--range", "range:0:1", "-o", tmp_path / "nan")
    assert done.code == 3
    assert "test/1: 1 of 784 pixel values are NaN" in done.err
    assert [row["name"] for row in rows_of(tmp_path / "nan")] == ["test/0", "test/2"]
    table = tmp_path / "list.csv"
    table.write_text("scan,finding\nbenign/a,cyst\ntop,\n")
    words = ("predict", bundle, table, "-o", tmp_path / "csv", "--columns", "path=scan", "--images", tree)
    assert cli(*words).code == 0
    assert [row["name"] for row in rows_of(tmp_path / "csv")] == ["benign/a", "top"]
    assert "no column for the path" in refused("predict", bundle, table, "-o", tmp_path / "other")


def test_a_bad_picture_does_not_stop_the_batch(cli, bundle, tree, tmp_path):
    (tree / "benign" / "b.png").write_bytes((tree / "benign" / "b.png").read_bytes()[:100])
    write_pixels(tree / "dot.png", np.zeros((1, 1), np.uint8))
    done = cli("predict", bundle, tree, "-o", tmp_path / "out", "--explain")
    assert done.code == 3, done.text
    assert "2 of 6 failed" in done.err
    assert "b.png" in done.err
    assert "1×1 pixel" in done.err
    assert len(rows_of(tmp_path / "out")) == 4
    report = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(report["failures"]) == 2
    assert not list((tmp_path / "out").rglob(".unfinished*"))


def test_results_inside_the_input_are_not_classified(cli, bundle, tree):
    for _ in range(2):
        assert cli("predict", bundle, tree, "-o", tree / "out", "--explain").code == 0
    assert len(rows_of(tree / "out")) == 5


def test_an_interrupted_run_leaves_the_old_table(cli, bundle, tree, tmp_path, monkeypatch):
    assert cli("predict", bundle, tree, "-o", tmp_path / "out").code == 0
    before = (tmp_path / "out" / "predictions.csv").read_bytes()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "batch_logits", interrupted)
    assert cli("predict", bundle, tree, "-o", tmp_path / "out").code == 130
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == before
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_lack_of_memory_is_one_line(cli, refused, bundle, tree, tmp_path, monkeypatch):
    real = Classifier.prepare

    def too_large(self, image):
        if image.size == (40, 70):
            raise MemoryError
        return real(self, image)

    monkeypatch.setattr(Classifier, "prepare", too_large)
    done = cli("predict", bundle, tree, "-o", tmp_path / "out")
    assert done.code == 3
    assert "top.png: not enough memory" in done.err
    assert "not enough memory" in refused("predict", bundle, tree / "top.png", "-o", tmp_path / "one")

    def exhausted(self, batch):
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr(Classifier, "batch_logits", exhausted)
    line = refused("predict", bundle, tree, "-o", tmp_path / "out")
    assert "4 pictures at once; choose a smaller batch size" in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--instances components", "--instances: for segmentation only"),
        ("--instances none", "--instances: for segmentation only"),
        ("--no-overlay --regions", "--no-overlay, --regions: for segmentation only"),
        ("--tta", "here there are none; leave"),
        ("--tta --coverage 0.9 --ensemble {plain}", "here there are none; leave"),
        ("--skip-existing", "--skip-existing"),
        ("--coverage 95", "give 0.95 for 95 %"),
        ("--coverage 0", "between 0 and 1"),
        ("--sensitivity 0.99", "needs at least 99 calibration cases"),
        ("--sensitivity 0.9 --class cyst", "No class 'cyst'; the model knows benign, malignant"),
        ("--sensitivity 0.9 --no-postprocess", "fitted on validation data"),
        ("--coverage 0.9 --ensemble {plain}", "an ensemble has no calibration"),
        ("--embeddings --ensemble {plain}", "Embeddings come from one network"),
        ("--stage 2", "A stage and a method are for explanations"),
        ("--explain-by occlusion", "A stage and a method are for explanations"),
        ("--explain --explain-by occlusion --stage 2", "leave the stage out, or use grad-cam"),
        ("--class benign", "A class is named for explanations"),
        ("--explain --stage 5", "stages 1 to 4, but got stage 5"),
        ("--explain --class cyst", "No class 'cyst'"),
        ("--ensemble {segmentation}", "a bundle for segmentation, but classifying needs"),
        ("--range nonsense", "unknown intensity range"),
    ],
)
def test_refused(refused, bundle, plain, segmentation, tree, tmp_path, options, expected):
    words = options.format(plain=plain, segmentation=segmentation).split()
    assert expected in refused("predict", bundle, tree, "-o", tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--explain", "--explain"),
        ("--coverage 0.9 --format csv", "--coverage, --format"),
        ("--embeddings", "--embeddings"),
        ("--sensitivity 0.9 --class x", "--class, --sensitivity"),
        ("--batch-size 2 --stage 1", "--stage, --batch-size"),
    ],
)
def test_a_segmentation_bundle_refuses_them(refused, segmentation, tree, tmp_path, options, named):
    line = refused("predict", segmentation, tree, "-o", tmp_path / "out", *options.split())
    assert f"{named}: for classification only" in line
    assert not (tmp_path / "out").exists()


def test_averaged_over_the_views_of_training(cli, refused, bundle, tree, tmp_path):
    content = json.loads((bundle / "bundle.json").read_text())
    content["config"] = {"augmentation": {"flip_horizontal": 0.5, "flip_vertical": 0.0}}
    mirrored = tmp_path / "mirrored"
    shutil.copytree(bundle, mirrored)
    (mirrored / "bundle.json").write_text(json.dumps(content))
    assert cli("predict", mirrored, tree, "--tta", "--format", "json", "-o", tmp_path / "out").code == 0
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())["pictures"]
    classifier = Classifier.from_bundle(load_bundle(bundle))
    for one in found:
        image = read_image(tree / one["name"]).pixels
        logits = classifier.logits([image, np.ascontiguousarray(image[:, ::-1])]).mean(axis=0)
        expected = classifier.postprocessing.activate(logits[None])[0]
        np.testing.assert_allclose(list(one["probabilities"].values()), expected, atol=2e-3)
        assert "prediction_set" not in one
    line = refused("predict", mirrored, tree, "--tta", "--sensitivity", 0.9, "-o", tmp_path / "no")
    assert "an average over views has no calibration" in line


def test_uncalibrated_models_promise_nothing(refused, plain, tree, tmp_path):
    for option in ("--coverage", "--sensitivity"):
        line = refused("predict", plain, tree, "-o", tmp_path / "out", option, 0.9)
        assert "no calibration scores" in line


def test_explanations_of_pictures_that_differ_in_the_suffix(cli, bundle, tree, tmp_path):
    (tree / "top.jpg").write_bytes((tree / "top.png").read_bytes())
    done = cli("predict", bundle, tree, "-o", tmp_path / "out", "--explain")
    assert done.code == 0, done.text
    names = {file.name for file in (tmp_path / "out").glob("top*")}
    assert names == {"top.jpg_explanation.png", "top.png_explanation.png"}
    assert (tmp_path / "out" / "benign" / "a_explanation.png").is_file()


def test_bad_sources(refused, bundle, tree, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refused("predict", bundle, tmp_path / "empty", "-o", tmp_path / "out")
    assert "no such file" in refused("predict", bundle, tmp_path / "nothing", "-o", tmp_path / "out")
    write_pixels(tmp_path / "dot.png", np.zeros((1, 1), np.uint8))
    assert "1×1" in refused("predict", bundle, tmp_path / "dot.png", "-o", tmp_path / "out")
    (tmp_path / "real").mkdir()
    write_image(tmp_path / "real" / "a.tif", np.linspace(0, 1, 1600).reshape(40, 40), bits=32)
    write_image(tmp_path / "real" / "b.tif", np.linspace(0, 1, 1600).reshape(40, 40), bits=32)
    assert "must be chosen" in refused("predict", bundle, tmp_path / "real", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_model_is_one_line(refused, bundle, tree, tmp_path):
    loaded = load_bundle(bundle)
    loaded.state["head.weight"][0] = float("nan")
    save_bundle(tmp_path / "nan", loaded.info, loaded.state, "# nan")
    assert "head.weight hold NaN" in refused("predict", tmp_path / "nan", tree, "-o", tmp_path / "out")
    short = loaded.info.model_copy(update={"labels": ("benign",)})
    save_bundle(tmp_path / "short", short, load_bundle(bundle).state, "# short")
    assert "names 1 classes" in refused("predict", tmp_path / "short", tree, "-o", tmp_path / "out")


def test_links_are_followed_once(cli, bundle, tmp_path):
    pictures = tmp_path / "pictures"
    for name in ("pictures/own/1.png", "elsewhere/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        write_pixels(tmp_path / name, np.full((40, 40), 90, np.uint8))
    (pictures / "linked").symlink_to(tmp_path / "elsewhere")
    (pictures / "a-loop").symlink_to(pictures)
    (pictures / "again").symlink_to(pictures / "own")
    (pictures / "nowhere.png").symlink_to(tmp_path / "gone.png")
    (pictures / "round.png").symlink_to(pictures / "round.png")
    done = cli("predict", bundle, pictures, "-o", tmp_path / "out")
    assert done.code == 3
    assert [row["name"] for row in rows_of(tmp_path / "out")] == ["own/1.png", "linked/2.png"]
    assert "nowhere.png" in done.err
    assert "round.png" in done.err
    assert "2 of 4" in " ".join(done.err.split())


def test_values_at_the_dark_end_are_told(cli, bundle, tmp_path):
    values = np.arange(40 * 40, dtype=np.uint16).reshape(40, 40)
    for label in ("benign", "malignant"):
        (tmp_path / "set" / label).mkdir(parents=True)
        write_pixels(tmp_path / "set" / label / "twelve-bits.png", values)
    note = "values up to 1599 of 65535 only, nearly black to the network"
    done = cli("predict", bundle, tmp_path / "set", "-o", tmp_path / "predicted")
    assert done.code == 0
    assert note in " ".join(done.err.split())
    done = cli("evaluate", bundle, tmp_path / "set", "-o", tmp_path / "measured")
    assert done.code == 0, done.text
    assert note in json.loads((tmp_path / "measured" / "summary.json").read_text())["notes"][0]
    done = cli("predict", bundle, tmp_path / "set", "--range", "range:0:2047", "-o", tmp_path / "chosen")
    assert "nearly black" not in done.err


def test_a_table_whose_images_are_not_there_says_so(refused, bundle, tmp_path):
    (tmp_path / "list.csv").write_text("path\nfolder/a.png\n")
    line = refused("predict", bundle, tmp_path / "list.csv", "-o", tmp_path / "out")
    assert "line 2: the image 'folder/a.png' is not in" in line


def test_a_run_is_not_its_bundle(refused, bundle, tree, tmp_path):
    shutil.copytree(bundle, tmp_path / "run" / "bundle")
    line = refused("predict", tmp_path / "run", tree, "-o", tmp_path / "out")
    assert f"did you mean {tmp_path / 'run' / 'bundle'}?" in line
