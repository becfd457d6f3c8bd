"""Exports used as models: by the predictors, by the commands, and what is refused."""

import csv
import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import scalefuse
from scalefuse.bundle import load_bundle, save_bundle
from scalefuse.cli.main import main
from scalefuse.data import read_image
from scalefuse.data.phantom import head_phantom
from scalefuse.errors import BundleError, InputError
from scalefuse.inference.classifier import ClassificationPostProcessing
from scalefuse.inference.exported.model import load_model
from scalefuse.inference.segmenter import Segmenter
from scalefuse.workflows.export import ExportOptions, export


@pytest.fixture
def copied(request, tmp_path):
    """A copy of an export, which a test may spoil."""

    def copy(name):
        return shutil.copytree(request.getfixturevalue(name)[0], tmp_path / name)

    return copy


def edit(folder, **update):
    """Change both descriptions of an export."""
    for name in ("bundle.json", "export.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | update))


def picture(height, width, seed=0):
    mri = head_phantom(max(height, width, 32), seed=seed)[1]
    return np.rint(mri[:height, :width] * 255).astype(np.uint8)


def test_segmentation(segmentation, segmentation_bundle):
    exported, reference = scalefuse.load(segmentation[0]), scalefuse.load(segmentation_bundle)
    assert str(exported.computed_by) == "onnxruntime in fp32 on the CPU, as exported"
    for tta in (False, True):
        exported.tta = reference.tta = tta
        found, wanted = (one.probabilities(picture(50, 61)) for one in (exported, reference))
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    # The post-processing too, whose threshold is 0.6.
    assert exported.postprocessing == reference.postprocessing
    assert exported.postprocessing.threshold == 0.6


def test_classification(classification, classification_bundle):
    exported, reference = scalefuse.load(classification[0]), scalefuse.load(classification_bundle)
    pictures = [picture(61, 61, seed) for seed in range(5)]
    wanted = reference.logits(pictures)
    np.testing.assert_allclose(exported.logits(pictures), wanted, atol=1e-4 * np.abs(wanted).max())
    assert (exported.postprocessing.temperature, reference.postprocessing.temperature) == (0.01, 0.01)


def test_the_temperature_is_applied_once(copied, classification_bundle):
    folder = copied("classification")
    edit(folder, postprocessing={"temperature": 0.4})
    fitted = ClassificationPostProcessing(temperature=0.4)
    reference = scalefuse.load(classification_bundle, postprocessing=fitted)
    pictures = [picture(61, 61, seed) for seed in range(5)]
    wanted = reference.predict(pictures)
    # Not so sure of anything that another temperature would make no difference.
    assert ((wanted > 0.02) & (wanted < 0.98)).any()
    np.testing.assert_allclose(scalefuse.load(folder).predict(pictures), wanted, atol=1e-4)


def test_fusion(fusion, fusion_bundle, heads):
    pair = [read_image(heads / f"pairs/{name}/0.png") for name in ("CT", "MRI")]
    for strategy in (None, "softmax_nuclear_norm", "guided_bands"):
        exported = scalefuse.load(fusion[0], strategy=strategy)
        reference = scalefuse.load(fusion_bundle, strategy=strategy)
        assert exported.strategy == reference.strategy
        found, wanted = (one.fuse_images(*pair).unit for one in (exported, reference))
        np.testing.assert_allclose(found, wanted, atol=5e-4)


def test_an_ensemble_of_a_bundle_and_its_export(segmentation, segmentation_bundle):
    both = Segmenter.from_bundle([segmentation_bundle, load_model(segmentation[0])])
    alone = Segmenter.from_bundle(segmentation_bundle)
    image = picture(40, 48)
    np.testing.assert_allclose(both.probabilities(image), alone.probabilities(image), atol=1e-4)


@pytest.fixture(scope="module")
def fixed_segmentation(segmentation_bundle, heads, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fixed") / "segmentation"
    export(segmentation_bundle, folder, ExportOptions("onnx", size=(32, 40), batch=1, images=heads / "set"))
    return folder


@pytest.mark.parametrize("size", [(61, 61), (32, 40), (20, 50), (9, 9)])
@pytest.mark.parametrize("tta", [False, True])
def test_pictures_of_any_size_through_a_graph_of_one(fixed_segmentation, segmentation_bundle, size, tta):
    exported = scalefuse.load(fixed_segmentation, tta=tta)
    reference = Segmenter.from_bundle(
        segmentation_bundle, whole_image_limit=0, tile=(32, 40), tta=tta, quarter_turns=False
    )
    network = reference.engines[0]

    def mirrored(images):
        missing = 32 - images.shape[2], 40 - images.shape[3]
        padded = np.pad(images.numpy(), ((0, 0), (0, 0), (0, missing[0]), (0, missing[1])), "reflect")
        return network(torch.from_numpy(padded))[:, :, : images.shape[2], : images.shape[3]]

    reference.engines = [mirrored]
    image = picture(*size)
    found = exported.probabilities(image)
    np.testing.assert_allclose(found, reference.probabilities(image), atol=1e-4)
    if size == (32, 40):
        # Nothing is cut or mirrored: the network's own result.
        whole = Segmenter.from_bundle(segmentation_bundle, tta=tta, quarter_turns=False)
        np.testing.assert_allclose(found, whole.probabilities(image), atol=1e-4)


@pytest.mark.usefixtures("traced_once")
@pytest.mark.parametrize("size", [None, (32, 48)])
def test_a_model_of_whole_pictures_that_averages_over_views(segmentation_bundle, heads, tmp_path, size):
    info = segmentation_bundle.info
    settings = {**info.preprocessing, "resize": [32, 48], "tta": True}
    bundle = replace(segmentation_bundle, info=info.model_copy(update={"preprocessing": settings}))
    export(bundle, tmp_path / "out", ExportOptions("onnx", size=size, images=heads / "set"))
    exported = scalefuse.load(tmp_path / "out")
    reference = Segmenter.from_bundle(bundle, quarter_turns=size is None)
    assert exported.tta
    image = picture(61, 50)
    np.testing.assert_allclose(exported.probabilities(image), reference.probabilities(image), atol=1e-4)
    one_view = Segmenter.from_bundle(bundle, tta=False).probabilities(image)
    assert np.abs(exported.probabilities(image) - one_view).max() > 1e-3


@pytest.mark.usefixtures("traced_once")
def test_openvino(segmentation_bundle, heads, tmp_path):
    pytest.importorskip("openvino", reason="needs the extra `openvino`")
    folder = tmp_path / "out"
    export(segmentation_bundle, folder, ExportOptions("openvino", images=heads / "set"))
    image, reference = picture(50, 61), scalefuse.load(segmentation_bundle)
    # What else the file asks of the runtime, such as to write somewhere, is not done.
    edit(folder)
    record = json.loads((folder / "export.json").read_text())
    record["runtime_options"] = {"CACHE_DIR": str(tmp_path / "cache"), "INFERENCE_PRECISION_HINT": "bf16"}
    (folder / "export.json").write_text(json.dumps(record))
    exported = scalefuse.load(folder)
    assert str(exported.computed_by) == "openvino in fp32 on the CPU, as exported"
    np.testing.assert_allclose(exported.probabilities(image), reference.probabilities(image), atol=5e-4)
    assert not (tmp_path / "cache").exists()
    (folder / "model.bin").write_bytes((folder / "model.bin").read_bytes()[:-8])
    with pytest.raises(BundleError, match=r"model\.xml: \d+ bytes, but export\.json says"):
        load_model(folder)
    (folder / "model.bin").unlink()
    with pytest.raises(BundleError, match=r"model\.xml: no such file, or none beside it"):
        load_model(folder)


def test_a_bundle_is_not_written_over_an_export(copied, segmentation_bundle):
    folder, bundle = copied("segmentation"), segmentation_bundle
    before = sorted(file.name for file in folder.iterdir())
    with pytest.raises(BundleError, match="a folder with other files"):
        save_bundle(folder, bundle.info, bundle.state, "# other\n")
    assert sorted(file.name for file in folder.iterdir()) == before
    shutil.copy(bundle.source / "model.safetensors", folder)
    with pytest.raises(BundleError, match="not clear which is meant"):
        load_model(folder)


def test_pairs_of_another_size_than_the_graph_are_refused(fusion_bundle, heads, tmp_path):
    folder = tmp_path / "fixed"
    export(fusion_bundle, folder, ExportOptions("onnx", size=(61, 61), batch=1, images=heads / "pairs"))
    exported, reference = scalefuse.load(folder), scalefuse.load(fusion_bundle)
    rng = np.random.default_rng(0)
    pair = rng.random((2, 61, 61), dtype=np.float32)
    np.testing.assert_allclose(exported(*pair), reference(*pair), atol=5e-4)
    with pytest.raises(InputError, match=r"takes 61×61 pixels .* but got 61×62"):
        exported(*rng.random((2, 61, 62), dtype=np.float32))
    with pytest.raises(InputError, match="at least 16×16"):
        exported(*rng.random((2, 9, 9), dtype=np.float32))


def test_a_classifier_of_another_size_and_batch(classification_bundle, heads, tmp_path):
    folder = tmp_path / "fixed"
    images = heads / "classes"
    scores = {"temperature": 0.01, "true_probabilities": [[0.5] * 20] * 3}
    info = classification_bundle.info.model_copy(update={"postprocessing": scores})
    classification_bundle = replace(classification_bundle, info=info)
    export(classification_bundle, folder, ExportOptions("onnx", size=(64, 64), batch=2, images=images))
    exported = scalefuse.load(folder)
    assert exported.preprocessing.size == (64, 64)
    settings = exported.preprocessing
    reference = scalefuse.load(classification_bundle, preprocessing=settings)
    pictures = [picture(70, 61, seed) for seed in range(5)]
    np.testing.assert_allclose(exported.predict(pictures), reference.predict(pictures), atol=1e-3)
    # Three of the 65 covers are more than a batch of the graph; the rest fills none.
    found, wanted = (one.explain(pictures[0], method="occlusion") for one in (exported, reference))
    np.testing.assert_allclose(found.map, wanted.map, atol=1e-3)
    # Scores and thresholds of another size are gone, and so is what they would promise.
    assert exported.postprocessing.temperature == 0.01
    assert reference.prediction_sets(reference.predict(pictures)).any()
    with pytest.raises(InputError, match="calibrat"):
        exported.prediction_sets(exported.predict(pictures))
    with pytest.raises(InputError, match="use the bundle it was made from, or explain by occlusion"):
        exported.explain(pictures[0])
    with pytest.raises(InputError, match="shows its stages"):
        exported.embed(pictures)


@pytest.fixture
def run(monkeypatch, capsys):
    """``run("predict", …)`` gives the exit code and what was said on standard error, in one line."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["scalefuse", *map(str, words)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, " ".join(capsys.readouterr().err.split())

    return run


def test_commands_segment(run, segmentation, segmentation_bundle, heads, tmp_path):
    for name, model in (("exported", segmentation[0]), ("bundle", segmentation_bundle.source)):
        done = run("predict", model, heads / "set/images", "-o", tmp_path / name, "--probability")
        assert done[0] == 0, done
        assert ("computed by onnxruntime in fp32 on the CPU, as exported" in done[1]) == (name == "exported")
        done = run("evaluate", model, heads / "set", "-o", tmp_path / f"{name}-measured")
        assert done[0] == 0, done
    for seed in range(3):
        found, wanted = (
            read_image(tmp_path / name / f"{seed}_probability.png").pixels.astype(int)
            for name in ("exported", "bundle")
        )
        assert np.abs(found - wanted).max() <= 7
    found, wanted = (
        json.loads((tmp_path / f"{name}-measured/summary.json").read_text())
        for name in ("exported", "bundle")
    )
    assert found["pooled"]["head"] == pytest.approx(wanted["pooled"]["head"], abs=1e-3)
    assert found["computed_by"] == "onnxruntime in fp32 on the CPU, as exported"


def test_commands_classify(run, classification, classification_bundle, heads, tmp_path):
    tables = []
    for name, model in (("exported", classification[0]), ("bundle", classification_bundle.source)):
        done = run("predict", model, heads / "classes", "-o", tmp_path / name, "--precision", "fp32")
        assert done[0] == 0, done
        with (tmp_path / name / "predictions.csv").open() as handle:
            tables.append(list(csv.DictReader(handle)))
    assert [row["prediction"] for row in tables[0]] == [row["prediction"] for row in tables[1]]


def test_commands_fuse(run, fusion, fusion_bundle, heads, tmp_path):
    for name, model in (("exported", fusion[0]), ("bundle", fusion_bundle.source)):
        done = run("fuse", heads / "pairs/CT", heads / "pairs/MRI", "-m", model, "-o", tmp_path / name)
        assert done[0] == 0, done
    for seed in range(3):
        found, wanted = (
            read_image(tmp_path / name / f"{seed}.png").pixels.astype(int) for name in ("exported", "bundle")
        )
        assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (("--engine", "torch"), "torch was asked for"),
        (("--precision", "bf16"), "bf16 was asked for"),
        (("--engine", "openvino", "--precision", "bf16"), "openvino in bf16 was asked for"),
    ],
)
def test_another_engine_is_refused(run, segmentation, heads, tmp_path, options, asked):
    code, line = run("predict", segmentation[0], heads / "set/images", "-o", tmp_path / "out", *options)
    assert code == 2
    assert f"an export for onnxruntime in fp32, but {asked}" in line
    assert not (tmp_path / "out").exists()


def test_what_is_missing_or_damaged_is_named(run, copied, classification, heads, tmp_path):
    folder = copied("segmentation")
    graph = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(graph[:-100])
    with pytest.raises(BundleError, match=r"model\.onnx: \d+ bytes, but export\.json says"):
        load_model(folder)
    (folder / "model.onnx").write_bytes(bytes(len(graph)))
    with pytest.raises(BundleError, match=r"model\.onnx: onnxruntime cannot load it"):
        scalefuse.load(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx: no such file"):
        load_model(folder)
    (folder / "model.onnx").write_bytes(graph)
    own = (folder / "bundle.json").read_text()
    for other in ((classification[0] / "bundle.json").read_text(), own.replace("0.6", "0.7")):
        assert other != own
        (folder / "bundle.json").write_text(other)
        with pytest.raises(BundleError, match="describe different models"):
            load_model(folder)
    (folder / "bundle.json").unlink()
    code, line = run("evaluate", folder, heads / "set", "-o", tmp_path / "out")
    assert code == 2
    assert "an export without its bundle.json" in line
    for text in ("{", "[" * 200_000):
        (folder / "bundle.json").write_text(text)
        with pytest.raises(BundleError, match=r"bundle\.json: cannot be read"):
            load_model(folder)


def test_a_graph_of_another_export_is_blamed(copied, heads, fusion, fixed_segmentation):
    folder = copied("segmentation")
    record = json.loads((folder / "export.json").read_text())
    for source, said in (
        (fusion[0] / "encoder.onnx", r"model\.onnx: it computes nothing of pictures"),
        (fixed_segmentation / "model.onnx", r"model\.onnx: it computes nothing of pictures"),
    ):
        shutil.copy(source, folder / "model.onnx")
        record["graphs"][0]["bytes"] = source.stat().st_size
        (folder / "export.json").write_text(json.dumps(record))
        with pytest.raises(BundleError, match=said):
            scalefuse.load(folder).probabilities(picture(50, 61))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("file", "../segmentation/model.onnx"),
        ("shape", [0, 3, "height", "width"]),
        ("shape", ["batch", 3, 100, 100]),
        ("shape", ["batch", 3, -8, 8]),
        ("shape", ["batch", 3]),
    ],
)
def test_a_record_that_cannot_be_one_is_refused(copied, place, value):
    folder = copied("segmentation")
    record = json.loads((folder / "export.json").read_text())
    graph = record["graphs"][0]
    (graph if place == "file" else graph["inputs"][0])[place] = value
    (folder / "export.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match="was edited or is damaged"):
        load_model(folder)


def test_what_is_nearly_an_export_is_told_of(copied, segmentation_bundle, tmp_path):
    folder = copied("segmentation")
    for name in ("model.onnx", "export.json"):
        with pytest.raises(BundleError, match="a file of an export; give its folder"):
            load_model(folder / name)
    # A bundle that happens to lie there is one.
    bundle = segmentation_bundle
    packed = save_bundle(folder / "bundle.zip", bundle.info, bundle.state, "# the same\n")
    assert load_model(packed).state
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    with pytest.raises(BundleError, match="unzip it and give its folder"):
        load_model(packed)
    edit(folder, format_version=2)
    with pytest.raises(BundleError, match="install a newer ScaleFuse"):
        load_model(folder)


def test_commands_that_need_weights_say_so(run, segmentation, tmp_path):
    code, line = run("export", segmentation[0], "--to", "onnx", "-o", tmp_path / "again")
    assert code == 2
    assert "it is an export, and this needs the bundle that it was made from" in line
    with pytest.raises(BundleError, match="needs the bundle that it was made from"):
        export(load_model(segmentation[0]), tmp_path / "again", ExportOptions("onnx"))


def test_a_shipped_name_means_the_shipped_bundle(copied, tmp_path, monkeypatch):
    shutil.move(copied("fusion"), tmp_path / "dilran")
    monkeypatch.chdir(tmp_path)
    assert load_model("dilran").state
    assert load_bundle("dilran").state
    assert not load_model("./dilran").state
