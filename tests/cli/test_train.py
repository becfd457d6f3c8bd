"""``scalefuse train`` from end to end: what it writes, stopping and going on, wrong configurations."""

import csv
import json
import resource
import shlex
import shutil
import signal

import numpy as np
import pytest
import torch
import yaml

from scalefuse.bundle import load_bundle
from scalefuse.cli.train import _told
from scalefuse.config import config_yaml, load_config
from scalefuse.data import write_image
from scalefuse.data.phantom import head_phantom
from scalefuse.workflows.run_lock import sole_training
from scalefuse.workflows.train import train


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    """Three epochs of two steps on heads of 64 pixels: everything on that a run may have."""
    home = tmp_path_factory.mktemp("data")
    for number in range(4):
        head = head_phantom(64, seed=number)
        split = "val" if number == 3 else "train"
        for name, picture in (("ct", (head.ct_hu + 100) / 1100), ("mri", head.mri)):
            (home / split / name).mkdir(parents=True, exist_ok=True)
            write_image(home / split / name / f"{number}.png", np.clip(picture, 0, 1), bits=8)
    config = {
        "name": "tiny",
        "task": "fusion",
        "description": "drawn heads",
        "licence": "none needed",
        "network": {"name": "dilran", "features": 8},
        "data": {
            **{
                split: [{"a": str(home / split / "ct"), "b": str(home / split / "mri")}]
                for split in ("train", "val")
            },
            "crop": 48,
            "flips": True,
        },
        "loss": {"fusion": {"ssim": 1.0}},
        "training": {
            "epochs": 3,
            "samples_per_epoch": 4,
            "batch_size": 2,
            "precision": "fp32",
            "ema_decay": 0.9,
            "seed": 3,
        },
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


def test_writes_everything(cli, config_file, tmp_path):
    run = tmp_path / "run"
    done = cli("train", config_file, "-o", run, "--set", "training.epochs=2")
    assert done.code == 0, done.text
    assert "3 training and 1 validation pairs" in done.err
    assert "epoch 2/2" in done.err
    assert "val/VIF" in done.out
    for name in ("best.ckpt", "last.ckpt"):
        assert (run / "checkpoints" / name).is_file()
    assert any(path.name.startswith("events.out.tfevents") for path in (run / "tensorboard").rglob("*"))
    lines = logged(run)
    assert {int(line["epoch"]) for line in lines} == {0, 1}
    assert all(np.isfinite(float(line["val/loss"])) for line in lines if line["val/loss"])

    effective = load_config(run / "config.yaml")
    assert effective == load_config(config_file, [f"output={run}", "training.epochs=2"])
    bundle = load_bundle(run / "bundle")
    assert bundle.info.config == effective.model_dump(mode="json")
    assert bundle.info.network.features == 8
    assert bundle.info.strategy == "guided_bands"
    assert bundle.info.training_data.num_cases == 3
    assert len(bundle.info.training_data.fingerprint) == 64
    assert "drawn heads" in bundle.card
    assert "none needed" in bundle.card
    assert json.loads((run / "bundle" / "bundle.json").read_text())["metrics"]["val/SSIM"] > 0

    picture = config_file.parent / "val"
    pair = (picture / "ct" / "3.png", picture / "mri" / "3.png")
    assert cli("fuse", *pair, "-m", run / "bundle", "-o", tmp_path / "x.png").code == 0


def test_the_bundle_holds_the_best_average(undisturbed):
    checkpoint = torch.load(undisturbed / "checkpoints" / "best.ckpt", weights_only=True)
    state = load_bundle(undisturbed / "bundle").state
    for name, tensor in state.items():
        assert torch.equal(tensor, checkpoint["state_dict"][f"network.{name}"])
    losses = [float(line["val/loss"]) for line in logged(undisturbed) if line["val/loss"]]
    assert checkpoint["epoch"] == int(np.argmin(losses))


def test_what_is_measured_are_the_rounded_weights(config_file, undisturbed, tmp_path):
    from scalefuse.training.fusion_data import read_pairs
    from scalefuse.workflows.train import _measure

    config = load_config(config_file, [f"output={tmp_path / 'half'}", "half=true", "training.epochs=1"])
    result = train(config)
    stored = load_bundle(result.bundle)
    assert all(
        tensor.dtype == torch.float16 for tensor in stored.state.values() if tensor.is_floating_point()
    )
    cases, _ = read_pairs(config.data.val)
    assert result.metrics == _measure(stored.build_network(), config.strategy, cases)
    whole = train(load_config(config_file, [f"output={tmp_path / 'whole'}", "training.epochs=1"]))
    assert whole.metrics != result.metrics
    assert whole.metrics == pytest.approx(result.metrics, rel=0.02)


def test_the_same_seed_gives_the_same_and_another_does_not(config_file, undisturbed, tmp_path):
    again = train(load_config(config_file, [f"output={tmp_path / 'again'}"]))
    other = train(load_config(config_file, [f"output={tmp_path / 'other'}", "training.seed=4"]))
    states = [load_bundle(path).state for path in (undisturbed / "bundle", again.bundle, other.bundle)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


class PowerCut(Exception):
    pass


@pytest.mark.parametrize(
    ("epoch", "batch", "ended"), [(2, 1, False), (2, 2, True), (3, 1, False), (3, 2, True)]
)
def test_resumed_run_equals_the_undisturbed_one(cli, config_file, undisturbed, tmp_path, epoch, batch, ended):
    def fail(progress):
        if (progress.epoch, progress.batch, progress.epoch_ended) == (epoch, batch, ended):
            raise PowerCut

    run = tmp_path / "run"
    with pytest.raises(PowerCut):
        train(load_config(config_file, [f"output={run}"]), report=fail)
    assert not (run / "bundle").exists()
    assert logged(run)
    torch.manual_seed(99)
    done = cli("train", "--resume", run)
    assert done.code == 0, done.text

    assert logged(run) == logged(undisturbed)
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = (
            torch.load(folder / "checkpoints" / name, weights_only=True) for folder in (run, undisturbed)
        )
        assert ours["epoch"] == theirs["epoch"]
        torch.testing.assert_close(ours["state_dict"], theirs["state_dict"], rtol=0, atol=0)
        torch.testing.assert_close(ours["optimizer_states"], theirs["optimizer_states"], rtol=0, atol=0)
    ours, theirs = (load_bundle(folder / "bundle") for folder in (run, undisturbed))
    assert ours.info.metrics == theirs.info.metrics
    assert all(torch.equal(ours.state[name], theirs.state[name]) for name in theirs.state)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_ends_training_which_says_how_to_go_on(started, config_file, tmp_path, number):
    run = tmp_path / "run"
    process = started("train", config_file, "-o", run, "--set", "training.epochs=500")
    lines, sent = [], False
    for line in process.stderr:
        lines.append(line)
        if line.startswith("epoch 1/500") and not sent:
            process.send_signal(number)
            sent = True
    assert process.wait(60) == 130
    text = "".join(lines)
    assert "Traceback" not in text
    assert f"scalefuse train --resume {run}" in text
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert 0 in {int(line["epoch"]) for line in logged(run)}


def test_ctrl_c_after_the_last_epoch_says_how_to_go_on(cli, config_file, tmp_path, monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    run = tmp_path / "my run (1)"
    with monkeypatch.context() as patch:
        patch.setattr("scalefuse.workflows.train._measure", stopped)
        done = cli("train", config_file, "-o", run, "--set", "training.epochs=1")
    assert done.code == 130
    line = done.err.splitlines()[-1]
    assert line == f"Stopped. Go on with: scalefuse train --resume '{run}'"
    again = cli(*shlex.split(line.partition("scalefuse ")[2]))
    assert again.code == 0, again.text
    assert (run / "bundle").is_dir()
    refused = cli("train", config_file, "-o", run)
    assert f"(--resume '{run}')" in refused.err


def test_a_finished_run_goes_on_when_it_gets_longer(cli, config_file, tmp_path):
    run = tmp_path / "run"
    cli("train", config_file, "-o", run, "--set", "training.epochs=1")
    assert cli("train", "--resume", run).code == 0
    done = cli("train", "--resume", run, "--set", "training.epochs=2")
    assert done.code == 0, done.text
    assert {int(line["epoch"]) for line in logged(run)} == {0, 1}


def test_a_run_is_not_made_shorter(cli, config_file, tmp_path):
    run = tmp_path / "run"
    cli("train", config_file, "-o", run, "--set", "training.epochs=3")
    before = {name: (run / name).read_bytes() for name in ("config.yaml", "metrics.csv")}
    for epochs in (1, 2):
        done = cli("train", "--resume", run, "--set", f"training.epochs={epochs}")
        assert done.code == 2
        expected = f"3 epochs are done, but training.epochs is {epochs}; leave it out, or give 3"
        assert expected in " ".join(done.err.split())
    assert {name: (run / name).read_bytes() for name in before} == before
    done = cli("train", "--resume", run)
    assert done.code == 0, done.text
    assert "all 3 epochs were done already" in done.err


def test_a_resumed_run_has_its_own_configuration(cli, config_file, tmp_path):
    done = cli("train", config_file, "--resume", tmp_path / "run")
    assert done.code == 2
    assert "--resume takes the run's own configuration; leave" in " ".join(done.err.split())


def test_early_stop(cli, config_file, tmp_path):
    settings = (
        "training.epochs=9",
        "training.early_stop_patience=1",
        "training.ema_decay=null",
        "optimizer.learning_rate=1e-30",
        "optimizer.weight_decay=0",
    )
    done = cli("train", config_file, "-o", tmp_path / "run", *(f"--set={setting}" for setting in settings))
    assert done.code == 0
    assert max(int(line["epoch"]) for line in logged(tmp_path / "run")) == 1


def test_without_validation_data_a_part_is_held_out(cli, config_file, tmp_path):
    settings = ("training.epochs=1", "data.val=[]", "data.val_fraction=0.3")
    done = cli("train", config_file, "-o", tmp_path / "run", *(f"--set={setting}" for setting in settings))
    assert "2 training and 1 validation pairs" in done.err
    settings = ("training.epochs=1", "data.val=[]", "data.val_fraction=0")
    done = cli("train", config_file, "-o", tmp_path / "none", *(f"--set={setting}" for setting in settings))
    assert done.code == 0, done.text
    assert (tmp_path / "none" / "bundle" / "bundle.json").is_file()


def test_print_config_is_a_config(cli, config_file, tmp_path):
    done = cli("train", config_file, "--set", "optimizer.learning_rate=2e-4", "--print-config")
    assert done.code == 0
    (tmp_path / "printed.yaml").write_text(done.out)
    assert load_config(tmp_path / "printed.yaml") == load_config(
        config_file, ["optimizer.learning_rate=2e-4"]
    )
    assert cli("train", tmp_path / "printed.yaml", "--print-config").out == done.out


# What cannot start


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.epoch=3", ("'epoch'", "training", "'epochs'")),
        ("trainig.epochs=3", ("'trainig'", "top level", "'training'")),
        ("loss.fusion.sim=1", ("'sim'", "loss.fusion", "'ssim'")),
        ("data.train.0.rangea=full", ("'rangea'", "data.train.0", "'range_a'")),
        ("network.feature=8", ("'feature'", "network", "'features'")),
        ("training.epochs=many", ("training.epochs", "many")),
        ("training.epochs=0", ("training.epochs", "0")),
        ("strategy=local_enrgy_ratio", ("local_enrgy_ratio", "local_energy_ratio")),
        ("data.train.7.a=x", ("7", "list")),
        ("training", ("key=value",)),
        ("task=fussion", ("fussion", "fusion")),
        ("data.crop=1000", ("64×64", "1000", "data.crop")),
        ("data.train=[]", ("data.train",)),
        ("data.train.0.a=/no/such/folder", ("/no/such/folder",)),
        ("data.train.0.a=$NO_SUCH_VARIABLE_42/x", ("NO_SUCH_VARIABLE_42",)),
    ],
)
def test_wrong_settings_leave_nothing(refused, config_file, tmp_path, setting, said):
    line = refused("train", config_file, "-o", tmp_path / "run", "--set", setting)
    for word in said:
        assert word in line
    assert not (tmp_path / "run").exists()


def test_second_run_in_the_same_folder(refused, config_file, undisturbed):
    before = sorted((path, path.stat().st_mtime_ns) for path in undisturbed.rglob("*"))
    line = refused("train", config_file, "-o", undisturbed)
    assert "--resume" in line
    assert sorted((path, path.stat().st_mtime_ns) for path in undisturbed.rglob("*")) == before


@pytest.mark.parametrize("words", [("{file}", "-o", "{run}"), ("--resume", "{run}")])
def test_a_run_killed_in_its_first_epoch_starts_again(cli, config_file, undisturbed, tmp_path, words):
    run = tmp_path / "killed"
    printed = cli("train", config_file, "-o", run, "--print-config").out
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text(printed)
    (run / "metrics.csv").write_text("epoch,step,train/loss\n0,1,9.0\n")
    done = cli("train", *(word.format(file=config_file, run=run) for word in words))
    assert done.code == 0, done.text
    assert "no epoch of this run was finished; it starts again" in done.err
    assert logged(run) == logged(undisturbed)


def test_what_cannot_go_on_is_not_taken_away(refused, config_file, tmp_path):
    """A drive that is not there today must not cost the settings of a run."""
    home = tmp_path / "data"
    shutil.copytree(config_file.parent, home)
    (home / "c.yaml").write_text(config_file.read_text().replace(str(config_file.parent), str(home)))
    run = tmp_path / "killed"
    run.mkdir()
    text = config_yaml(load_config(home / "c.yaml", [f"output={run}"]))
    (run / "config.yaml").write_text(text)
    home.rename(tmp_path / "elsewhere")
    assert "no such file or folder" in refused("train", "--resume", run)
    assert (run / "config.yaml").read_text() == text


def test_a_killed_run_of_another_configuration_stands(refused, config_file, undisturbed, tmp_path):
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "config.yaml").write_bytes((undisturbed / "config.yaml").read_bytes())
    line = refused("train", config_file, "-o", tmp_path / "killed", "--set", "training.seed=99")
    assert "another configuration; delete the folder" in line
    assert [file.name for file in (tmp_path / "killed").iterdir()] == ["config.yaml"]


def test_two_trainings_do_not_share_a_folder(refused, cli, config_file, undisturbed, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(cli("train", config_file, "-o", run, "--print-config").out)
    with sole_training(run):
        for words in ((config_file, "-o", run), ("--resume", run)):
            assert "another process is training there" in refused("train", *words)
    assert (run / "config.yaml").is_file()


def test_no_room_for_a_checkpoint(refused, cli, config_file, tmp_path):
    """A real refusal by the system: files may not grow beyond 16 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16384, hard))
    try:
        line = refused("train", config_file, "-o", tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "best.ckpt: cannot be written" in line
    assert not list(tmp_path.rglob("*.ckpt"))
    # Nothing that looks like a run stands in the way of a second try.
    assert cli("train", config_file, "-o", tmp_path / "run").code == 0


def test_resume_without_a_run(refused, tmp_path):
    assert "no run to resume" in refused("train", "--resume", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_resume_with_another_model_or_a_damaged_checkpoint(refused, config_file, undisturbed, tmp_path):
    assert "network" in refused("train", "--resume", undisturbed, "--set", "network.features=16")
    assert "optimizer" in refused("train", "--resume", undisturbed, "--set", "optimizer.learning_rate=0.1")
    assert "training" in refused("train", "--resume", undisturbed, "--set", "training.seed=99")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_bytes((undisturbed / "config.yaml").read_bytes())
    data = (undisturbed / "checkpoints" / "last.ckpt").read_bytes()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(data[: len(data) // 2])
    assert "damaged" in refused("train", "--resume", tmp_path)


def test_output_in_the_way(refused, config_file, tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in refused("train", config_file, "-o", tmp_path / "file")


def test_missing_partner(refused, config_file, tmp_path):
    for name, numbers in (("ct", "01"), ("mri", "0")):
        for number in numbers:
            (tmp_path / name).mkdir(exist_ok=True)
            write_image(tmp_path / name / f"{number}.png", np.zeros((64, 64)), bits=8)
    folders = f"data.train=[{{a: {tmp_path / 'ct'}, b: {tmp_path / 'mri'}}}]"
    line = refused("train", config_file, "-o", tmp_path / "run", "--set", folders)
    assert "1.png" in line


def test_whole_images_of_two_sizes(refused, config_file, tmp_path):
    for number, side in enumerate((64, 72)):
        for name in ("ct", "mri"):
            (tmp_path / name).mkdir(exist_ok=True)
            write_image(tmp_path / name / f"{number}.png", np.zeros((side, side)), bits=8)
    folders = f"data.train=[{{a: {tmp_path / 'ct'}, b: {tmp_path / 'mri'}}}]"
    line = refused("train", config_file, "-o", tmp_path / "run", "--set", folders, "--set", "data.crop=null")
    for word in ("64×64", "72×72", "data.crop"):
        assert word in line


def test_a_run_goes_on_with_the_pairs_that_it_was_begun_with(cli, refused, config_file, tmp_path):
    home = config_file.parent
    pairs = {"a": shutil.copytree(home / "train" / "ct", tmp_path / "ct")}
    pairs["b"] = shutil.copytree(home / "train" / "mri", tmp_path / "mri")
    run = tmp_path / "run"
    data = f"data.train=[{{a: {pairs['a']}, b: {pairs['b']}}}]"
    done = cli("train", config_file, "-o", run, "--set", data, "--set", "training.epochs=1")
    assert done.code == 0, done.text
    for folder in pairs.values():
        (folder / "2.png").unlink()
    line = refused("train", "--resume", run, "--set", "training.epochs=2")
    assert "0 new or changed, 1 missing or changed" in line


def test_what_is_told_of_an_epoch_are_losses_and_measures():
    values = {
        "train/loss": 1.0,
        "train/mask_dice": 0.95,
        "val/mask_dice": 0.9,
        "val/loss": 2.0,
        "val/dice": 0.05,
    }
    assert _told(values) == "train/loss 1  val/loss 2  val/dice 0.05"
    assert _told({"val/auroc": 0.81234, "val/accuracy": 0.5}) == "val/accuracy 0.5  val/auroc 0.8123"


def test_a_folder_of_the_home_and_weights_from_there(cli, config_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    short = ("--set", "training.epochs=1")
    done = cli("train", config_file, "--set", "output=~/first", *short)
    assert done.code == 0, done.text
    assert (tmp_path / "first" / "bundle").is_dir()
    more = ("--set", "init=~/first/bundle", "-o", tmp_path / "second")
    done = cli("train", config_file, *more, *short)
    assert done.code == 0, done.text
    assert cli("train", "--resume", tmp_path / "second", "--set", "training.epochs=2").code == 0


def test_weights_of_another_task_are_refused_at_once(refused, config_file, tmp_path):
    line = refused("train", config_file, "--set", "init=msrf-net-nuclei", "-o", tmp_path / "run")
    assert "is a segmentation model, but a fusion one is needed" in line


def test_no_run_to_resume_is_said_with_settings_too(refused, tmp_path):
    line = refused("train", "--resume", tmp_path / "nope", "--set", "training.epochs=3")
    assert "no run to resume" in line
