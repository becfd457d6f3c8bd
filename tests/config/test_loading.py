"""Reading configurations: files, overrides, and messages that name the key, the place and the nearest."""

from pathlib import Path

import pytest
import yaml

from scalefuse.config import (
    ClassificationRun,
    FusionRun,
    SegmentationRun,
    config_yaml,
    load_config,
    shipped_configs,
)
from scalefuse.config.base import expand_path
from scalefuse.errors import ConfigError


@pytest.fixture(autouse=True)
def data_folder(monkeypatch):
    monkeypatch.setenv("SCALEFUSE_DATA", "/data")


@pytest.mark.parametrize("name", shipped_configs())
def test_shipped_configs_are_whole_and_round_trip(name, tmp_path):
    config = load_config(name)
    assert isinstance(config, FusionRun | SegmentationRun | ClassificationRun)
    (tmp_path / "printed.yaml").write_text(config_yaml(config))
    assert load_config(tmp_path / "printed.yaml") == config
    assert config.name.replace("-", "_") == name


def test_everything_is_printed():
    printed = yaml.safe_load(config_yaml(load_config("dilran")))
    assert set(printed) == set(FusionRun.model_fields)
    assert set(printed["training"]) == set(FusionRun.model_fields["training"].annotation.model_fields)


def test_defaults_without_a_file():
    assert load_config() == FusionRun()
    assert isinstance(load_config(None, ["task=segmentation"]), SegmentationRun)
    assert load_config(None, ["task=classification"]) == ClassificationRun()


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("optimizer.learning_rate=1e-4", "optimizer", "learning_rate", 1e-4),
        ("optimizer.learning_rate=0.5", "optimizer", "learning_rate", 0.5),
        ("training.epochs=7", "training", "epochs", 7),
        ("training.ema_decay=null", "training", "ema_decay", None),
        ("training.early_stop_patience=3", "training", "early_stop_patience", 3),
        ("network.dilations=[1, 2]", "network", "dilations", (1, 2)),
        ("data.flips=false", "data", "flips", False),
        ("data.subject_pattern='^(a=b)'", "data", "subject_pattern", "^(a=b)"),
    ],
)
def test_overrides(override, section, key, value):
    assert getattr(getattr(load_config("dilran", [override]), section), key) == value


def test_overrides_reach_into_lists_and_new_sections():
    config = load_config("dilran", ["data.train.1.range_a=window:40:80", "data.train.0.a=~/x"])
    assert str(config.data.train[1].range_a) == "window:40:80"
    assert expand_path(config.data.train[0].a) == Path("~/x").expanduser()
    assert load_config("dilran_paper", ["loss.fusion.ssim=3"]).loss.fusion.ssim == 3


def test_later_overrides_win():
    assert load_config("dilran", ["training.epochs=7", "training.epochs=8"]).training.epochs == 8


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epoch=3", "unknown key 'epoch' in training; did you mean 'epochs'?"),
        ("optimiser.name=adam", "unknown key 'optimiser' in the top level; did you mean 'optimizer'?"),
        ("loss.fusion.qabff=1", "unknown key 'qabff' in loss.fusion; did you mean 'qabf'?"),
        ("data.val.1.rangeb=full", "unknown key 'rangeb' in data.val.1; did you mean 'range_b'?"),
        ("network.xyz=1", "unknown key 'xyz' in network; expected one of: name, features, dilations"),
        ("training.epochs=three", "training.epochs: .*'three'"),
        ("training.precision=fp16", "training.precision: .*'fp32'.*'fp16'"),
        ("training.batch_size=0", "training.batch_size: .*greater than or equal to 1"),
        ("optimizer.learning_rate=nan", "learning_rate"),
        ("training.ema_decay=1", "training.ema_decay: .*less than 1"),
        ("data.train.0.range_a=window:40", "window:CENTRE:WIDTH"),
        ("strategy=best", "unknown strategy 'best'.*local_energy_ratio"),
        ("loss.perceptual=0.2", "perceptual_weights"),
        ("name=../up", "name: "),
        ("training.epochs.more=1", "training.epochs is a value"),
        ("data.train.9.a=x", "'9' is no entry of a list of 3"),
        ("data.train.first.a=x", "'first' is no entry"),
        ("training.epochs", "expected key=value"),
        ("=3", "expected key=value"),
        ("training.epochs=[", "not valid YAML"),
        ("task=[fusion]", "unknown task"),
        ("task=null", "unknown task"),
        ("task=klassification", "unknown task 'klassification'"),
        ("description=2024-13-45", "not valid YAML"),
    ],
)
def test_wrong_overrides(override, said):
    with pytest.raises(ConfigError, match=said):
        load_config("dilran", [override])


def test_a_networks_keys_are_its_own():
    base = ["task=segmentation"]
    assert load_config(None, [*base, "network.width=16"]).network.name == "msrf_net"
    assert load_config(None, [*base, "network.name=unet", "network.width=42"]).network.width == 42
    for overrides, said in [
        (["network.name=unet", "network.growth=3"], "'growth' in network; did you mean"),
        (["network.name=unet", "network.wdth=3"], "'wdth' in network; did you mean 'width'"),
        (["network.grwth=3"], "'grwth' in network; did you mean 'growth'"),
        (["network.name=vnet"], "network.name: expected one of 'msrf_net', 'unet', but got 'vnet'"),
        (["network.name=msrfnet"], "but got 'msrfnet'; did you mean 'msrf_net'"),
        (["network.width=0"], r"network.width: input should be greater than or equal to 8 \(got 0\)$"),
        (["data.size=0"], r"data.size: input should be greater than or equal to 32 \(got 0\)$"),
        (["data.size=wide"], r"data.size: input should be a valid integer, .* \(got 'wide'\)$"),
        (["data.size=[64]"], "configuration: data.size.1: field required$"),
        (["network=3"], r"network: expected a section with keys \(got 3\)$"),
        (["data.size=null"], "data.size: input should be a valid integer, or expected a list$"),
        (["a[b]=3"], r"unknown key 'a\[b\]' in the top level"),
        (["network.width[0]=3"], r"unknown key 'width\[0\]' in network; did you mean 'width'"),
        (
            ["data.classes={names: [no, yes]}"],
            r"names.0: .*\(got False, as YAML reads no, .* quotation marks",
        ),
        (["data.classes={names: [2, 1.5]}"], r"names.0: .*\(got 2, as YAML reads numbers; a name needs"),
        (["init=off"], r"init: .*\(got False, .* and none is null\)$"),
        (["augmentation=3"], r"augmentation: expected a section with keys \(got 3\)$"),
        (["network.name=unet", "data.size=40"], "unet needs multiples of 16"),
        (["network.name=msrf_net", "data.size=36"], "msrf_net needs multiples of 8"),
    ]:
        with pytest.raises(ConfigError, match=said):
            load_config(None, [*base, *overrides])


def test_all_problems_are_named_at_once():
    with pytest.raises(ConfigError, match=r"learning_rat.*epoch") as caught:
        load_config("dilran", ["training.epoch=3", "optimizer.learning_rat=1"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "not valid YAML at line"),
        ("- 1\n- 2", "expected `key: value` lines .*, but got list"),
        ("just words", "got str"),
        ("1: 2", "keys should be strings"),
        ("training: 3", "training"),
        ("training:\n  epochs: 3\n  epoch: 4", "'epoch' in training"),
        ("name: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("description: 2024-13-45", "not valid YAML"),
        ("training: {epochs: 7}\ntraining: {batch_size: 2}", "at line 2 .*'training' is given twice"),
        ("training:\n  epochs: 7\n  epochs: 8", "at line 3 .*'epochs' is given twice"),
        ("training: {seed: 99999999999999999999999}", "training.seed"),
        ("optimizer: {learning_rate: .inf}", "optimizer.learning_rate"),
        ("loss: {mse: 0, gradient: 0.2}", "how bright a picture is"),
        (
            "loss: {mse: 0, gradient: 0, fusion: {ssim: 0, vif: 0, qabf: 0, scd: 0, intensity: 0}}",
            "every weight of the loss is 0",
        ),
        ("task: classification\nloss: {name: focal, focal_gamma: 0.5}", "for 0 and from 1 on"),
    ],
)
def test_wrong_files(tmp_path, text, said):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_config(path)
    assert "run.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("often", "loss.class_weights: input should be 'none' or 'balanced' (got 'often')"),
        (
            "[1, b]",
            "loss.class_weights.1: input should be a valid number, unable to parse string as a number",
        ),
    ],
)
def test_only_the_kind_that_a_value_is_of_is_explained(value, said):
    with pytest.raises(ConfigError) as caught:
        load_config("hifuse", [f"loss.class_weights={value}"])
    assert str(caught.value).startswith(f"hifuse: {said}")
    assert ";" not in str(caught.value)


def test_binary_and_empty_files(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x9f")
    with pytest.raises(ConfigError, match=r"binary\.yaml: not valid YAML"):
        load_config(tmp_path / "binary.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    with pytest.raises(ConfigError, match=r"such as `task: segmentation`, but got an empty file"):
        load_config(tmp_path / "empty.yaml")


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'dilran_paper'"):
        load_config("dilran_papr")


def test_unset_variables_are_named(monkeypatch):
    monkeypatch.delenv("SCALEFUSE_DATA")
    config = load_config("dilran")  # it can be shown without the data
    assert str(config.data.train[0].a).startswith("${SCALEFUSE_DATA}")
    with pytest.raises(ConfigError, match=r"SCALEFUSE_DATA .* is not set"):
        expand_path(config.data.train[0].a)
    monkeypatch.setenv("SCALEFUSE_DATA", "elsewhere")
    assert expand_path(config.data.train[0].a).parts[0] == "elsewhere"


def test_names_that_can_be_no_files():
    with pytest.raises(ConfigError, match="no such configuration"):
        load_config("x" * 300)


def test_folders_of_a_home_and_of_variables(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SOMEWHERE_42", str(tmp_path / "b"))
    assert load_config("dilran", ["output=~/a"]).run_folder == tmp_path / "a"
    assert load_config("dilran", ["output=${SOMEWHERE_42}/c"]).run_folder == tmp_path / "b" / "c"
    with pytest.raises(ConfigError, match="not known here"):
        expand_path(Path("~nobody-of-this-name/x"))


def test_what_is_printed_of_a_classification_fits_any_number_of_classes():
    printed = config_yaml(load_config("hifuse"))
    assert "num_classes" not in printed
    given = load_config("hifuse", ["network.num_classes=3"])
    assert "num_classes: 3" in config_yaml(given)
