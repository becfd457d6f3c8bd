"""``scalefuse train`` for classifiers: what it writes, going on, folds, data that cannot be learned from."""

import csv
import json
import shutil
import unicodedata

import numpy as np
import pytest
import torch
import yaml

from scalefuse.bundle import BundleInfo, load_bundle, save_bundle
from scalefuse.config import load_config
from scalefuse.data.classification import read_classification
from scalefuse.data.write import write_pixels
from scalefuse.inference.classifier import Classifier
from scalefuse.networks.resnet.spec import ResNet18Config, build
from scalefuse.training.classification_measures import classification_measures
from scalefuse.training.fit import TrainingInterrupted
from scalefuse.workflows import cross_validation as workflow
from scalefuse.workflows.train import train

LEVELS = {"dark": 70, "bright": 185, "middle": 128}


def draw(folder, name, count, *, first=0, seed=0):
    """Noise around the level of the class, so that nothing is hard to learn."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng([seed, LEVELS[name], first])
    for number in range(first, first + count):
        pixels = generator.normal(LEVELS[name], 30, (36, 34, 3)).clip(0, 255).astype(np.uint8)
        write_pixels(folder / name / f"{number:03d}.png", pixels)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    """Three epochs of a narrow network on 14 + 8 images: everything on that a run may have."""
    home = tmp_path_factory.mktemp("data")
    for name, count in (("dark", 9), ("bright", 5)):
        draw(home / "set" / "train", name, count)
        draw(home / "set" / "val", name, 4, first=50)
    config = {
        "name": "tiny",
        "task": "classification",
        "network": {"embed_dim": 16, "depths": [1, 1, 1, 1], "drop_path": 0.2},
        "data": {"source": str(home / "set"), "size": 32, "classes": ["dark", "bright"], "balance": 0.5},
        "mix": {"mixup": 0.5, "cutmix": 1.0, "probability": 0.7},
        "loss": {"class_weights": "balanced", "label_smoothing": 0.05},
        "optimizer": {"layer_decay": 0.9},
        "training": {"epochs": 3, "batch_size": 5, "precision": "fp32", "ema_decay": 0.8, "monitor": "loss"},
    }
    path = home / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def logged(folder):
    with (folder / "metrics.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def undisturbed(config_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(load_config(config_file, [f"output={folder}"]))
    return folder


def test_the_bundle_says_and_does_what_was_trained(config_file, undisturbed):
    bundle = load_bundle(undisturbed / "bundle")
    info = bundle.info
    assert info.labels == ("dark", "bright")
    assert info.network.num_classes == 2
    assert info.preprocessing["size"] == [32, 32]
    assert info.training_data.num_cases == 14
    assert info.config["data"]["classes"] == ["dark", "bright"]
    assert "dark, bright" in bundle.card
    assert (undisturbed / "data-check.html").is_file()

    # What is written beside the weights is what the predictor finds on the validation images.
    found = read_classification(load_config(config_file).data.source, classes=info.labels)
    cases = found.part("val")
    classifier = Classifier.from_bundle(bundle, postprocess=False)
    logits = torch.from_numpy(classifier.logits(case.read() for case in cases))
    targets = torch.from_numpy(found.targets(cases))
    measures = classification_measures(logits, targets, multi_label=False)
    assert info.metrics == pytest.approx({f"val/{name}": value for name, value in measures.items()}, abs=1e-6)
    # And what validation found with the same weights, by the data set's way through the pictures.
    losses = [float(line["val/loss"]) for line in logged(undisturbed) if line["val/loss"]]
    assert info.metrics["val/loss"] == pytest.approx(min(losses), abs=1e-5)
    assert Classifier.from_bundle(bundle).predict([cases[0].read()]).sum() == pytest.approx(1, abs=1e-6)


def test_every_measure_is_logged(undisturbed):
    lines = [line for line in logged(undisturbed) if line["val/loss"]]
    assert [int(line["epoch"]) for line in lines] == [0, 1, 2]
    for name in ("accuracy", "balanced_accuracy", "f1", "auroc", "auprc", "mcc"):
        assert all(-1 <= float(line[f"val/{name}"]) <= 1 for line in lines)


def test_an_epoch_without_validation_tells_no_measure_of_an_earlier_one(cli, config_file, tmp_path):
    done = cli(
        "train", config_file, "-o", tmp_path / "run",
        "--set", "training.epochs=4", "--set", "training.validate_every=2",
    )  # fmt: skip
    assert done.code == 0, done.text
    lines = [line for line in done.text.splitlines() if line.startswith("epoch ")]
    assert ["val/auroc" in line for line in lines] == [False, True, False, True]
    assert all("train/loss" in line for line in lines)


@pytest.mark.parametrize(
    ("epoch", "batch", "ended", "workers"), [(2, 1, False, 0), (2, 3, True, 0), (2, 1, False, 2)]
)
def test_resumed_run_equals_the_undisturbed_one(
    config_file, undisturbed, tmp_path, epoch, batch, ended, workers
):
    folder = tmp_path / "stopped"
    config = load_config(config_file, [f"output={folder}", f"training.workers={workers}"])

    def stop(progress):
        if (progress.epoch, progress.batch, progress.epoch_ended) == (epoch, batch, ended):
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted):
        train(config, report=stop)
    assert not (folder / "bundle").exists()
    train(config, resume=True)
    ours, theirs = (load_bundle(one / "bundle") for one in (folder, undisturbed))
    for name, tensor in theirs.state.items():
        assert torch.equal(tensor, ours.state[name]), name
    assert ours.info.metrics == theirs.info.metrics
    assert ours.info.postprocessing == theirs.info.postprocessing
    assert logged(folder) == logged(undisturbed)


def test_a_cross_validation_that_is_stopped_says_how_to_go_on(cli, config_file, tmp_path, monkeypatch):
    words = ("train", config_file, "--folds", 2, "-o", tmp_path / "cv", "--set", "training.epochs=1")
    whole = workflow.train
    ends = iter((1, 2, 0))

    def stopped(config, **options):
        if config.data.fold == next(ends):
            raise TrainingInterrupted
        return whole(config, **options)

    monkeypatch.setattr(workflow, "train", stopped)
    first = cli(*words)
    assert first.code == 130
    assert "nothing was kept" in first.err
    monkeypatch.setattr(workflow, "train", whole)
    ends = iter((0, 2))
    monkeypatch.setattr(workflow, "train", stopped)
    second = cli(*words)
    assert second.code == 130
    assert f"Go on with: scalefuse train --resume {tmp_path / 'cv'}" in second.err
    monkeypatch.setattr(workflow, "train", whole)
    assert cli("train", "--resume", tmp_path / "cv").code == 0
    assert (tmp_path / "cv" / "folds.csv").is_file()


def test_a_run_killed_before_its_first_epoch_was_kept_starts_again(cli, config_file, undisturbed, tmp_path):
    """The best weights are written before the checkpoint to go on from."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(undisturbed / "checkpoints" / "best.ckpt", folder / "checkpoints")
    kept = (undisturbed / "config.yaml").read_text().replace(str(undisturbed), str(folder))
    (folder / "config.yaml").write_text(kept)
    done = cli("train", config_file, "-o", folder)
    assert done.code == 0, done.text
    assert "no epoch of this run was finished; it starts again" in done.text
    assert logged(folder) == logged(undisturbed)


def test_a_training_without_enough_memory_says_what_to_lower(refused, config_file, tmp_path, monkeypatch):
    def step(self, batch, index):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("scalefuse.training.classification_task.ClassificationTask.validation_step", step)
    line = refused("train", config_file, "-o", tmp_path / "run")
    assert "ran out of memory. Lower training.batch_size" in line


def test_resuming_needs_the_same_settings(refused, undisturbed):
    line = refused("train", "--resume", undisturbed, "--set", "mix.mixup=0.1")
    assert "another `mix` section" in line
    line = refused("train", "--resume", undisturbed, "--set", "init=hifuse-pneumoniamnist")
    assert 'began with init null, but got "hifuse-pneumoniamnist"; leave the setting out' in line


def test_baseline_by_the_same_command_and_early_stop(cli, config_file, tmp_path):
    done = cli(
        "train", config_file, "-o", tmp_path / "run", "--set", "network={name: resnet18, width: 4}",
        "--set", "training.early_stop_patience=1", "--set", "training.monitor=auroc",
        "--set", "training.epochs=9", "--set", "optimizer.learning_rate=1e-30",
    )  # fmt: skip
    assert done.code == 0, done.text
    assert load_bundle(tmp_path / "run" / "bundle").info.network.name == "resnet18"
    epochs = {int(line["epoch"]) for line in logged(tmp_path / "run")}
    assert max(epochs) < 8
    assert "val/auroc" in done.out


def test_folds_spread_classes_and_keep_patients_together(cli, config_file, tmp_path):
    rows = ["path,label,patient,split,weight"]
    for name, count in (("dark", 12), ("bright", 6)):
        draw(tmp_path, name, count)
        rows += [
            f"{name}/{n:03d}.png,{name},{name}-{n // 2},{'val' if n < 2 else 'train'},{n % 2 + 0.5}"
            for n in range(count)
        ]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    done = cli(
        "train", config_file, "--folds", 3, "-o", tmp_path / "cv",
        "--set", f"data.source={tmp_path}/labels.csv", "--set", "training.epochs=1",
        "--set", "network={name: resnet18, width: 4}",
    )  # fmt: skip
    assert done.code == 0, done.text
    with (tmp_path / "cv" / "folds.csv").open(newline="") as handle:
        assert [row["fold"] for row in csv.DictReader(handle)] == ["1", "2", "3"]
    assert "val/auroc, mean of 3 folds" in done.out
    shown = cli("train", "--resume", tmp_path / "cv", "--print-config", "--set", "training.epochs=7")
    assert shown.code == 0
    assert yaml.safe_load(shown.out)["training"]["epochs"] == 7
    assert yaml.safe_load(shown.out)["data"]["folds"] is None
    # As if it had been stopped in the second fold: the first is measured again, the others are trained.
    weights = [tmp_path / "cv" / f"fold{number}" / "bundle" / "model.safetensors" for number in (1, 2, 3)]
    before = [file.read_bytes() for file in weights]
    for number in (2, 3):
        shutil.rmtree(tmp_path / "cv" / f"fold{number}")
    again = cli("train", "--resume", tmp_path / "cv")
    assert again.code == 0, again.text
    assert [file.read_bytes() for file in weights] == before
    assert again.out.splitlines()[-2:] == done.out.splitlines()[-2:]
    assert "was begun with 3 folds, but got 4" in cli("train", "--resume", tmp_path / "cv", "--folds", 4).text
    for number in (1, 2, 3):
        info = load_bundle(tmp_path / "cv" / f"fold{number}" / "bundle").info
        assert info.training_data.num_cases == 12
        # Calibrated on four dark and two bright ones each time.
        assert [len(scores) for scores in info.postprocessing["true_probabilities"]] == [4, 2]


def test_several_labels(cli, config_file, tmp_path):
    draw(tmp_path, "dark", 12)
    draw(tmp_path, "bright", 12)
    lines = [
        f"{name}/{n:03d}.png,{'|'.join(x for x in (name, 'odd' * (n % 2)) if x)}"
        for name in ("dark", "bright")
        for n in range(12)
    ]
    (tmp_path / "labels.csv").write_text("path,label\n" + "\n".join(lines))
    done = cli(
        "train", config_file, "-o", tmp_path / "run", "--set", f"data.source={tmp_path}/labels.csv",
        "--set", "data.classes=[dark, bright, odd]", "--set", "training.epochs=1", "--set", "loss.name=focal",
        "--set", "network={name: resnet18, width: 4}",
    )  # fmt: skip
    assert done.code == 0, done.text
    info = load_bundle(tmp_path / "run" / "bundle").info
    assert info.preprocessing["multi_label"]
    assert info.network.num_classes == 3


def test_a_grey_medmnist_file(cli, config_file, tmp_path):
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 12), ("val", 6)):
        labels = np.arange(count) % 2
        pixels = generator.normal(60 + 120 * labels[:, None, None], 20, (count, 28, 28))
        arrays |= {
            f"{split}_images": pixels.clip(0, 255).astype(np.uint8),
            f"{split}_labels": labels[:, None],
        }
    np.savez(tmp_path / "breastmnist.npz", **arrays)
    done = cli(
        "train", "hifuse_breastmnist", "-o", tmp_path / "run",
        "--set", f"data.source={tmp_path}/breastmnist.npz", "--set", "training.epochs=1",
        "--set", "init=null", "--set", "new_head=false",
        "--set", "network={embed_dim: 16, depths: [1, 1, 1, 1], in_channels: 1}",
        "--set", "data.size=32", "--set", "training.threads=1",
    )  # fmt: skip
    assert done.code == 0, done.text
    assert load_bundle(tmp_path / "run" / "bundle").info.labels == ("malignant", "normal or benign")
    # Pictures of an archive have no file of their own that the page could read.
    assert "data:image" in (tmp_path / "run" / "data-check.html").read_text()

    # The list of a run's images names them in the archive, so that what it held out can be measured.
    words = ("evaluate", tmp_path / "run" / "bundle", tmp_path / "run" / "images.csv", "--split", "val")
    done = cli(*words, "-o", tmp_path / "measured")
    assert done.code == 0, done.text
    listed = json.loads((tmp_path / "measured" / "summary.json").read_text())
    words = (tmp_path / "run" / "bundle", tmp_path / "breastmnist.npz", "--split", "val")
    assert cli("evaluate", *words, "-o", tmp_path / "whole").code == 0
    whole = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert listed["num_cases"] == 6
    assert listed["overall"] == whole["overall"]
    assert listed["confusion"] == whole["confusion"]


def test_a_test_part_whose_labels_are_hidden(cli, refused, config_file, tmp_path):
    rows = ["path,label,split,weight"]
    for name in ("dark", "bright"):
        draw(tmp_path, name, 6)
        rows += [f"{name}/{n:03d}.png,{name},{'val' if n > 3 else 'train'},1" for n in range(6)]
    draw(tmp_path, "middle", 2)
    (tmp_path / "labels.csv").write_text("\n".join([*rows, *(f"middle/00{n}.png,,test," for n in (0, 1))]))
    settings = ("--set", f"data.source={tmp_path}/labels.csv", "--set", "network={name: resnet18, width: 4}")
    for number, check in enumerate(("true", "false")):
        run = tmp_path / f"run{number}"
        words = ("--set", "training.epochs=1", "--set", f"data.check={check}")
        done = cli("train", config_file, "-o", run, *settings, *words)
        assert done.code == 0, done.text
        assert ("test: 2 image(s) have not exactly one label" in done.err) == (check == "true")
    assert load_bundle(run / "bundle").info.training_data.num_cases == 8
    # They cannot be measured on, and what is trained on must have labels.
    line = refused("evaluate", run / "bundle", tmp_path / "labels.csv", "-o", tmp_path / "measured")
    assert "line 14: has no label" in line
    (tmp_path / "labels.csv").write_text("\n".join([*rows, "middle/000.png,,train,1"]))
    line = refused("train", config_file, "-o", tmp_path / "bad", *settings, "--set", "data.check=false")
    assert "line 14: has no label" in line


def test_class_names_as_macos_writes_them(cli, config_file, tmp_path):
    """The same name with letter and mark apart, which looks the same on every screen."""
    for part, form in (("train", "NFC"), ("val", "NFD")):
        for level, name in (("dark", "Ödem"), ("bright", "frei")):
            draw(tmp_path / "drawn" / part, level, 5)
            (tmp_path / "set" / part).mkdir(parents=True, exist_ok=True)
            target = tmp_path / "set" / part / unicodedata.normalize(form, name)
            (tmp_path / "drawn" / part / level).rename(target)
    (apart,) = (file.name for file in (tmp_path / "set" / "val").iterdir() if file.name.endswith("dem"))
    assert len(apart) == 5
    classes = "data.classes=" + unicodedata.normalize("NFD", "[Ödem, frei]")
    done = cli(
        "train", config_file, "-o", tmp_path / "run", "--set", f"data.source={tmp_path}/set",
        "--set", classes, "--set", "training.epochs=1", "--set", "network={name: resnet18, width: 4}",
    )  # fmt: skip
    assert done.code == 0, done.text
    assert load_bundle(tmp_path / "run" / "bundle").info.labels == ("Ödem", "frei")
    done = cli(
        "evaluate", tmp_path / "run/bundle", tmp_path / "set", "--split", "val", "-o", tmp_path / "out"
    )
    assert done.code == 0, done.text
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["per_class"]["Ödem"]["cases"] == 5


def refuse(refused, config_file, tmp_path, *settings):
    options = [word for setting in settings for word in ("--set", setting)]
    line = refused("train", config_file, "-o", tmp_path / "run", *options)
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert not (tmp_path / "run" / "bundle").exists()
    return line


def test_weights_without_numbers_and_a_training_that_diverges(refused, config_file, undisturbed, tmp_path):
    bundle = load_bundle(undisturbed / "bundle")
    state = {name: tensor.clone() for name, tensor in bundle.state.items()}
    state["head.weight"][0, 0] = float("nan")
    save_bundle(tmp_path / "damaged", bundle.info, state, bundle.card)
    line = refuse(refused, config_file, tmp_path, f"init={tmp_path / 'damaged'}")
    assert "head.weight hold NaN or infinite values" in line
    line = refuse(
        refused, config_file, tmp_path, "optimizer.learning_rate=1e30", "training.gradient_clip=null"
    )
    assert "diverged in epoch 1: the network gives NaN or infinite values. Lower" in line


def test_the_positive_class_of_the_training_is_the_one_that_is_meant(cli, config_file, tmp_path):
    done = cli(
        "train", config_file, "-o", tmp_path / "run", "--set", "training.epochs=1",
        "--set", "decision={sensitivity: 0.7, positive: dark}",
    )  # fmt: skip
    assert done.code == 0, done.text
    pictures = config_file.parent / "set" / "val"
    for name, options in (("own", ()), ("asked", ("--sensitivity", "0.75"))):
        out = tmp_path / name
        done = cli("predict", tmp_path / "run" / "bundle", pictures, *options, "-o", out)
        assert done.code == 0, done.text
        point = json.loads((out / "predictions.json").read_text())["operating_point"]
        assert list(point["thresholds"]) == ["dark"]
        assert "Called: dark from a probability of" in done.err


@pytest.mark.parametrize("check", ["true", "false"])
def test_one_class_only(refused, config_file, tmp_path, check):
    draw(tmp_path / "set", "dark", 6)
    source = f"data.source={tmp_path}/set"
    line = refuse(refused, config_file, tmp_path, source, "data.classes=null", f"data.check={check}")
    assert "error" in line


@pytest.mark.parametrize("check", ["true", "false"])
def test_an_empty_class_folder(refused, config_file, tmp_path, check):
    draw(tmp_path / "set", "dark", 6)
    draw(tmp_path / "set", "bright", 6)
    (tmp_path / "set" / "middle").mkdir()
    source = f"data.source={tmp_path}/set"
    refuse(refused, config_file, tmp_path, source, "data.classes=null", f"data.check={check}")


@pytest.mark.parametrize("check", ["true", "false"])
@pytest.mark.parametrize(
    ("column", "value"), [("weight", "nan"), ("weight", "-1"), ("label", "purple"), ("path", "missing.png")]
)
def test_a_bad_line_of_a_table(refused, config_file, tmp_path, check, column, value):
    rows = []
    for name in ("dark", "bright"):
        draw(tmp_path, name, 6)
        rows += [{"path": f"{name}/{n:03d}.png", "label": name, "weight": "1"} for n in range(6)]
    rows[4][column] = value
    text = "\n".join(",".join(row.values()) for row in rows)
    (tmp_path / "labels.csv").write_text(f"path,label,weight\n{text}\n")
    source = f"data.source={tmp_path}/labels.csv"
    refuse(refused, config_file, tmp_path, source, f"data.check={check}")


@pytest.mark.parametrize("check", ["true", "false"])
def test_a_validation_label_that_training_never_saw(refused, config_file, tmp_path, check):
    for split, names in (("train", ("dark", "bright")), ("val", ("dark", "bright", "middle"))):
        for name in names:
            draw(tmp_path / "set" / split, name, 4, first=10 * (split == "val"))
    source = f"data.source={tmp_path}/set"
    refuse(refused, config_file, tmp_path, source, "data.classes=null", f"data.check={check}")


@pytest.mark.parametrize("check", ["true", "false"])
def test_an_image_of_one_pixel(refused, config_file, tmp_path, check):
    draw(tmp_path / "set", "dark", 6)
    draw(tmp_path / "set", "bright", 6)
    write_pixels(tmp_path / "set" / "dark" / "002.png", np.zeros((1, 1), np.uint8))
    source = f"data.source={tmp_path}/set"
    refuse(refused, config_file, tmp_path, source, f"data.check={check}")


def test_validation_images_of_one_class(refused, config_file, tmp_path):
    draw(tmp_path / "set" / "train", "dark", 4)
    draw(tmp_path / "set" / "train", "bright", 4)
    draw(tmp_path / "set" / "val", "dark", 4, first=20)
    (tmp_path / "set" / "val" / "bright").mkdir()
    rows = [
        f"{split}/{name}/{path.name},{name},{split}"
        for split, name in (("train", "dark"), ("train", "bright"), ("val", "dark"))
        for path in (tmp_path / "set" / split / name).iterdir()
    ]
    (tmp_path / "set" / "labels.csv").write_text("path,label,split\n" + "\n".join(rows))
    source = f"data.source={tmp_path}/set/labels.csv"
    line = refuse(refused, config_file, tmp_path, source)
    assert "4 validation image(s) show 'dark' only" in line


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data.source=null"], "data.source=FOLDER"),
        (["data.source=/no/such/folder"], "no such file or folder"),
        (["network.num_classes=3"], "num_classes is 3, but there are 2 classes"),
        (["data.classes=null", "network.num_classes=3"], "num_classes is 3, but there are 2 classes"),
        (["data.classes=null", "loss.class_weights=[1, 2, 3]"], "3 numbers, but there are 2 classes"),
        (["data.classes=[dark, bright, middle]"], "'middle'"),
        (["data.folds=30"], "30 parts"),
        (["data.fold=2"], "there are no folds; set data.folds too"),
        (["decision.sensitivity=0.95"], "needs at least 19 calibration cases of it"),
    ],
)
def test_wrong_settings(refused, config_file, tmp_path, settings, said):
    assert said in refuse(refused, config_file, tmp_path, "data.check=false", *settings)


def test_weights_of_other_classes_are_no_start(refused, config_file, tmp_path):
    config = ResNet18Config(width=4, num_classes=3)
    for name, labels in (("three", ("dark", "bright", "middle")), ("turned", ("bright", "dark"))):
        config = ResNet18Config(width=4, num_classes=len(labels))
        info = BundleInfo(name="tiny", task="classification", network=config, labels=labels)
        save_bundle(tmp_path / name, info, build(config).state_dict(), "# tiny")
    network = "network={name: resnet18, width: 4}"
    line = refuse(refused, config_file, tmp_path, network, f"init={tmp_path}/three")
    assert "tells 3 classes apart (dark, bright, middle), but the data have 2 (dark, bright)" in line
    line = refuse(refused, config_file, tmp_path, network, f"init={tmp_path}/turned")
    assert "another order (bright, dark)" in line
    checkpoint = tmp_path / "three.ckpt"
    state = build(ResNet18Config(width=4, num_classes=3)).state_dict()
    torch.save({"state_dict": {f"network.{name}": tensor for name, tensor in state.items()}}, checkpoint)
    line = refuse(refused, config_file, tmp_path, network, f"init={checkpoint}")
    assert "body.fc.bias is (3,) there and (2,) here" in line


def test_weights_that_are_not_there_are_refused_before_the_work(refused, config_file, tmp_path):
    for name in ("nowhere", "nowhere.ckpt"):
        line = refused("train", config_file, "-o", tmp_path / "run", "--set", f"init={tmp_path / name}")
        assert f"{tmp_path / name}: no such" in line
        assert not (tmp_path / "run").exists()


def test_what_fails_after_the_data_check_leaves_no_page(refused, config_file, tmp_path):
    line = refused(
        "train", config_file, "-o", tmp_path / "run", "--set", "init=hifuse-pneumoniamnist",
        "--set", "data.check=true",
    )  # fmt: skip
    assert "init" in line
    assert not (tmp_path / "run").exists()


def test_weights_of_the_same_classes_are_a_start(cli, config_file, undisturbed, tmp_path):
    done = cli(
        "train", config_file, "-o", tmp_path / "run", "--set", f"init={undisturbed / 'bundle'}",
        "--set", "training.epochs=1", "--set", "optimizer.learning_rate=1e-30",
        "--set", "optimizer.warmup_fraction=0",
    )  # fmt: skip
    assert done.code == 0, done.text
    ours, theirs = (load_bundle(one / "bundle").state for one in (tmp_path / "run", undisturbed))
    for name, tensor in theirs.items():
        if tensor.is_floating_point() and "running" not in name:
            torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-6)


def test_a_model_of_other_classes_is_a_start_with_a_new_head(cli, refused, config_file, tmp_path):
    config = ResNet18Config(width=4, num_classes=3)
    info = BundleInfo(name="three", task="classification", network=config, labels=("a", "b", "c"))
    source = build(config).state_dict()
    save_bundle(tmp_path / "three", info, source, "# three")
    run = tmp_path / "run"
    done = cli(
        "train", config_file, "-o", run, "--set", "network={name: resnet18, width: 4}",
        "--set", f"init={tmp_path}/three", "--set", "new_head=true", "--set", "training.epochs=1",
        "--set", "optimizer.learning_rate=1e-30", "--set", "optimizer.warmup_fraction=0",
    )  # fmt: skip
    assert done.code == 0, done.text
    trained = load_bundle(run / "bundle")
    assert trained.info.labels == ("dark", "bright")
    assert trained.state["body.fc.weight"].shape == (2, 32)
    for name, tensor in source.items():
        if tensor.is_floating_point() and "running" not in name and not name.startswith("body.fc."):
            torch.testing.assert_close(trained.state[name], tensor, rtol=0, atol=1e-6)
    line = refuse(refused, config_file, tmp_path / "other", "new_head=true")
    assert "there is no init to take the other weights from" in line


def test_the_images_of_a_run_are_written_down_and_must_stay(cli, refused, config_file, tmp_path):
    for name in ("dark", "bright"):
        draw(tmp_path / "set", name, 8)
    run, source = tmp_path / "run", f"data.source={tmp_path}/set"
    options = ("--set", "network={name: resnet18, width: 4}", "--set", "data.val_fraction=0.4")
    done = cli("train", config_file, "-o", run, "--set", source, *options, "--set", "training.epochs=1")
    assert done.code == 0, done.text
    with (run / "images.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    held_out = {row["path"] for row in rows if row["split"] == "val"}
    assert len(rows) == len({row["path"] for row in rows}) == 16
    assert load_bundle(run / "bundle").info.training_data.num_cases == 16 - len(held_out)

    # The list is a data set: what was held out is measured as the training measured it.
    out = tmp_path / "measured"
    done = cli("evaluate", run / "bundle", run / "images.csv", "--split", "val", "-o", out)
    assert done.code == 0, done.text
    summary = json.loads((out / "summary.json").read_text())
    assert summary["num_cases"] == len(held_out)
    assert not any("trained on" in note for note in summary["notes"])
    accuracy = load_bundle(run / "bundle").info.metrics["val/accuracy"]
    assert summary["overall"]["accuracy"]["value"] == pytest.approx(accuracy)
    # All of them together hold what was trained on, and somebody says so.
    done = cli("evaluate", run / "bundle", tmp_path / "set", "-o", tmp_path / "too-good")
    assert done.code == 0, done.text
    assert "trained on images of this part (all)" in " ".join(done.err.split())

    # Nothing changed: the run goes on. An image more would draw the parts anew.
    done = cli("train", "--resume", run, "--set", "training.epochs=2")
    assert done.code == 0, done.text
    # So it does where the images have moved to another place.
    (tmp_path / "set").rename(tmp_path / "moved")
    line = refused("train", "--resume", run, "--set", "training.epochs=3")
    assert f"{tmp_path}/set: not there, but the run to resume has it as data.source" in line
    moved = f"data.source={tmp_path}/moved"
    done = cli("train", "--resume", run, "--set", "training.epochs=3", "--set", moved)
    assert done.code == 0, done.text
    before = (run / "images.csv").read_bytes()
    (tmp_path / "set").mkdir()
    shutil.copytree(tmp_path / "moved" / "dark", tmp_path / "set" / "bright")
    shutil.copytree(tmp_path / "moved" / "bright", tmp_path / "set" / "dark")
    line = refused("train", "--resume", run, "--set", "training.epochs=4", "--set", source)
    assert "The contents of images or masks changed" in line
    draw(tmp_path / "moved", "dark", 1, first=70)
    line = refused("train", "--resume", run, "--set", "training.epochs=4")
    assert "not those that the run was begun with" in line
    assert (run / "images.csv").read_bytes() == before


def test_folds_are_looked_at_before_the_first_is_trained(refused, config_file, tmp_path):
    draw(tmp_path / "set", "dark", 12)
    draw(tmp_path / "set", "bright", 2)
    line = refused(
        "train", config_file, "--folds", 3, "-o", tmp_path / "cv", "--set", f"data.source={tmp_path}/set"
    )
    assert "Fold 3 of 3" in line
    assert "show 'dark' only" in line
    assert not (tmp_path / "cv").exists()


def test_what_is_amiss_with_folds_is_told_by_the_check(cli, config_file, tmp_path):
    draw(tmp_path / "set", "dark", 12)
    draw(tmp_path / "set", "bright", 2)
    words = (
        "train",
        config_file,
        "--folds",
        3,
        "-o",
        tmp_path / "cv",
        "--set",
        f"data.source={tmp_path}/set",
    )
    done = cli(*words)
    assert done.code == 2
    assert "data check: WARNING" in done.err
    assert not (tmp_path / "cv").exists()
    (tmp_path / "set" / "dark" / "000.png").write_bytes(b"no picture")
    done = cli(*words)
    assert done.code == 2
    assert "the data check found errors" in done.err
    last = " ".join(done.err[done.err.index("error:") :].split())
    assert "dark/000.png" in last
    assert [file.name for file in (tmp_path / "cv").iterdir()] == ["data-check.html"]


def test_a_fold_without_an_epoch_starts_again(cli, config_file, tmp_path, monkeypatch):
    """However its folder is spelt, and with more epochs."""
    for name in ("dark", "bright"):
        draw(tmp_path / "set", name, 6)
    words = (
        "--set", f"data.source={tmp_path}/set", "--set", "training.epochs=1",
        "--set", "network={name: resnet18, width: 4}",
    )  # fmt: skip
    assert cli("train", config_file, "--folds", 2, "-o", tmp_path / "cv", *words).code == 0
    second = tmp_path / "cv" / "fold2"
    before = (second / "bundle" / "model.safetensors").read_bytes()
    kept = (second / "config.yaml").read_bytes()
    shutil.rmtree(second)
    second.mkdir()
    (second / "config.yaml").write_bytes(kept)
    monkeypatch.chdir(tmp_path)
    done = cli("train", "--resume", "cv")
    assert done.code == 0, done.text
    assert "no epoch of this run was finished; it starts again" in done.err
    assert (second / "bundle" / "model.safetensors").read_bytes() == before
    shutil.rmtree(second)
    second.mkdir()
    (second / "config.yaml").write_bytes(kept)
    done = cli("train", "--resume", "cv", "--set", "training.epochs=2")
    assert done.code == 0, done.text
    assert [row["epoch"] for row in logged(second) if row["train/loss"]] == ["0", "1"]


def test_folds_and_a_plain_run_do_not_share_a_folder(cli, refused, config_file, undisturbed, tmp_path):
    folds = tmp_path / "cv"
    (folds / "fold1").mkdir(parents=True)
    shutil.copy(undisturbed / "config.yaml", folds / "fold1")
    line = refused("train", config_file, "-o", folds)
    assert f"holds a cross-validation; go on with it (--resume {folds})" in line
    assert [file.name for file in folds.iterdir()] == ["fold1"]
    before = sorted(undisturbed.rglob("*"))
    assert "holds a run already" in refused("train", config_file, "--folds", 2, "-o", undisturbed)
    assert sorted(undisturbed.rglob("*")) == before
    line = refused("train", config_file, "--folds", 2, "--val-fraction", 0.3, "-o", tmp_path / "new")
    assert "leave --val-fraction out" in line
