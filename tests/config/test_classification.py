"""Configurations of classification: what is taken from the data, and what does not fit together."""

import pytest
from pydantic import ValidationError

from scalefuse.config import ClassificationRun, config_yaml, load_config
from scalefuse.config.classification import ClassificationData
from scalefuse.errors import ConfigError


def test_the_network_without_a_name_is_hifuse():
    assert load_config(None, ["task=classification", "network.embed_dim=32"]).network.name == "hifuse"
    assert load_config("hifuse", ["network={name: resnet18, width: 16}"]).network.width == 16


def test_classes_are_written_down_and_stay(tmp_path):
    run = ClassificationRun().with_classes(("a", "b", "c"), multi_label=True)
    assert (run.network.num_classes, run.data.classes, run.data.multi_label) == (3, ("a", "b", "c"), True)
    (tmp_path / "run.yaml").write_text(config_yaml(run))
    again = load_config(tmp_path / "run.yaml")
    assert again == run
    assert again.with_classes(("a", "b", "c"), multi_label=True) == run


def test_a_number_of_classes_that_was_given_must_be_that_of_the_data():
    run = load_config("hifuse", ["network.num_classes=2"])
    with pytest.raises(ConfigError, match=r"num_classes is 2, but there are 3 classes \(a, b, c\)"):
        run.with_classes(("a", "b", "c"), multi_label=False)


def test_names_of_classes_that_look_like_numbers_stay_as_they_are_written():
    """YAML 1.1 makes 8 of 010, 15 of 1_5, 16 of 0x10 and 80 of 1:20."""
    found = load_config("hifuse", ["data.classes=[01, 010, 10, 1_5, 0x10, 1:20, -3]"]).data.classes
    assert found == ("01", "010", "10", "1_5", "0x10", "1:20", "-3")
    overrides = [
        "data.classes=[0, 1]",
        "decision.sensitivity=0.9",
        "decision.positive=1",
        "training.epochs=7",
    ]
    config = load_config("hifuse", overrides)
    assert (config.data.classes, config.decision.positive, config.training.epochs) == (("0", "1"), "1", 7)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.size=24"], "data.size is 24×24; hifuse needs at least 32×32"),
        (["data.size=[64, 16]"], "64×16"),
        (["network.in_channels=2"], "1 or 3 channels"),
        (["network.name=vgg"], "hifuse.*resnet18"),
        (["training.batch_size=1"], "training.batch_size: .*greater than or equal to 2"),
        (["training.monitor=dice"], "training.monitor: .*'auroc'"),
        (["loss.class_weights=[1, .nan]"], "class_weights"),
        (["loss.class_weights=[1, -1]"], "class_weights"),
        (["loss.class_weights=heavy"], "class_weights"),
        (["loss.class_weights=[1, 2, 3]", "data.classes=[a, b]"], "3 numbers, but there are 2 classes"),
        (["data.classes=[a, a]"], "names that differ"),
        (["data.classes=[a, b]", "network.num_classes=5"], "num_classes is 5, but there are 2"),
        (["data.classes=[a, b]", "decision.sensitivity=0.9", "decision.positive=c"], "positive is 'c'"),
        (["decision.positive=a"], "decision.sensitivity"),
        (["decision.sensitivity=1"], "decision.sensitivity: .*less than 1"),
        (["data.folds=3", "data.fold=4"], "data.fold is 4, but there are 3 folds"),
        (["loss.label_smoothing=1"], "label_smoothing: .*less than 1"),
        (["optimizer.layer_decay=0"], "layer_decay: .*greater than 0"),
        (["data.std=0"], "data.std"),
        (["data.sorce=x"], "unknown key 'sorce' in data; did you mean 'source'"),
        (["mix.mixu=1"], "unknown key 'mixu' in mix; did you mean 'mixup'"),
    ],
)
def test_what_does_not_fit_is_said(overrides, said):
    with pytest.raises(ConfigError, match=said):
        load_config("hifuse", overrides)


def test_the_papers_recipe():
    run = load_config("hifuse_paper")
    rates = run.optimizer.learning_rate, run.optimizer.learning_rate * run.optimizer.final_fraction
    assert rates == pytest.approx((1e-4, 1e-6))
    assert run.optimizer.warmup_fraction * run.training.epochs == pytest.approx(1)
    assert (run.training.epochs, run.training.batch_size, run.optimizer.weight_decay) == (100, 32, 1e-2)
    assert run.data.preprocessing(multi_label=False).model_dump(exclude={"intensity", "multi_label"}) == {
        "size": (224, 224),
        "fit": "crop",
        "mean": 0.5,
        "std": 0.5,
    }
    assert run.augmentation.crop_scale == (0.08, 1.0)


@pytest.mark.parametrize("given", [[0, 1], ["0", "1"], "0, 1"])
def test_classes_may_be_numbers_or_one_text(given):
    assert ClassificationData(classes=given).classes == ("0", "1")


def test_true_and_false_are_no_names():
    with pytest.raises(ValidationError, match="valid string"):
        ClassificationData(classes=[True, False])
