"""Exports of every task: what is written, that it computes the same, at sizes that it was not traced at."""

import dataclasses
import json
import shutil

import numpy as np
import onnx
import pytest
import torch

from scalefuse.bundle import load_bundle
from scalefuse.data.read import read_image
from scalefuse.data.write import write_image
from scalefuse.errors import BundleError, InputError, OutputError
from scalefuse.export import samples
from scalefuse.export.page import export_page
from scalefuse.export.parity import compare
from scalefuse.export.samples import find_samples
from scalefuse.inference.classifier import Classifier
from scalefuse.inference.exported.record import ExportRecord
from scalefuse.inference.exported.runtime import open_graph
from scalefuse.inference.fuser import Fuser
from scalefuse.workflows.export import ExportOptions, export


def test_the_folder_of_a_fusion_export(fusion):
    folder, record = fusion
    names = {"encoder.onnx", "decoder.onnx", "export.json", "bundle.json", "README.md"}
    assert {file.name for file in folder.iterdir()} == names
    assert ExportRecord.model_validate_json((folder / "export.json").read_text()) == record
    assert record.strategy == "local_energy_ratio"
    assert record.opset == onnx.load(folder / "encoder.onnx").opset_import[0].version == 18
    encoder, decoder = record.graphs
    assert encoder.inputs[0].shape == ("batch", 1, "height", "width")
    assert decoder.inputs[0].shape == encoder.outputs[0].shape == ("batch", 8, "height", "width")
    assert decoder.outputs[0].shape == ("batch", 1, "height", "width")
    assert record.parity.num_images == 3
    assert "3 pairs of pictures" in record.parity.images
    assert "'pairs'" in (folder / "README.md").read_text()
    assert "`scalefuse fuse -m FOLDER …`" in (folder / "README.md").read_text()


def test_shapes_in_the_file_are_those_of_the_record(fusion, segmentation, classification):
    for folder, record in (fusion, segmentation, classification):
        for graph in record.graphs:
            model = onnx.load(folder / graph.file)
            onnx.checker.check_model(model)
            for tensors, written in (
                (model.graph.input, graph.inputs),
                (model.graph.output, graph.outputs),
            ):
                shapes = {
                    one.name: tuple(d.dim_param or d.dim_value for d in one.type.tensor_type.shape.dim)
                    for one in tensors
                }
                assert shapes == {one.name: one.shape for one in written}


def test_fusion_at_other_sizes_and_batches(fusion, fusion_bundle):
    folder, record = fusion
    network = fusion_bundle.build_network()
    encoder, decoder = (open_graph(folder / graph.file, "onnx") for graph in record.graphs)
    for shape in ((1, 1, 16, 16), (3, 1, 33, 70)):
        image = torch.rand(shape, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            features = network.encode(image)
            picture = network.decode(features).clamp(0, 1)
        found = encoder(image.numpy())["features"]
        np.testing.assert_allclose(found, features.numpy(), atol=2e-5)
        np.testing.assert_allclose(decoder(found)["fused"], picture.numpy(), atol=1e-5)


def test_segmentation_at_other_sizes_and_batches(segmentation, segmentation_bundle):
    folder, record = segmentation
    (graph,) = record.graphs
    assert graph.dynamic_axes["width"].model_dump() == {"smallest": 8, "multiple_of": 8}
    assert record.postprocessing == {"threshold": 0.6}
    network, run = segmentation_bundle.build_network(), open_graph(folder / graph.file, "onnx")
    for shape in ((1, 3, 8, 8), (3, 3, 40, 24)):
        image = torch.rand(shape, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            logits = network(image).mask
        found = run(image.numpy())
        np.testing.assert_allclose(found["logits"], logits.numpy(), atol=1e-4)
        np.testing.assert_allclose(found["probability"], logits.sigmoid().numpy(), atol=1e-5)


def test_parity_is_measured_and_bounded(segmentation, classification, fusion):
    for _, record in (segmentation, classification, fusion):
        parity = record.parity
        assert parity.bounds == {"max_abs_difference": 1e-4}
        # Exact equality would mean that something was compared with itself.
        assert 0 < parity.mean_abs_difference <= parity.max_abs_difference <= 1e-4
        assert parity.num_images == 3
    assert segmentation[1].parity.agreement["min_dice"] > 0.99
    assert classification[1].parity.agreement == {"top1": 1.0}
    assert fusion[1].parity.agreement == {"pixels_within_1": 1.0, "pixels_within_4": 1.0}


def test_a_classifier_needs_nothing_but_the_image(classification, classification_bundle, heads):
    folder, record = classification
    (graph,) = record.graphs
    assert graph.inputs[0].shape == ("batch", 3, 40, 48)
    assert record.standardised_inside
    from scalefuse.data.classification_input import ClassificationPreprocessing, prepare

    settings = ClassificationPreprocessing.model_validate(record.preprocessing)
    images = [read_image(heads / f"pairs/MRI/{seed}.png") for seed in range(3)]
    batch = np.stack([prepare(image, settings, 3).numpy() for image in images])
    found = open_graph(folder / graph.file, "onnx")(batch)
    classifier = Classifier.from_bundle(classification_bundle)
    expected = classifier.predict(images)
    # The temperature makes the random network's probabilities differ by much.
    assert expected.std() > 0.05
    np.testing.assert_allclose(found["probability"], expected, atol=1e-5)
    np.testing.assert_allclose(found["logits"], classifier.logits(images), atol=1e-5)


def test_metadata_and_fixed_shapes(fusion_bundle, heads, tmp_path):
    options = ExportOptions("onnx", size=(48, 32), batch=2, images=heads / "pairs")
    record = export(fusion_bundle, tmp_path / "fixed", options)
    model = onnx.load(tmp_path / "fixed" / "encoder.onnx")
    assert {one.key: one.value for one in model.metadata_props}["name"] == "tiny-fusion"
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [2, 1, 48, 32]
    assert record.graphs[0].inputs[0].shape == (2, 1, 48, 32)
    assert record.graphs[0].dynamic_axes == {}
    assert record.parity.num_images == 3


@pytest.mark.usefixtures("traced_once")
def test_half_weights_halve_the_file(fusion, fusion_bundle, heads, tmp_path):
    # Only the encoder's dilated convolutions and the like are large enough to matter.
    record = export(fusion_bundle, tmp_path / "half", ExportOptions("onnx", "fp16", images=heads / "pairs"))
    types = {one.data_type for one in onnx.load(tmp_path / "half" / "encoder.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    assert record.graphs[0].bytes < fusion[1].graphs[0].bytes
    assert 1e-6 < record.parity.max_abs_difference < 0.01
    assert record.parity.bounds == {"pixels_within_1": 0.97, "pixels_within_4": 1.0}


@pytest.mark.usefixtures("traced_once")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino(fusion_bundle, heads, tmp_path, precision):
    pytest.importorskip("openvino", reason="needs the extra `openvino`")
    folder = tmp_path / "openvino"
    record = export(fusion_bundle, folder, ExportOptions("openvino", precision, images=heads / "pairs"))
    assert {file.suffix for file in folder.iterdir()} == {".xml", ".bin", ".json", ".md"}
    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    assert record.runtime_options == {"INFERENCE_PRECISION_HINT": hint}
    assert record.parity.agreement["pixels_within_4"] == 1.0
    fuser = Fuser.from_bundle(fusion_bundle)
    pair = [read_image(heads / f"pairs/{name}/0.png") for name in ("CT", "MRI")]
    expected = fuser.fuse_images(*pair).unit
    from scalefuse.inference.exported.runtime import engine_of

    runs = {
        graph.role: open_graph(folder / graph.file, "openvino", options=record.runtime_options)
        for graph in record.graphs
    }
    found = Fuser(engine_of(runs), strategy=record.strategy).fuse_images(*pair).unit
    np.testing.assert_allclose(found, expected, atol=1e-4 if precision == "fp32" else 0.02)


@pytest.fixture(scope="module")
def shipped():
    return load_bundle("dilran")


@pytest.mark.usefixtures("traced_once")
def test_int8_reports_its_loss_in_the_task(shipped, heads, tmp_path):
    options = ExportOptions("onnx", "int8", calibration=heads / "pairs", max_loss=0.05)
    record = export(shipped, tmp_path / "int8", options)
    quantised = record.quantisation
    assert quantised.num_inputs == {"encoder": 6}
    assert (quantised.loss.measure, quantised.loss.against) == ("vif", "sources")
    assert quantised.loss.loss == pytest.approx(quantised.loss.float32 - quantised.loss.exported)
    # Noise of rounding can also raise a picture's VIF.
    assert 0 < abs(quantised.loss.loss) <= 0.05
    assert record.parity.max_abs_difference > 1e-3
    nodes = {node.op_type for node in onnx.load(tmp_path / "int8" / "encoder.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= nodes
    page = (tmp_path / "int8" / "README.md").read_text()
    assert "in 8 bits; loss" in page
    # What users get, and a strategy that decodes.
    assert record.parity.strategies == ("guided_bands", "two_scale_energy_ratio")
    assert "picture fused by guided_bands and by two_scale_energy_ratio" in page
    assert f"fused by {quantised.loss.strategy}: " in page
    assert record.parity.num_images == quantised.loss.num_images == 3


def test_the_largest_loss_of_all_strategies_counts(shipped, heads):
    samples, network = find_samples(shipped, heads / "pairs"), shipped.build_network()

    def encoder(image):
        with torch.inference_mode():
            return {"features": network.encode(torch.from_numpy(image)).numpy()}

    def decoder(features):
        with torch.inference_mode():
            return {"fused": 0.02 * network.decode(torch.from_numpy(features)).clamp(0, 1).numpy()}

    # Only a strategy that decodes loses by a broken decoder.
    found = compare(shipped, {"encoder": encoder, "decoder": decoder}, samples, "onnx", "int8")
    assert found.loss.strategy == "two_scale_energy_ratio"
    assert found.loss.loss > 0.05
    parity = compare(shipped, {"encoder": encoder, "decoder": decoder}, samples, "onnx", "fp32").parity
    assert parity.bounds == {"max_abs_difference": 5e-4, "decoded_max_abs_difference": 1e-4}
    broken = parity.model_copy(update={"max_abs_difference": 4e-4, "decoded_max_abs_difference": 2e-4})
    assert broken.broken() == ["decoded_max_abs_difference is 0.0002, at most 0.0001 was expected"]
    assert parity.max_abs_difference == parity.decoded_max_abs_difference > 0.1


def test_the_page_says_what_a_model_of_whole_pictures_takes(segmentation):
    record = segmentation[1]
    assert "whole pictures" not in export_page(record)
    whole = record.model_copy(update={"preprocessing": {**record.preprocessing, "resize": [40, 48]}})
    assert "whole pictures of 40×48" in export_page(whole)
    assert "flips and rotations" not in export_page(record)
    averaged = record.model_copy(update={"preprocessing": {**record.preprocessing, "tta": True}})
    assert "flips and rotations of a picture by 90°: average so too" in export_page(averaged)


@pytest.mark.usefixtures("traced_once")
@pytest.mark.parametrize(
    ("task", "size", "batch", "trained"),
    [
        ("segmentation", (32, 48), None, (40, 48)),
        ("segmentation", (32, 48), None, (32, 48)),
        ("classification", (64, 64), 2, (40, 48)),
    ],
)
def test_a_fixed_size_that_is_not_the_training_s_is_said(
    segmentation_bundle, classification_bundle, heads, tmp_path, task, size, batch, trained
):
    bundle = segmentation_bundle if task == "segmentation" else classification_bundle
    key = "resize" if task == "segmentation" else "size"
    info = bundle.info.model_copy(update={"preprocessing": {**bundle.info.preprocessing, key: trained}})
    images = heads / ("set" if task == "segmentation" else "pairs/MRI")
    options = ExportOptions("onnx", size=size, batch=batch, images=images)
    record = export(dataclasses.replace(bundle, info=info), tmp_path / "out", options)
    other = size != trained
    assert record.preprocessing[key] == size
    assert record.preprocessing.get("trained_size") == (trained if other else None)
    assert record.graphs[0].inputs[0].shape[2:] == size
    page = (tmp_path / "out" / "README.md").read_text()
    assert (f"trained on pictures of {trained[0]}×{trained[1]}" in page) == other
    assert "bring every picture to that size" not in page or not other


def test_samples_are_read_when_they_are_asked_for(heads, segmentation_bundle, monkeypatch):
    read = []
    monkeypatch.setattr(samples, "read_image", lambda file, **kw: read.append(file) or read_image(file, **kw))
    found = samples.find_samples(segmentation_bundle, heads / "set")
    assert (len(read), found.labelled) == (0, True)
    assert found.samples[1].image.shape == found.samples[1].target.shape
    assert len(read) == 2
    assert len(list(found.samples)) == len(found.samples) == len(read) - 2


def test_samples_whose_mask_has_another_size_are_refused(segmentation_bundle, tmp_path):
    for folder, width in (("images", 40), ("masks", 30)):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / "1.png", np.eye(40)[:, :width], bits=8)
    found = samples.find_samples(segmentation_bundle, tmp_path)
    with pytest.raises(InputError, match=r"1.png has 40×40 pixels, but its mask 40×30"):
        found.samples[0]


def test_int8_that_costs_too_much_is_refused_and_leaves_nothing(
    shipped, heads, tmp_path, monkeypatch, traced_once
):
    # As if rounding had turned the picture into nothing.
    monkeypatch.setattr("scalefuse.workflows.export.to_onnx", with_weights_times(-1.0, traced_once))
    options = ExportOptions("onnx", "int8", calibration=heads / "pairs", max_loss=0.1)
    with pytest.raises(InputError, match=r"int8 costs 0\.\d+ of mean VIF .* at most 0\.1 was accepted"):
        export(shipped, tmp_path / "int8", options)
    assert list(tmp_path.iterdir()) == []


def with_weights_times(factor, trace):
    """``trace``, with the weights of the graph's convolutions multiplied."""

    def damaged(graph, metadata):
        model = trace(graph, metadata)
        for weight in model.graph.initializer:
            if len(weight.dims) == 4:
                values = onnx.numpy_helper.to_array(weight) * np.float32(factor)
                weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        return model

    return damaged


def test_an_export_that_computes_something_else_is_refused(
    fusion_bundle, heads, tmp_path, monkeypatch, traced_once
):
    monkeypatch.setattr("scalefuse.workflows.export.to_onnx", with_weights_times(1.01, traced_once))
    with pytest.raises(InputError, match=r"max_abs_difference is .* at most 0\.0001 was expected"):
        export(fusion_bundle, tmp_path / "wrong", ExportOptions("onnx", images=heads / "pairs"))
    assert list(tmp_path.iterdir()) == []


def test_an_older_export_is_replaced_and_other_folders_are_left_alone(
    fusion, fusion_bundle, heads, tmp_path, monkeypatch, traced_once
):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="other files"):
        export(fusion_bundle, tmp_path / "mine", ExportOptions("onnx"))
    folder, record = fusion
    (folder / "old.txt").write_text("")
    with pytest.raises(BundleError):
        export("no-such-model", folder, ExportOptions("onnx"))
    assert json.loads((folder / "export.json").read_text())["created"] == record.created
    with pytest.raises(OutputError, match=r"old\.txt beside it would be lost"):
        export(fusion_bundle, folder, ExportOptions("onnx"))
    assert (folder / "old.txt").is_file()
    (folder / "old.txt").unlink()
    monkeypatch.setattr("scalefuse.workflows.export.to_onnx", traced_once)
    again = shutil.copytree(folder, tmp_path / "again")
    newer = export(fusion_bundle, again, ExportOptions("onnx", "fp16", images=heads / "pairs"))
    assert ExportRecord.model_validate_json((again / "export.json").read_text()) == newer


@pytest.mark.parametrize(("precision", "smallest"), [("fp32", "at least 16×16"), ("int8", "at least 41×41")])
def test_a_pair_that_is_too_small_is_named_before_the_work(
    fusion_bundle, tmp_path, monkeypatch, precision, smallest
):
    monkeypatch.setattr("scalefuse.workflows.export.to_onnx", None)
    for name in ("CT", "MRI"):
        (tmp_path / "pairs" / name).mkdir(parents=True)
        write_image(tmp_path / "pairs" / name / "small.png", np.full((15, 60), 0.5), bits=8)
    pairs = tmp_path / "pairs"
    options = ExportOptions(
        "onnx", precision, images=pairs, calibration=pairs if precision == "int8" else None
    )
    with pytest.raises(InputError, match=rf"CT/small\.png: 15×60 pixels, but {smallest}"):
        export(fusion_bundle, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_int8_at_a_size_that_vif_does_not_take_is_refused_before_the_work(
    fusion_bundle, heads, tmp_path, monkeypatch
):
    monkeypatch.setattr("scalefuse.workflows.export.to_onnx", None)
    options = ExportOptions("onnx", "int8", calibration=heads / "pairs", size=(48, 40))
    with pytest.raises(InputError, match="41×41 pixels, but 48×40"):
        export(fusion_bundle, tmp_path / "out", options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "--calibration"),
        ({"calibration": "set"}, "for int8, but fp32"),
        ({"batch": 0}, "at least 1 image"),
        ({"size": (40, 44)}, "use 40×48"),
        ({"precision": "int8", "calibration": "set", "max_loss": 1.5}, "from 0 to 1"),
        ({"max_loss": 0.02}, "for int8, but fp32"),
        ({"images": "nowhere"}, "no such folder"),
        ({"images": "set/images/0.png"}, "is a file"),
    ],
)
def test_options_that_do_not_fit(segmentation_bundle, heads, tmp_path, options, message):
    for name in ("calibration", "images"):
        if name in options:
            options = {**options, name: heads / options[name]}
    with pytest.raises(InputError, match=message):
        export(segmentation_bundle, tmp_path / "out", ExportOptions("onnx", **options))
    assert list(tmp_path.iterdir()) == []
