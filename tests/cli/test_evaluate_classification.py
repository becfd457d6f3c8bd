"""``scalefuse evaluate`` for classifiers, and for probabilities made elsewhere."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, roc_auc_score

from scalefuse.bundle import BundleInfo, load_bundle, save_bundle
from scalefuse.catalog import NETWORKS
from scalefuse.data.classification_input import ClassificationPreprocessing
from scalefuse.data.read import read_image
from scalefuse.data.write import write_pixels
from scalefuse.evaluation.fit_classification import fit_postprocessing
from scalefuse.inference.classifier import Classifier
from scalefuse.networks.hifuse.spec import HiFuseConfig

CLASSES = ("benign", "malignant")
PLOTS = ("confusion", "roc", "precision-recall", "reliability")


def picture(target, seed):
    generator = np.random.default_rng(seed)
    return generator.normal(90 + 70 * target, 40, (36, 40)).clip(0, 255).astype(np.uint8)


def make_bundle(path, labels=CLASSES, *, seed=0, multi_label=False, calibrate=True, sensitivity=None):
    torch.manual_seed(seed)
    config = HiFuseConfig(in_channels=1, num_classes=len(labels), embed_dim=8, depths=(1, 1, 1, 1))
    network = NETWORKS["hifuse"].build(config).eval()
    preprocessing = ClassificationPreprocessing(size=(32, 32), multi_label=multi_label)
    postprocessing = None
    if calibrate:
        classifier = Classifier(
            network,
            labels=labels,
            preprocessing=preprocessing,
            multi_label=multi_label,
            in_channels=1,
        )
        targets = np.arange(40) % len(labels)
        logits = classifier.logits([picture(int(target), 1000 + i) for i, target in enumerate(targets)])
        if multi_label:
            targets = np.eye(len(labels), dtype=int)[targets]
        postprocessing = fit_postprocessing(
            logits, targets, labels, multi_label=multi_label, sensitivity=sensitivity
        ).model_dump(mode="json")
    info = BundleInfo(
        name=path.name,
        task="classification",
        network=config,
        labels=labels,
        preprocessing=preprocessing.model_dump(mode="json"),
        postprocessing=postprocessing,
    )
    return save_bundle(path, info, network.state_dict(), "# tiny")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("model") / "tiny", sensitivity=0.8)


@pytest.fixture
def folder(tmp_path):
    """Twelve test pictures, a folder per class; the classes in another order than the model's alphabet."""
    for number in range(12):
        name = tmp_path / "data/test" / CLASSES[number % 2] / f"{number}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        write_pixels(name, picture(number % 2, number))
    for label in CLASSES:
        (tmp_path / "data/train" / label).mkdir(parents=True)
        write_pixels(tmp_path / "data/train" / label / "t.png", picture(0, 50))
    return tmp_path / "data"


@pytest.fixture
def medmnist(tmp_path):
    arrays = {}
    for split, count in (("train", 4), ("val", 4), ("test", 10)):
        targets = np.arange(count) % 2
        arrays[f"{split}_images"] = np.stack([picture(int(t), i)[:28, :28] for i, t in enumerate(targets)])
        arrays[f"{split}_labels"] = targets[:, None]
    np.savez(tmp_path / "breastmnist_part.npz", **arrays)
    return tmp_path / "breastmnist_part.npz"


def table(folder):
    with (folder / "cases.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text(), parse_constant=pytest.fail)


def test_everything_is_written_and_is_what_the_model_says(cli, classifier, folder, tmp_path):
    out = tmp_path / "out"
    done = cli("evaluate", classifier, folder, "--split", "test", "--sensitivity", "0.7", "-o", out)
    assert done.code == 0, done.text
    rows, summary = table(out), summary_of(out)
    assert list(rows[0]) == [
        "name", "target", "prediction", "correct", "probability_benign", "probability_malignant",
        "prediction_set", "set_coverage",
    ]  # fmt: skip
    assert summary["num_cases"] == len(rows) == 12
    model = Classifier.from_bundle(load_bundle(classifier))
    images = [read_image(folder / "test" / row["name"]) for row in rows]
    probabilities = model.predict(images)
    written = np.array([[float(row[f"probability_{label}"]) for label in CLASSES] for row in rows])
    np.testing.assert_allclose(written, probabilities, atol=1e-6)
    called = model.decide(probabilities)
    assert [row["prediction"] for row in rows] == [CLASSES[index] for index in called]
    assert [row["target"] for row in rows] == [row["name"].split("/")[0] for row in rows]
    assert [row["correct"] for row in rows] == [str(int(row["target"] == row["prediction"])) for row in rows]
    truth = [CLASSES.index(row["target"]) for row in rows]
    assert summary["overall"]["accuracy"]["value"] == pytest.approx(accuracy_score(truth, called))
    assert summary["overall"]["auroc"]["value"] == pytest.approx(roc_auc_score(truth, probabilities[:, 1]))
    sets = model.prediction_sets(probabilities)
    assert summary["prediction_sets"]["promised"] == 0.9
    assert summary["prediction_sets"]["mean_size"] == pytest.approx(sets.sum(1).mean())
    assert summary["prediction_sets"]["coverage"]["value"] == pytest.approx(sets[range(12), truth].mean())
    stored, asked = summary["operating_points"]
    assert (stored["required"], asked["required"]) == (0.8, 0.7)
    threshold = model.operating_point(0.7).thresholds["malignant"]
    assert asked["classes"]["malignant"]["threshold"] == threshold
    hits = (probabilities[np.array(truth) == 1, 1] >= threshold).mean()
    assert asked["classes"]["malignant"]["sensitivity"]["value"] == pytest.approx(hits)
    assert "malignant from" in summary["decision"]
    for name in PLOTS:
        assert min(read_image(out / f"{name}.png").size) > 200
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == len(PLOTS) + 12
    for word in ("auroc", "malignant", "prediction sets", "sensitivity", "report.html"):
        assert word in done.out


def test_its_table_is_measured_again_to_the_same_numbers(cli, classifier, folder, tmp_path):
    cli("evaluate", classifier, folder, "--no-postprocess", "-o", tmp_path / "one")
    done = cli("evaluate", folder, "--predictions", tmp_path / "one/cases.csv", "-o", tmp_path / "two")
    assert done.code == 0, done.text
    one, two = summary_of(tmp_path / "one"), summary_of(tmp_path / "two")
    for name, entry in one["overall"].items():
        # Nine digits tell apart what the model computes with.
        assert two["overall"][name] == pytest.approx(entry, abs=1e-8), name
    assert one["decision"] == "the most probable class"
    assert "prediction_sets" not in one


def test_what_predict_writes_is_measured(cli, classifier, folder, tmp_path):
    assert cli("predict", classifier, folder / "test", "-o", tmp_path / "made").code == 0
    options = ("--class", "benign", "-o", tmp_path / "out")
    done = cli("evaluate", folder, "--predictions", tmp_path / "made/predictions.csv", *options)
    assert done.code == 0, done.text
    cli("evaluate", classifier, folder, "-o", tmp_path / "direct")
    first, second = summary_of(tmp_path / "out"), summary_of(tmp_path / "direct")
    assert (first["positive"], second["positive"]) == ("benign", "malignant")
    assert first["overall"]["auroc"]["value"] == pytest.approx(second["overall"]["auroc"]["value"])


def test_classes_are_matched_by_name(cli, folder, tmp_path):
    """A model that knows the classes in another order, and one more."""
    other = make_bundle(tmp_path / "other", ("malignant", "cyst", "benign"), calibrate=False)
    done = cli("evaluate", other, folder, "-o", tmp_path / "out")
    assert done.code == 0, done.text
    assert "No case is of cyst" in done.err
    rows = table(tmp_path / "out")
    assert {row["target"] for row in rows} == set(CLASSES)
    assert all(row["target"] == row["name"].split("/")[0] for row in rows)
    assert summary_of(tmp_path / "out")["per_class"]["cyst"]["recall"]["value"] is None


def test_a_medmnist_file_gives_a_medmnist_table(cli, medmnist, tmp_path):
    model = make_bundle(tmp_path / "my model_1", ("normal or benign", "malignant"), calibrate=False)
    done = cli("evaluate", model, medmnist, "-o", tmp_path / "out")
    assert done.code == 0, done.text
    (file,) = (tmp_path / "out").glob("breastmnist_test_*.csv")
    with np.load(medmnist) as arrays:
        truth = arrays["test_labels"].ravel()
    lines = [line.split(",") for line in file.read_text().splitlines()]
    assert [line[0] for line in lines] == [str(number) for number in range(10)]
    scores = np.array([[float(cell) for cell in line[1:]] for line in lines])
    # MedMNIST's first class is malignant, which is the model's second.
    expected = [float(row["probability_malignant"]) for row in table(tmp_path / "out")]
    np.testing.assert_allclose(scores[:, 0], expected, atol=1e-6)
    area, accuracy = roc_auc_score(truth, scores[:, 1]), np.mean((scores[:, 1] > 0.5) == truth)
    assert file.name == f"breastmnist_test_[AUC]{area:.3f}_[ACC]{accuracy:.3f}@my-model-1.csv"

    again = cli("evaluate", medmnist, "--predictions", file, "-o", tmp_path / "again")
    assert again.code == 0, again.text
    first, second = summary_of(tmp_path / "out"), summary_of(tmp_path / "again")
    assert first["overall"]["accuracy"] == second["overall"]["accuracy"]
    assert first["per_class"]["malignant"]["auroc"] == second["per_class"]["malignant"]["auroc"]


def test_several_labels_and_columns_of_a_table(cli, tmp_path):
    labels = ("mass", "nodule", "edema")
    model = make_bundle(tmp_path / "labels", labels, multi_label=True)
    lines = ["file,finding,split"]
    for number in range(9):
        write_pixels(tmp_path / f"{number}.png", picture(number % 2, number))
        chosen = [label for k, label in enumerate(labels) if (number >> k) & 1]
        lines.append(f"{number}.png,{';'.join(chosen)},test")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    options = ("--columns", "path=file,label=finding", "--coverage", "0.8", "-o", tmp_path / "out")
    done = cli("evaluate", model, tmp_path / "labels.csv", *options)
    assert done.code == 0, done.text
    summary, rows = summary_of(tmp_path / "out"), table(tmp_path / "out")
    assert summary["kind"] == "multi-label"
    assert summary["per_class"]["mass"]["cases"] == 4
    assert rows[0]["target"] == "(none)"
    assert rows[3]["target"] == "mass; nodule"
    assert summary["prediction_sets"]["promised"] == 0.8
    assert summary["overall"]["exact_match"]["value"] == pytest.approx(
        np.mean([row["target"] == row["prediction"] for row in rows])
    )


def test_several_models_are_averaged(cli, classifier, folder, tmp_path):
    second = make_bundle(tmp_path / "second", seed=1, calibrate=False)
    both = cli("evaluate", classifier, second, folder, "-o", tmp_path / "both")
    by_option = cli("evaluate", classifier, folder, "--ensemble", second, "-o", tmp_path / "option")
    assert both.code == by_option.code == 0, both.text + by_option.text
    assert table(tmp_path / "both") == table(tmp_path / "option")
    model = Classifier.from_bundle([load_bundle(classifier), load_bundle(second)])
    rows = table(tmp_path / "both")
    expected = model.predict([read_image(folder / "test" / row["name"]) for row in rows])
    np.testing.assert_allclose(
        [float(row["probability_malignant"]) for row in rows], expected[:, 1], atol=1e-6
    )
    assert "prediction_sets" not in summary_of(tmp_path / "both")
    for promise in (("--coverage", 0.9), ("--sensitivity", 0.8)):
        done = cli("evaluate", classifier, second, folder, *promise, "-o", tmp_path / "promised")
        assert done.code == 2
        assert "an ensemble has no calibration of its own" in " ".join(done.err.split())


# Failures


def test_bad_pictures_are_listed(cli, classifier, folder, tmp_path):
    (folder / "test/benign/4.png").write_bytes(b"")
    done = cli("evaluate", classifier, folder, "-o", tmp_path / "out")
    assert done.code == 3
    assert "1 of 12 failed" in done.err
    assert "4.png" in done.err
    assert len(table(tmp_path / "out")) == 11


def test_a_missing_prediction_is_listed(cli, classifier, folder, tmp_path):
    cli("evaluate", classifier, folder, "-o", tmp_path / "one")
    lines = (tmp_path / "one/cases.csv").read_text().splitlines()
    (tmp_path / "made.csv").write_text("\n".join(lines[:-1]) + "\n")
    done = cli("evaluate", folder, "--predictions", tmp_path / "made.csv", "-o", tmp_path / "two")
    assert done.code == 3
    assert "has no line for" in done.err
    assert len(table(tmp_path / "two")) == 11


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("name,probability_benign,probability_malignant\nbenign/0.png,nan,0.5", "'benign/0.png' has NaN"),
        ("name,probability_benign,probability_malignant\nbenign/0.png,,0.5", "'benign/0.png' has NaN"),
        ("name,probability_benign,probability_malignant\nbenign/0.png,2,-1", "outside"),
        ("name,probability_benign,probability_malignant\nbenign/0.png,0.1,0.2", "sum to 1"),
        ("name,probability_benign,probability_cyst\nbenign/0.png,0.5,0.5", "benign, cyst"),
        ("name,benign,malignant\nbenign/0.png,1,0\nbenign/0.png,1,0", "line 3 names 'benign/0.png' again"),
        ("name,benign,malignant\nelse.png,1,0", "No case could be measured"),
        ("probability_benign,probability_malignant\n1,x", "column 'name'"),
        ("0,0.5,0.25,0.25", "3 probabilities a line"),
        ("", "is empty"),
    ],
)
def test_bad_predictions(refused, folder, tmp_path, lines, said):
    (tmp_path / "made.csv").write_text(lines)
    command = ("evaluate", folder, "--predictions", tmp_path / "made.csv", "-o", tmp_path / "out")
    assert said in refused(*command)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--split", "dev"), "'dev'"),
        (("--class", "cyst"), "'cyst'"),
        (("--coverage", "95"), "0.95"),
        (("--sensitivity", "0.999"), "calibration cases"),
        (("--strategy", "average"), "--strategy: not for classification"),
        (("--no-baselines", "--metrics", "all"), "--no-baselines, --metrics: not for classification"),
        (("--tta",), "here there are none; leave"),
        (("--masks", "."), "--masks: for segmentation only"),
        (("--predictions", "made.csv"), "either"),
        (("--columns", "which=what"), "path=image_id"),
        (("--config", "msrf_net"), "segmentation"),
    ],
)
def test_wrong_options(refused, classifier, folder, tmp_path, options, said):
    assert said in refused("evaluate", classifier, folder, *options, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("several", [False, True])
def test_faults_of_other_splits_change_nothing(cli, folder, tmp_path, several):
    model = make_bundle(tmp_path / "tiny", ("alpha", "beta", "gamma")[: 2 + several], multi_label=several)
    names = json.loads((model / "bundle.json").read_text())["labels"]
    rows = [f"test/{CLASSES[n % 2]}/{n}.png,{names[n % 2]},test" for n in range(12)]
    faulty = [*rows, "train/benign/t.png,zzz,train", "train/malignant/t.png,,train"]
    made = {}
    for kind, lines in (("good", rows), ("faulty", faulty)):
        (folder / f"{kind}.csv").write_text("\n".join(["path,label,split", *lines]))
        done = cli("evaluate", model, folder / f"{kind}.csv", "--split", "test", "-o", tmp_path / kind)
        assert done.code == 0, done.text
        made[kind] = (tmp_path / kind / "cases.csv").read_text()
    assert made["good"] == made["faulty"]


def test_other_classes_are_refused(refused, classifier, folder, medmnist, tmp_path):
    (folder / "test/malignant").rename(folder / "test/malign")
    (folder / "train/malignant").rename(folder / "train/malign")
    said = refused("evaluate", classifier, folder, "-o", tmp_path / "out")
    assert "has the class 'malign'" in said
    assert "did you mean 'malignant'" in said
    assert "normal or benign" in refused("evaluate", classifier, medmnist, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_classes_of_numbers_are_taken_in_order_and_said(cli, refused, classifier, medmnist, tmp_path):
    plain = medmnist.rename(tmp_path / "own.npz")
    done = cli("evaluate", classifier, plain, "-o", tmp_path / "out")
    assert done.code == 0, done.text
    assert "0 benign, 1 malignant" in done.err
    with np.load(plain) as arrays:
        truth = arrays["test_labels"].ravel()
    assert [row["target"] for row in table(tmp_path / "out")] == [CLASSES[int(index)] for index in truth]
    named = ("--classes", "malignant,benign")
    assert cli("evaluate", classifier, plain, *named, "-o", tmp_path / "named").code == 0
    assert [row["target"] for row in table(tmp_path / "named")] == [CLASSES[1 - index] for index in truth]
    (file,) = (tmp_path / "out").glob("own_test_*.csv")
    assert re.fullmatch(r"own_test_\[AUC\]\d\.\d{3}_\[ACC\]\d\.\d{3}@tiny\.csv", file.name)


def test_no_memory_is_one_line(cli, refused, classifier, folder, tmp_path, monkeypatch):
    def hungry(self, batch):
        raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(Classifier, "batch_logits", hungry)
    assert "smaller batch size" in refused("evaluate", classifier, folder, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_listed_picture_that_is_missing_costs_itself_only(cli, refused, classifier, folder, tmp_path):
    rows = [f"test/{CLASSES[n % 2]}/{n}.png,{CLASSES[n % 2]}" for n in range(12)]
    listed = folder / "list.csv"
    listed.write_text("\n".join(["path,label", *rows, "test/benign/lost.png,benign"]) + "\n")
    done = cli("evaluate", classifier, listed, "-o", tmp_path / "out")
    assert done.code == 3, done.text
    assert "lost.png" in done.err
    assert len(table(tmp_path / "out")) == 12
    listed.write_text("path,label\ntest/benign/lost.png,benign\ntest/benign/gone.png,malignant\n")
    assert "lost.png" in refused("evaluate", classifier, listed, "-o", tmp_path / "none")
    listed.write_text("\n".join(["path,label", *rows, "train/benign/t.png,cyst"]) + "\n")
    assert "cyst" in refused("evaluate", classifier, listed, "-o", tmp_path / "none")


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(refused, classifier, folder, tmp_path):
    (tmp_path / "file").touch()
    line = refused("evaluate", classifier, folder, "-o", tmp_path / "file")
    assert "12/12" not in line
    assert "is a file" in line


def test_probabilities_between_semicolons(cli, folder, tmp_path):
    rows = ["filename;label;benign;malignant"]
    for number in range(12):
        value = 0.9 if number % 4 else 0.2
        rows.append(f"{number}.png;{CLASSES[number % 2]};{1 - value:.2f};{value:.2f}")
    rows.append("stranger.png;benign;0.5;0.5")
    (tmp_path / "made.csv").write_text("\n".join(rows))
    out = tmp_path / "out"
    done = cli("evaluate", folder, "--split", "test", "--predictions", tmp_path / "made.csv", "-o", out)
    assert done.code == 0, done.text
    summary = summary_of(out)
    # Called malignant: all but 0, 4 and 8, of which none is.
    assert summary["overall"]["accuracy"]["value"] == pytest.approx(9 / 12)
    assert "1 line(s) for no image of the split 'test', such as 'stranger.png'" in summary["notes"][0]


def test_names_of_classes_may_hold_commas(cli, folder, tmp_path):
    for split in ("train", "test"):
        (folder / split / "benign").rename(folder / split / "benign, simple")
    model = make_bundle(tmp_path / "model", labels=("benign, simple", "malignant"))
    classes = 'malignant, "benign, simple"'
    done = cli("evaluate", model, folder, "--classes", classes, "-o", tmp_path / "out")
    assert done.code == 0, done.text
    assert summary_of(tmp_path / "out")["num_cases"] == 12
