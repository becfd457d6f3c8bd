"""``scalefuse evaluate --masks`` for masks of classes and labels, and what segmentation refuses."""

import csv
import json
import shutil

import nibabel
import numpy as np
import PIL.Image
import pytest
import torch

from scalefuse.bundle import BundleInfo, save_bundle
from scalefuse.catalog import NETWORKS
from scalefuse.data.write import write_pixels
from scalefuse.metrics.segmentation import dice, measure_segmentation
from scalefuse.networks.msrf_net.spec import MSRFNetConfig

SIZE = (24, 32)


def masks(number=3):
    generator = np.random.default_rng(0)
    target = np.zeros((number, *SIZE), np.uint8)
    target[:, 4:14, 4:20] = 1
    target[:, 10:20, 16:28] = 2
    found = np.where(generator.random(target.shape) < 0.1, generator.integers(0, 3, target.shape), target)
    return target, found.astype(np.uint8)


def write(folder, pictures, name="{}.png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(pictures):
        write_pixels(folder / name.format(number), pixels)


@pytest.fixture
def data(tmp_path):
    write(tmp_path / "data/images", [np.full((*SIZE, 3), 100, np.uint8)] * 3)
    return tmp_path / "data"


def values(folder, label, measure="dice"):
    with (folder / "cases.csv").open(newline="") as handle:
        return [float(row[measure]) for row in csv.DictReader(handle) if row["class"] == label]


def test_masks_of_classes(cli, data, tmp_path):
    target, found = masks()
    write(data / "masks", target)
    write(tmp_path / "made", found, "{}_mask.png")
    command = ("evaluate", data, "--masks", tmp_path / "made", "--classes", "background,disc,cup")
    done = cli(*command, "-o", tmp_path / "out")
    assert done.code == 0, done.text
    for index, label in enumerate(("disc", "cup"), start=1):
        expected = [dice(f == index, t == index) for f, t in zip(found, target, strict=True)]
        assert values(tmp_path / "out", label) == pytest.approx(expected)
    assert "mean of classes" in json.loads((tmp_path / "out/summary.json").read_text())["per_image"]
    assert (tmp_path / "out/sheet.png").is_file()


def test_colours_of_the_reference_come_from_options_or_a_configuration(cli, data, tmp_path):
    target, found = masks()
    palette = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)
    write(data / "masks", [palette[one] for one in target])
    write(tmp_path / "indices", found)
    write(tmp_path / "colours", [palette[one] for one in found])
    named = "background=#000000,disc=#ff0000,cup=#0000ff"
    (tmp_path / "run.yaml").write_text(
        "task: segmentation\nnetwork: {name: msrf_net, num_classes: 3}\ndata:\n  classes:\n"
        "    names: [background, disc, cup]\n    colours: [[0, 0, 0], [255, 0, 0], [0, 0, 255]]\n"
    )
    made = {
        "a": ("--masks", tmp_path / "indices", "--classes", named),
        "b": ("--masks", tmp_path / "colours", "--classes", named),
        "c": ("--masks", tmp_path / "colours", "--config", tmp_path / "run.yaml"),
    }
    for name, options in made.items():
        done = cli("evaluate", data, *options, "-o", tmp_path / name)
        assert done.code == 0, done.text
        assert values(tmp_path / name, "cup") == values(tmp_path / "a", "cup")
    expected = [dice(f == 2, t == 2) for f, t in zip(found, target, strict=True)]
    assert values(tmp_path / "a", "cup") == pytest.approx(expected)


def notes_of(folder):
    return json.loads((folder / "summary.json").read_text())["notes"]


@pytest.mark.parametrize(
    ("named", "values_of_masks"),
    [
        # The first mask could hold indices too; the second tells.
        ("background=0,a=2,b=4", [(0, 2), (0, 2, 4)]),
        ("background=255,a=0", [(0, 255), (0, 255)]),
        ("background=0,a=3,b=1,c=2", [(0, 1, 3), (0, 1, 2, 3)]),
    ],
)
def test_masks_are_read_alike_and_as_they_were_named(cli, tmp_path, named, values_of_masks):
    pictures = [np.resize(np.array(numbers, np.uint8), SIZE) for numbers in values_of_masks]
    write(tmp_path / "data/images", [np.full((*SIZE, 3), 100, np.uint8)] * 2)
    for folder in ("data/masks", "made"):
        write(tmp_path / folder, pictures)
    command = ("evaluate", tmp_path / "data", "--masks", tmp_path / "made", "--classes", named)
    done = cli(*command, "-o", tmp_path / "out")
    assert done.code == 0, done.text
    for label in named.split(",")[1:]:
        assert values(tmp_path / "out", label.partition("=")[0]) == [1, 1]
    # Where both readings fit all masks, that is said.
    notes = notes_of(tmp_path / "out")
    assert ["would fit class indices too" in note for note in notes] == ([] if "b=4" in named else [True])


def test_masks_named_as_predict_names_them_hold_indices(cli, tmp_path):
    indices = np.resize(np.array([0, 1, 2], np.uint8), SIZE)
    write(tmp_path / "data/images", [np.full((*SIZE, 3), 100, np.uint8)])
    write(tmp_path / "data/masks", [np.array([0, 2, 1], np.uint8)[indices]])
    write(tmp_path / "made", [indices], "{}_mask.png")
    command = ("evaluate", tmp_path / "data", "--masks", tmp_path / "made")
    done = cli(*command, "--classes", "background=0,a=2,b=1", "-o", tmp_path / "out")
    assert done.code == 0, done.text
    assert values(tmp_path / "out", "a") == values(tmp_path / "out", "b") == [1]
    (note,) = notes_of(tmp_path / "out")
    assert "read as class indices" in note
    assert "name the files as the images" in note


def test_masks_in_two_codings_are_refused_where_one_could_be_either(cli, tmp_path):
    either, indices, named = (np.resize(np.array(one, np.uint8), SIZE) for one in ((0, 2), (0, 1), (0, 2, 4)))
    write(tmp_path / "data/images", [np.full((*SIZE, 3), 100, np.uint8)] * 3)
    write(tmp_path / "data/masks", [np.resize(np.array((0, 2, 4), np.uint8), SIZE)] * 3)
    write(tmp_path / "made", [either, indices, named])
    command = ("evaluate", tmp_path / "data", "--masks", tmp_path / "made")
    done = cli(*command, "--classes", "background=0,a=2,b=4", "-o", tmp_path / "out")
    assert done.code == 2
    assert "give masks that are all alike" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["{}_mask_LABEL.png", "LABEL/{}.png"])
def test_masks_of_labels(cli, data, tmp_path, layout):
    target, found = masks()
    for index, label in ((1, "disc"), (2, "cup")):
        write(data / "masks" / label, [(one == index) * np.uint8(255) for one in target])
        name = layout.replace("LABEL", label)
        (tmp_path / "made" / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "made", [(one == index) * np.uint8(255) for one in found], name)
    done = cli(
        "evaluate", data, "--masks", tmp_path / "made", "--classes", "cup,disc", "-o", tmp_path / "out"
    )
    assert done.code == 0, done.text
    for index, label in ((1, "disc"), (2, "cup")):
        expected = [dice(f == index, t == index) for f, t in zip(found, target, strict=True)]
        assert values(tmp_path / "out", label) == pytest.approx(expected)


def test_a_label_without_a_reference_file_is_said(cli, data, tmp_path):
    target, _ = masks()
    for index, label in ((1, "disc"), (2, "cup")):
        write(data / "masks" / label, [(one == index) * np.uint8(255) for one in target])
        write(tmp_path / "made" / label, [(one == index) * np.uint8(255) for one in target])
    (data / "masks/cup/1.png").unlink()
    done = cli(
        "evaluate", data, "--masks", tmp_path / "made", "--classes", "cup,disc", "-o", tmp_path / "out"
    )
    assert done.code == 0, done.text
    assert values(tmp_path / "out", "cup") == [1, 0, 1]
    (note,) = json.loads((tmp_path / "out/summary.json").read_text())["notes"]
    assert note.startswith("1 (cup): no reference mask of this label")
    assert note[:30] in done.err


def test_distances_are_in_mm_where_the_images_say_so(cli, tmp_path):
    """As where a model is measured, whatever the files of the masks know."""
    target, found = (one.clip(0, 1) for one in masks(2))
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for number, mask in enumerate(target):
        image = nibabel.Nifti1Image(np.full(SIZE, 9, np.int16), np.diag([0.5, 2, 1, 1]))
        nibabel.save(image, tmp_path / f"data/images/{number}.nii")
        write_pixels(tmp_path / f"data/masks/{number}.png", mask * np.uint8(255))
    write(tmp_path / "made", found * np.uint8(255))
    command = ("evaluate", tmp_path / "data", "--masks", tmp_path / "made")
    for options, spacing in (((), (0.5, 2.0)), (("--no-spacing",), (1, 1))):
        done = cli(*command, *options, "-o", tmp_path / "out")
        assert done.code == 0, done.text
        assert f"distances in {'px' if options else 'mm'}" in done.out
        expected = [
            measure_segmentation(f > 0, t > 0, spacing=spacing)["assd"]
            for f, t in zip(found, target, strict=True)
        ]
        assert [
            float(row["assd"]) for row in csv.DictReader((tmp_path / "out/cases.csv").open(newline=""))
        ] == pytest.approx(expected)


def test_masks_of_labels_that_lie_elsewhere_are_said(cli, tmp_path):
    target, _ = masks(1)
    here, there = np.diag([1.0, 1, 1, 1]), np.diag([1.0, 1, 1, 1])
    there[0, 3] = 20
    made = {"data/images": here, "data/masks/disc": here, "data/masks/cup": here}
    made |= {"made/disc": here, "made/cup": there}
    for folder, affine in made.items():
        (tmp_path / folder).mkdir(parents=True)
        pixels = (target[0] > 0).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(pixels, affine), tmp_path / folder / "0.nii")
    done = cli(
        "evaluate", tmp_path / "data", "--masks", tmp_path / "made", "--classes", "cup,disc",
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0, done.text
    (note,) = json.loads((tmp_path / "out/summary.json").read_text())["notes"]
    assert note.startswith(f"{tmp_path / 'made/cup/0.nii'}: by the NIfTI affines")


def test_nearly_black_pictures_are_said(cli, data, model, tmp_path):
    target, _ = masks()
    write(data / "masks", target)
    done = cli("evaluate", model, data, "--range", "range:0:4095", "-o", tmp_path / "out")
    assert done.code == 0, done.text
    notes = json.loads((tmp_path / "out/summary.json").read_text())["notes"]
    assert any("nearly black to the network" in note for note in notes)
    assert "nearly black" in done.err


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    config = MSRFNetConfig(width=8, growth=4, num_classes=3)
    labels = ("background", "disc", "cup")
    info = BundleInfo(name="tiny", task="segmentation", network=config, labels=labels)
    network = NETWORKS["msrf_net"].build(config)
    return save_bundle(tmp_path_factory.mktemp("model") / "tiny", info, network.state_dict(), "# tiny")


def test_a_bundle_names_the_classes_and_what_it_predicts_is_measured_alike(cli, data, model, tmp_path):
    target, _ = masks()
    write(data / "masks", target)
    assert cli("predict", model, data / "images", "-o", tmp_path / "made", "--no-overlay").code == 0
    ready = cli("evaluate", model, data, "--masks", tmp_path / "made", "-o", tmp_path / "ready")
    direct = cli("evaluate", model, data, "-o", tmp_path / "direct")
    assert ready.code == direct.code == 0, ready.text + direct.text
    for label in ("disc", "cup"):
        assert values(tmp_path / "ready", label) == values(tmp_path / "direct", label)
    assert not (tmp_path / "ready/calibration.png").exists()


def test_the_folder_of_a_run_and_nearly_the_name_of_a_bundle(refused, data, model, tmp_path):
    shutil.copytree(model, tmp_path / "run/bundle")
    line = refused("evaluate", tmp_path / "run", data, "-o", tmp_path / "out")
    assert f"did you mean {tmp_path / 'run/bundle'}?" in line
    assert "did you mean 'msrf-net-nuclei'" in refused("evaluate", "msrf-net-nucleii", data)


@pytest.mark.parametrize("kind", ["values", "colours"])
def test_the_masks_mean_what_they_meant_in_training(cli, refused, data, model, tmp_path, kind):
    target, _ = masks()
    # Permuted: every value is an index of some class, so that nothing but the meaning can be wrong.
    tables = {"values": [2, 0, 1], "colours": [[0, 0, 255], [255, 0, 0], [0, 255, 0]]}
    write(data / "masks", np.array(tables[kind], np.uint8)[target])
    trained = {}
    for name, table in (("right", tables[kind]), ("wrong", tables[kind][::-1])):
        content = json.loads((model / "bundle.json").read_text())
        content["config"] = {"data": {"classes": {"names": content["labels"], kind: table}}}
        trained[name] = tmp_path / name
        shutil.copytree(model, trained[name])
        (trained[name] / "bundle.json").write_text(json.dumps(content))
    done = cli("evaluate", trained["right"], data, "-o", tmp_path / "out")
    assert done.code == 0, done.text
    write(tmp_path / "indices" / "masks", target)
    shutil.copytree(data / "images", tmp_path / "indices" / "images")
    assert cli("evaluate", model, tmp_path / "indices", "-o", tmp_path / "plain").code == 0
    for label in ("disc", "cup"):
        assert values(tmp_path / "out", label) == values(tmp_path / "plain", label)
    # Ready masks, with the bundle for the names.
    assert cli("predict", model, data / "images", "-o", tmp_path / "made", "--no-overlay").code == 0
    made = cli("evaluate", trained["right"], data, "--masks", tmp_path / "made", "-o", tmp_path / "ready")
    assert made.code == 0, made.text
    assert values(tmp_path / "ready", "cup") == values(tmp_path / "plain", "cup")
    line = refused("evaluate", trained["right"], trained["wrong"], data, "-o", tmp_path / "no")
    assert "trained on masks with different values or colours" in line


def test_an_ensemble_is_what_several_bundles_are(cli, data, model, tmp_path):
    target, _ = masks()
    write(data / "masks", target)
    by_option = cli("evaluate", model, data, "--ensemble", model, "-o", tmp_path / "a")
    both = cli("evaluate", model, model, data, "-o", tmp_path / "b")
    assert by_option.code == both.code == 0, by_option.text
    assert (tmp_path / "a/cases.csv").read_text() == (tmp_path / "b/cases.csv").read_text()


# Failures


@pytest.mark.parametrize("other", ["1.bmp", "1_mask.png"])
def test_two_masks_of_one_image_are_neither_measured(cli, data, tmp_path, other):
    target, found = masks()
    write(data / "masks", target)
    write(tmp_path / "made", found)
    PIL.Image.fromarray(target[0]).save(tmp_path / "made" / other)
    command = ("evaluate", data, "--masks", tmp_path / "made", "--classes", "background,disc,cup")
    done = cli(*command, "-o", tmp_path / "out")
    assert done.code == 3
    for name in ("1.png", other):
        assert name in done.err
    assert "2 of 3 cases" in done.out


@pytest.mark.parametrize("ending", ["_segmentation", "_seg", "_label"])
def test_masks_may_be_named_as_those_of_a_data_set(cli, data, tmp_path, ending):
    target, _ = masks()
    write(data / "masks", target, f"{{}}{ending}.png")
    command = ("evaluate", data, "--masks", data / "masks", "--classes", "background,disc,cup")
    done = cli(*command, "-o", tmp_path / "out")
    assert done.code == 0, done.text
    assert values(tmp_path / "out", "cup") == [1.0, 1.0, 1.0]


def test_a_mask_with_an_unnamed_value_and_a_missing_one_are_listed(cli, data, tmp_path):
    target, found = masks()
    found[0, 0, 0] = 7
    write(data / "masks", target)
    write(tmp_path / "made", found)
    (tmp_path / "made/1.png").unlink()
    command = ("evaluate", data, "--masks", tmp_path / "made", "--classes", "background,disc,cup")
    done = cli(*command, "-o", tmp_path / "out")
    assert done.code == 3
    assert "holds the value 7" in done.err
    assert "no mask named '1'" in done.err
    assert "1 of 3 cases" in done.out
    # Who keeps the files only sees it too: what is left out may be what went wrong.
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["num_cases"], summary["num_failed"]) == (1, 2)
    assert any("no mask named '1'" in line for line in summary["failures"])
    assert len(values(tmp_path / "out", "cup")) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--strategy", "average", "--no-baselines"), "--strategy, --no-baselines: not for segmentation"),
        (("--range-b", "minmax"), "--range-b: not for segmentation"),
        (("--sensitivity", "0.9", "--batch-size", "3"), "--sensitivity, --batch-size: not for segmentation"),
        (("--classes", "a,b,c"), "tells apart background, disc, cup"),
        (("--masks", "{made}", "--classes", "a,b,c"), "Got names and a model"),
        (("--masks", "{made}", "--fused", "{made}"), "--fused and --masks; give one"),
        (("--predictions", "x.csv"), "--predictions: for classification only"),
        (("--config", "dilran"), "configures fusion"),
    ],
)
def test_wrong_options(refused, data, model, tmp_path, options, said):
    write(data / "masks", masks()[0])
    write(tmp_path / "made", masks()[1])
    chosen = [option.format(made=tmp_path / "made") for option in options]
    assert said in refused("evaluate", model, data, *chosen, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tta",), "--tta: not for fusion"),
        (("--no-tta",), "--no-tta: not for fusion"),
        (("--split", "test", "--no-postprocess"), "--split, --no-postprocess: not for fusion"),
        (("--ensemble", "dilran"), "--ensemble: not for fusion"),
        (("--coverage", "0.9"), "--coverage: not for fusion"),
    ],
)
def test_options_that_fusion_does_not_know(refused, folders, tmp_path, options, said):
    assert said in refused("evaluate", *folders, *options, "-o", tmp_path / "out")


def test_an_engine_that_fails_at_work_is_reported(data, model, tmp_path, monkeypatch):
    from scalefuse.inference.engines.choice import EngineChoice
    from scalefuse.inference.segmenter import Segmenter
    from scalefuse.workflows.evaluate_segmentation import evaluate

    write(data / "masks", masks()[0])
    segment, failures = Segmenter.segment, []

    def falling_back(self, image, **options):
        self.computed_by = EngineChoice("openvino", "fp32", may_fall_back=True, failures=failures)
        failures.append("no such operation")
        return segment(self, image, **options)

    from_bundle = Segmenter.from_bundle.__func__

    def chosen(cls, *arguments, **options):
        segmenter = from_bundle(cls, *arguments, **options)
        segmenter.computed_by = EngineChoice("openvino", "fp32", may_fall_back=True, failures=failures)
        return segmenter

    monkeypatch.setattr(Segmenter, "segment", falling_back)
    monkeypatch.setattr(Segmenter, "from_bundle", classmethod(chosen))
    summary = evaluate(data, tmp_path / "out", models=[str(model)], engine="torch").summary
    assert summary["computed_by"] == "torch in fp32 on the CPU, where openvino failed (no such operation)"


def test_a_picture_that_does_not_fit_into_memory_is_one_line(cli, data, model, tmp_path, monkeypatch):
    from scalefuse.inference.segmenter import Segmenter

    segment = Segmenter.segment
    write(data / "masks", masks()[0])

    def hungry(self, image, **options):
        if image.source.name == "1.png":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GB")
        return segment(self, image, **options)

    monkeypatch.setattr(Segmenter, "segment", hungry)
    done = cli("evaluate", model, data, "-o", tmp_path / "out")
    assert done.code == 3
    assert "1.png: not enough memory for a picture of this size" in done.err
    assert len(values(tmp_path / "out", "cup")) == 2
