"""Write a trained model as graphs for another runtime, checked against the network in torch."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from scalefuse.bundle import INFO, Bundle, load_bundle
from scalefuse.catalog import NETWORKS
from scalefuse.data.atomic import atomic_folder, results_folder
from scalefuse.errors import InputError, OutputError
from scalefuse.export.graphs import Graph, Role, graphs_of
from scalefuse.export.onnx import OPSET, halve_weights, to_onnx
from scalefuse.export.openvino import to_openvino
from scalefuse.export.page import export_page
from scalefuse.export.parity import DEFAULT_MAX_LOSS, Comparison, compare
from scalefuse.export.quantise import METHOD, CalibrationInputs, quantise, record_inputs
from scalefuse.export.samples import find_samples
from scalefuse.export.support import check_support, require_packages
from scalefuse.inference.exported.record import (
    RECORD,
    AxisRecord,
    ExportEngine,
    ExportPrecision,
    ExportRecord,
    GraphRecord,
    Quantisation,
    TensorRecord,
    runtime_options,
)
from scalefuse.inference.exported.runtime import Run, open_graph
from scalefuse.metrics.fusion.vif import MIN_SIZE as VIF_SIZE
from scalefuse.version import __version__
from scalefuse.workflows.names import takes_names

if TYPE_CHECKING:
    from scalefuse.networks.spec import Task

_MEASURES: dict[Task, str] = {"fusion": "VIF", "segmentation": "Dice", "classification": "accuracy"}


_OUTPUTS = {RECORD, INFO, "README.md"} | {
    f"{role}.{suffix}" for role in get_args(Role) for suffix in ("onnx", "xml", "bin")
}


@dataclass(frozen=True)
class ExportOptions:
    """How to export.

    Attributes:
        engine: runtime.
        precision: number type.
        size: height and width to fix; free where the network allows it by default.
        batch: number of images to fix; free by default.
        calibration: folder with pictures that int8 takes its ranges from.
        max_loss: largest loss of mean Dice, accuracy or VIF that int8 may cost; 0.01 by default.
        images: folder with pictures to check on; by default those of the calibration, or some that come with
            ScaleFuse.
    """

    engine: ExportEngine
    precision: ExportPrecision = "fp32"
    size: tuple[int, int] | None = None
    batch: int | None = None
    calibration: Path | None = None
    max_loss: float | None = None
    images: Path | None = None


@takes_names("output")
def export(
    model: str | Path | Bundle,
    output: Path,
    options: ExportOptions,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> ExportRecord:
    """Export a bundle.

    Writes ``model.onnx`` (or ``encoder.onnx`` and ``decoder.onnx`` for fusion, or the ``.xml`` and ``.bin``
    of OpenVINO), ``export.json``, ``bundle.json`` (as in the bundle) and ``README.md``, all of them or none.

    Args:
        model: a bundle's name or path, or a bundle.
        output: folder to write; an older export there is replaced.
        options: how.
        say: called with lines on what is being done.

    Returns:
        What ``export.json`` holds.

    Raises:
        InputError: a runtime and number type that do not go together, options that do not fit, pictures that
            cannot be used, or an export that differs from the network in torch by more than is allowed.
        MissingExtraError: the runtime's packages are not installed.
        BundleError: no such bundle, or a damaged one.
        OutputError: the folder cannot be written.
    """
    check_support(options.engine, options.precision)
    _check(options)
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    require_packages(options.engine)
    _check_target(output)
    graphs = graphs_of(bundle, size=options.size, batch=options.batch)
    _check_measurable(bundle, options)
    smallest = _smallest_pair(bundle, options)
    calibration = samples = None
    if options.calibration:
        calibration = samples = find_samples(bundle, options.calibration, smallest_pair=smallest)
    if samples is None or options.images:
        samples = find_samples(bundle, options.images, smallest_pair=smallest)
    size = options.size
    max_loss = DEFAULT_MAX_LOSS if options.max_loss is None else options.max_loss
    with (
        results_folder(output.parent),
        atomic_folder(output) as folder,
        tempfile.TemporaryDirectory(prefix="scalefuse-") as temporary,
    ):
        work = Path(temporary)
        traced = _trace(bundle, graphs, work, say)
        counts = {}
        if options.precision == "int8":
            assert calibration is not None
            say(f"Quantising with {calibration.description}")
            inputs = CalibrationInputs(work)
            record_inputs(bundle, calibration, inputs, size=size)
            counts = inputs.counts()
            for graph in graphs:
                target = work / f"{graph.role}-int8.onnx"
                quantise(traced[graph.role], target, graph, inputs)
                traced[graph.role] = target
        files = {graph.role: _write(traced[graph.role], folder / graph.role, options) for graph in graphs}
        say(f"Comparing with torch on {samples.description}")
        properties = runtime_options(options.precision) if options.engine == "openvino" else {}
        runs: dict[str, Run] = {
            role: open_graph(file, options.engine, batch=options.batch, options=properties)
            for role, file in files.items()
        }
        found = compare(
            bundle, runs, samples, options.engine, options.precision, size=size, max_loss=max_loss
        )
        _refuse(bundle, found, options)
        record = _record(bundle, graphs, files, found, options, properties)
        if calibration is not None and found.loss is not None:
            quantised = Quantisation(
                method=METHOD, images=calibration.description, num_inputs=counts, loss=found.loss
            )
            record = record.model_copy(update={"quantisation": quantised})
        (folder / RECORD).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / INFO).write_text(bundle.info.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(export_page(record), encoding="utf-8")
    return record


def _check(options: ExportOptions) -> None:
    if options.precision == "int8" and options.calibration is None:
        raise InputError(
            "int8 takes the ranges of its values from pictures, but none were given; add a folder of "
            "pictures like those that the model will see (--calibration)."
        )
    if options.precision != "int8" and options.calibration is not None:
        raise InputError(
            f"Calibration pictures are for int8, but {options.precision} was asked for; leave them out, or "
            "give them as pictures to check on (--images)."
        )
    if options.precision != "int8" and options.max_loss is not None:
        raise InputError(
            f"A largest loss (--max-loss) is for int8, but {options.precision} was asked for; leave it out."
        )
    if options.max_loss is not None and not 0 <= options.max_loss <= 1:
        raise InputError(f"Expected a largest loss from 0 to 1, but got {options.max_loss:g}.")


def _smallest_pair(bundle: Bundle, options: ExportOptions) -> int:
    """Pixels that pictures for fusion need; the phantoms and those brought to a size have them."""
    if options.size is not None:
        return 1
    least = NETWORKS[bundle.info.network.name].min_size
    return max(least, VIF_SIZE) if options.precision == "int8" else least


def _check_measurable(bundle: Bundle, options: ExportOptions) -> None:
    """What int8 loses of fused pictures is a loss of VIF, which small pictures do not have."""
    small = options.size is not None and min(options.size) < VIF_SIZE
    if small and bundle.info.task == "fusion" and options.precision == "int8":
        height, width = options.size or (0, 0)
        raise InputError(
            f"int8 of a model for fusion is judged by VIF, which needs pictures of {VIF_SIZE}×{VIF_SIZE} "
            f"pixels, but {height}×{width} were asked for; take a larger --size, or another --precision."
        )


def _check_target(output: Path) -> None:
    """An older export is replaced as a whole: nothing else may lie in it."""
    if not output.is_dir():
        return
    found = {one.name for one in output.iterdir()}
    if found and RECORD not in found:
        raise OutputError(f"{output}: a folder with other files stands there; give a new one for the export.")
    if foreign := sorted(found - _OUTPUTS):
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise OutputError(
            f"{output}: an older export stands there, but {foreign[0]}{more} beside it would be lost; move "
            "that away, or give another folder."
        )


def _trace(bundle: Bundle, graphs: list[Graph], work: Path, say: Callable[[str], None]) -> dict[str, Path]:
    import onnx

    metadata = {
        "name": bundle.info.name,
        "task": bundle.info.task,
        "network": bundle.info.network.name,
        "licence": bundle.info.training_data.licence,
        "scalefuse": __version__,
    }
    files: dict[str, Path] = {}
    for graph in graphs:
        say(f"Tracing the {graph.role}")
        files[graph.role] = work / f"{graph.role}.onnx"
        onnx.save(to_onnx(graph, metadata), files[graph.role])
    return files


def _write(source: Path, stem: Path, options: ExportOptions) -> Path:
    import onnx

    if options.engine == "openvino":
        target = stem.with_suffix(".xml")
        to_openvino(source, target, options.precision)
        return target
    target = stem.with_suffix(".onnx")
    model = onnx.load(source)
    onnx.save(halve_weights(model) if options.precision == "fp16" else model, target)
    return target


def _refuse(bundle: Bundle, found: Comparison, options: ExportOptions) -> None:
    problems = found.parity.broken()
    if problems:
        raise InputError(
            f"The export differs from the network in torch on {found.parity.images}: {'; '.join(problems)}. "
            f"Nothing was written; choose {'another runtime' if options.precision == 'fp32' else 'fp32'}."
        )
    loss = found.loss
    # Written so that NaN is refused.
    if loss is not None and not loss.loss <= loss.limit:
        raise InputError(
            f"int8 costs {loss.loss:.4f} of mean {_MEASURES[bundle.info.task]} ({loss.float32:.4f} in "
            f"float32, {loss.exported:.4f} in 8 bits, against {loss.against}) on {loss.images}, but at most "
            f"{loss.limit:g} was accepted. Nothing was written; calibrate with more pictures, accept "
            "more (--max-loss), or choose fp16."
        )


def _record(
    bundle: Bundle,
    graphs: list[Graph],
    files: dict[Any, Path],
    found: Comparison,
    options: ExportOptions,
    properties: dict[str, str],
) -> ExportRecord:
    info = bundle.info
    packages = ["torch", "onnx", "onnxscript", "onnxruntime", "numpy"]
    packages += ["openvino"] if options.engine == "openvino" else []
    return ExportRecord(
        name=info.name,
        task=info.task,
        network=info.network,
        engine=options.engine,
        precision=options.precision,
        opset=OPSET,
        runtime_options=properties,
        graphs=tuple(_graph_record(graph, files[graph.role]) for graph in graphs),
        preprocessing=_preprocessing(bundle, options.size),
        standardised_inside=info.task == "classification",
        labels=info.labels,
        multi_label=bool(info.preprocessing.get("multi_label", False)),
        postprocessing=info.postprocessing,
        strategy=info.strategy,
        licence=info.training_data.licence,
        parity=found.parity,
        versions={
            "scalefuse": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _preprocessing(bundle: Bundle, size: tuple[int, int] | None) -> dict[str, Any]:
    """What to do with pictures before the graph sees them; both sizes, where it is not the training's."""
    found = dict(bundle.info.preprocessing)
    key = {"segmentation": "resize", "classification": "size"}.get(bundle.info.task, "")
    trained = found.get(key)
    if size is not None and trained is not None and tuple(trained) != size:
        found |= {key: size, "trained_size": trained}
    return found


def _graph_record(graph: Graph, file: Path) -> GraphRecord:
    batch: int | str = graph.batch or "batch"
    height, width = graph.size or ("height", "width")
    axes: dict[str, AxisRecord] = {} if graph.batch else {"batch": AxisRecord()}
    if graph.size is None:
        multiple = graph.size_multiple
        side = AxisRecord(smallest=-(-graph.min_size // multiple) * multiple, multiple_of=multiple)
        axes |= {"height": side, "width": side}
    image_shape = (batch, graph.channels, height, width)
    outputs = tuple(
        TensorRecord(name=name, shape=(batch, count, height, width)[:dims], meaning=meaning)
        for name, meaning, (count, dims) in zip(
            graph.output_names, graph.output_meanings, _output_shapes(graph), strict=True
        )
    )
    meaning = "features" if graph.role == "decoder" else "values in [0, 1]"
    return GraphRecord(
        role=graph.role,
        file=file.name,
        bytes=sum(one.stat().st_size for one in file.parent.glob(f"{file.stem}.*")),
        inputs=(TensorRecord(name=graph.input_name, shape=image_shape, meaning=meaning),),
        outputs=outputs,
        dynamic_axes=axes,
    )


def _output_shapes(graph: Graph) -> list[tuple[int, int]]:
    """Channels and number of axes of each output."""
    import torch

    with torch.inference_mode():
        outputs = graph.module(graph.example())
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    return [(output.shape[1], output.ndim) for output in outputs]
