"""Training by the one command, whatever the network and whatever a mask means."""

import csv

import numpy as np
import pytest
import tifffile

from scalefuse.bundle import load_bundle
from scalefuse.config import config_yaml, load_config
from scalefuse.data.write import write_pixels
from scalefuse.errors import ConfigError, InputError
from scalefuse.inference.segmenter import Segmenter
from scalefuse.workflows.cross_validation import cross_validate
from scalefuse.workflows.evaluate_segmentation import evaluate
from scalefuse.workflows.predict import PredictOptions, predict
from scalefuse.workflows.train import _check_same, train

SHORT = [
    "data.size=32",
    "data.check=false",
    "training.epochs=1",
    "training.batch_size=2",
    "training.precision=fp32",
]
SMALL = {
    "msrf_net": ["network={name: msrf_net, width: 8, growth: 4}"],
    "unet": ["network={name: unet, width: 4}"],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Discs in rings: images, class indices, and one folder of masks per label."""
    folder = tmp_path_factory.mktemp("rings")
    rows, columns = np.mgrid[:40, :36]
    for split, count in (("train", 4), ("val", 2)):
        for kind in ("classes", "labels/masks/disc", "labels/masks/whole"):
            (folder / kind.replace("labels", f"labels/{split}")).mkdir(parents=True, exist_ok=True)
        for name in (f"classes/{split}/images", f"classes/{split}/masks", f"labels/{split}/images"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            generator = np.random.default_rng((number, count))
            centre = generator.uniform(14, 22, 2)
            distance = np.hypot(rows - centre[0], columns - centre[1])
            classes = (distance < 12).astype(np.uint8) + (distance < 6)
            image = generator.normal(40, 10, (40, 36, 3)) + 80 * classes[..., None]
            for task in ("classes", "labels"):
                path = folder / task / split / "images" / f"{number}.png"
                write_pixels(path, image.clip(0, 255).astype(np.uint8))
            write_pixels(folder / f"classes/{split}/masks/{number}.png", classes)
            for label, mask in (("disc", classes == 2), ("whole", classes > 0)):
                write_pixels(folder / f"labels/{split}/masks/{label}/{number}.png", mask * np.uint8(255))
    return folder


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("classes", ["data.classes={names: [ground, ring, disc]}", "network.num_classes=3"]),
        ("labels", ["data.classes={names: [disc, whole], multi_label: true}", "network.num_classes=2"]),
    ],
)
def test_classes_and_labels_are_trained_fitted_and_predicted(home, tmp_path, network, kind, settings):
    config = load_config(
        "msrf_net",
        [f"data.folder={home / kind}", f"output={tmp_path / 'run'}", *SMALL[network], *settings, *SHORT],
    )
    result = train(config)
    bundle = load_bundle(result.bundle)
    assert bundle.info.network.name == network
    assert len(bundle.info.postprocessing["classes"]) == 2
    assert 0 <= result.metrics["val/dice"] <= 1
    # The run's list of images is measured as the folder is.
    model = {"models": [str(result.bundle)], "split": "val", "engine": "torch", "precision": "fp32"}
    listed = evaluate(tmp_path / "run" / "images.csv", tmp_path / "listed", **model).summary
    assert listed == evaluate(home / kind, tmp_path / "measured", **model).summary
    assert listed["num_cases"] == 2
    (chosen_here,) = listed["notes"]
    assert "thresholds were chosen on these very images (val)" in chosen_here
    too_good = evaluate(home / kind, tmp_path / "too-good", **{**model, "split": "train"}).summary
    assert "trained on images of this part (train)" in too_good["notes"][0]
    segmenter = Segmenter.from_bundle(bundle)
    assert len(segmenter.postprocessing.classes) == 2
    found = segmenter.segment(np.zeros((37, 45, 3), np.uint8))
    assert found.mask.shape == ((37, 45) if kind == "classes" else (2, 37, 45))


def test_averages_over_views_are_what_is_fitted_and_what_the_bundle_predicts(home, tmp_path, monkeypatch):
    masks = ["data.classes={names: [ground, ring, disc], values: [0, 1, 2]}", "network.num_classes=3"]
    settings = [f"data.folder={home / 'classes'}", *SMALL["msrf_net"], *SHORT, *masks]
    plain = load_config("msrf_net", [*settings, f"output={tmp_path / 'run'}"])
    train(plain)
    before = load_bundle(tmp_path / "run" / "bundle")
    assert Segmenter.from_bundle(before).tta is False
    segment, views = Segmenter.segment, []

    def noted(self, image, **options):
        views.append(self.tta)
        return segment(self, image, **options)

    # A finished run is fitted anew, on averages: the weights stay as they are.
    monkeypatch.setattr(Segmenter, "segment", noted)
    metrics = train(plain.model_copy(update={"tta": True}), resume=True).metrics
    assert views == [True, True]
    after = load_bundle(tmp_path / "run" / "bundle")
    for name, tensor in before.state.items():
        np.testing.assert_array_equal(after.state[name].numpy(), tensor.numpy())
    assert "averages over the eight flips" in after.card
    assert "averages over the eight flips" not in before.card
    measured, said = {}, {None: "--no-tta takes one view", True: "", False: "not on one view"}
    for tta in (None, True, False):
        result = evaluate(
            home / "classes", tmp_path / f"measured-{tta}", models=[str(tmp_path / "run" / "bundle")], tta=tta
        )
        by_class = result.summary["per_image"]
        measured[tta] = np.mean([by_class[name]["dice"]["mean"] for name in ("ring", "disc")])
        assert result.summary["tta"] is (tta is not False)
        chosen_here, *views = result.summary["notes"]
        assert "thresholds were chosen on these very images (val)" in chosen_here
        assert [said[tta] in note for note in views] == [True] * (tta is not True)
    assert measured[None] == measured[True] != measured[False]
    assert metrics["val/dice"] == pytest.approx(measured[None], abs=0.002)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("init=msrf-net-nuclei", 'init null, but got "msrf-net-nuclei"'),
        ("data.size=48", "another `data` section"),
    ],
)
def test_another_beginning_is_no_resumed_run(home, tmp_path, setting, said):
    settings = [f"data.folder={home / 'classes'}", *SMALL["unet"], *SHORT, f"output={tmp_path / 'run'}"]
    masks = ["data.classes={names: [ground, ring, disc]}", "network.num_classes=3"]
    config = load_config("msrf_net", [*settings, *masks])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(config_yaml(config))
    other = load_config("msrf_net", [*settings, *masks, setting])
    with pytest.raises(ConfigError, match=said):
        train(other, resume=True)
    assert (
        _check_same(
            config.model_copy(update={"init": "runs/a/"}), config.model_copy(update={"init": "runs/a"})
        )
        is None
    )
    assert load_config(tmp_path / "run" / "config.yaml") == config


def test_labels_without_their_setting_say_how_to_give_it(home, tmp_path):
    config = load_config(
        "msrf_net",
        [f"data.folder={home / 'labels'}", f"output={tmp_path / 'run'}", "data.check=false", *SHORT],
    )
    with pytest.raises(InputError) as caught:
        train(config)
    assert "the masks folder holds folders (disc, whole); name them with --classes" in str(caught.value)
    assert "data.classes, with multi_label: true" in str(caught.value)


def test_networks_of_two_kinds_make_an_ensemble(home, tmp_path):
    bundles = []
    for name, arguments in SMALL.items():
        settings = ["data.classes={names: [ground, ring, disc]}", "network.num_classes=3"]
        config = load_config(
            "msrf_net",
            [f"data.folder={home / 'classes'}", f"output={tmp_path / name}", *arguments, *settings, *SHORT],
        )
        bundles.append(load_bundle(train(config).bundle))
    segmenter = Segmenter.from_bundle(bundles, postprocess=False)
    assert segmenter.size_multiple == 16
    picture = np.random.default_rng(0).integers(0, 256, (24, 40, 3)).astype(np.uint8)
    alone = [Segmenter.from_bundle(one, size_multiple=16).probabilities(picture) for one in bundles]
    np.testing.assert_allclose(segmenter.probabilities(picture), np.mean(alone, axis=0), atol=1e-6)


def test_post_processing_of_another_number_of_classes_is_refused(home, tmp_path):
    from scalefuse.inference.postprocessing import PostProcessing

    wrong = PostProcessing(classes=(PostProcessing(),) * 3)
    with pytest.raises(InputError, match="for 2 classes, but got it for 3"):
        Segmenter(lambda image: image, labels=("a", "b", "c"), postprocessing=wrong)


def test_folds_that_cannot_start_leave_nothing(home, tmp_path):
    config = load_config(
        "msrf_net", [f"data.folder={home / 'classes'}", f"output={tmp_path / 'new' / 'cv'}", *SHORT]
    )
    with pytest.raises(InputError):
        cross_validate(config, 99)
    assert list(tmp_path.iterdir()) == []


def test_files_of_two_channels_from_the_check_to_the_table(tmp_path):
    """Discs that only the second channel shows; the first, of far larger values, is noise."""
    rows, columns = np.mgrid[:40, :36]
    generator = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for name in ("images", "masks"):
            (tmp_path / "cells" / split / name).mkdir(parents=True)
        for number in range(count):
            disc = np.hypot(rows - generator.uniform(14, 24), columns - generator.uniform(14, 22)) < 9
            pixels = np.stack([generator.integers(0, 60_000, disc.shape), 20 + 100 * disc], axis=-1)
            pixels = pixels.astype(np.uint16)
            path = tmp_path / "cells" / split / "images" / f"{number}.tif"
            tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
            write_pixels(tmp_path / "cells" / split / "masks" / f"{number}.png", disc * np.uint8(255))
    settings = [
        f"data.folder={tmp_path / 'cells'}",
        f"output={tmp_path / 'run'}",
        "network={name: msrf_net, width: 8, growth: 4, in_channels: 2}",
        "data.intensity=minmax",
        "augmentation=null",
        "optimizer.learning_rate=0.005",
        *SHORT,
        "data.check=true",
        "training.epochs=15",
        "training.threads=1",
    ]
    result = train(load_config("msrf_net", settings))
    assert result.metrics["val/dice"] > 0.9
    model, images = str(result.bundle), tmp_path / "cells" / "val" / "images"
    measured = evaluate(tmp_path / "cells", tmp_path / "measured", models=[model]).summary
    found = predict([model], images, tmp_path / "found", PredictOptions(regions=True))
    assert (len(found.written), found.failures) == (6, [])
    ready = evaluate(tmp_path / "cells", tmp_path / "ready", predictions=tmp_path / "found").summary
    model_dice, ready_dice = (one["per_image"]["foreground"]["dice"]["mean"] for one in (measured, ready))
    assert ready_dice == pytest.approx(model_dice)
    with (tmp_path / "found" / "0_regions.csv").open(newline="") as handle:
        largest = max(csv.DictReader(handle), key=lambda row: int(row["area_px"]))
    assert float(largest["mean_intensity_1"]) == pytest.approx(30_000, rel=0.15)
    assert float(largest["mean_intensity_2"]) > 100
    write_pixels(tmp_path / "grey.png", np.zeros((40, 36), np.uint8))
    with pytest.raises(InputError, match=r"grey\.png: has 1 channel\(s\), but 2 are expected; give TIFF"):
        predict([model], tmp_path / "grey.png", tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
