"""What ``export.json`` says: everything that a program without ScaleFuse needs to use the graphs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from scalefuse.bundle import EXPORT
from scalefuse.catalog import NetworkConfig
from scalefuse.networks.spec import Task
from scalefuse.schema import Schema

RECORD = EXPORT

ExportEngine = Literal["onnx", "openvino"]
"""What a graph is for: ONNX Runtime or OpenVINO."""

ExportPrecision = Literal["fp32", "fp16", "bf16", "int8"]
"""Number type of its weights and arithmetic."""


def runtime_options(precision: ExportPrecision) -> dict[str, str]:
    """Properties to compile with, so that the arithmetic is what was checked.

    Left alone, OpenVINO computes a float32 model in bf16 on CPUs that have it.

    Example:
        >>> runtime_options("fp32"), runtime_options("bf16")
        ({'INFERENCE_PRECISION_HINT': 'f32'}, {'INFERENCE_PRECISION_HINT': 'bf16'})
    """
    return {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}


class TensorRecord(Schema):
    """One input or output of a graph.

    Attributes:
        name: by which the runtime knows it.
        shape: a number for a fixed axis, the axis' name for a free one.
        meaning: one line for people.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: Literal["float32"] = "float32"
    meaning: str


class AxisRecord(Schema):
    """What a free axis may be.

    Attributes:
        smallest: value.
        multiple_of: values between are refused by the runtime or give wrong results.
    """

    smallest: int = 1
    multiple_of: int = 1


class GraphRecord(Schema):
    """One graph.

    Attributes:
        role: ``model``, ``encoder`` or ``decoder``.
        file: in the folder; of two files the one to open.
        bytes: size of its files.
        inputs: what it takes.
        outputs: what it gives.
        dynamic_axes: the free axes by name.
    """

    role: Literal["model", "encoder", "decoder"]
    file: str
    bytes: int
    inputs: tuple[TensorRecord, ...]
    outputs: tuple[TensorRecord, ...]
    dynamic_axes: dict[str, AxisRecord] = Field(default_factory=dict)


class Parity(Schema):
    """The export against the network in torch, both inside the same predictor, on the same pictures.

    Attributes:
        images: which pictures.
        num_images: how many; for fusion, pairs.
        output: what was compared.
        max_abs_difference: largest difference of two values.
        mean_abs_difference: mean over all pictures and values.
        agreement: results alike: ``mean_dice`` and ``min_dice`` of masks, ``top1`` share of pictures in one
            class (or ``labels``: of equal labels), ``pixels_within_1`` and ``pixels_within_4`` share of
            pixels that differ by at most 1 or 4 of 255.
        bounds: what was demanded: at most for differences, at least for agreement.
        strategies: for fusion, what joined the features. The model's own, and another that decodes where its
            own does not, so that both graphs take part. Differences are the largest of all, shares the means.
        decoded_max_abs_difference: of two strategies, the largest difference by the one that decodes.
    """

    images: str
    num_images: int
    output: str
    max_abs_difference: float
    mean_abs_difference: float
    agreement: dict[str, float] = Field(default_factory=dict)
    bounds: dict[str, float] = Field(default_factory=dict)
    strategies: tuple[str, ...] = ()
    decoded_max_abs_difference: float | None = None

    def broken(self) -> list[str]:
        """The bounds that do not hold, in words.

        Example:
            >>> parity = Parity(
            ...     images="two", num_images=2, output="mask", max_abs_difference=0.1,
            ...     mean_abs_difference=0.0, agreement={"top1": 1.0},
            ...     bounds={"max_abs_difference": 1e-4, "top1": 0.995},
            ... )
            >>> parity.broken()
            ['max_abs_difference is 0.1, at most 0.0001 was expected']
        """
        problems = []
        for name, bound in self.bounds.items():
            if name in self.agreement:
                # Written so that NaN fails.
                if not self.agreement[name] >= bound:
                    problems.append(f"{name} is {self.agreement[name]:.4g}, at least {bound:g} was expected")
            elif not getattr(self, name) <= bound:
                problems.append(f"{name} is {getattr(self, name):.4g}, at most {bound:g} was expected")
        return problems


class TaskLoss(Schema):
    """What quantising cost, in the measure of the task.

    Attributes:
        measure: ``dice``, ``accuracy`` or ``vif``.
        against: what it was measured against: reference masks, labels, the source pictures, or the results
            of the float32 network where nothing better was given.
        images: which pictures.
        num_images: how many; for fusion, pairs.
        float32: mean measure of the network in torch.
        exported: mean measure of the export.
        loss: the first minus the second.
        limit: largest loss that was accepted.
        strategy: for fusion, what joined the features; of several, the one with the largest loss.
    """

    measure: Literal["dice", "accuracy", "vif"]
    against: Literal["masks", "labels", "sources", "float32 results"]
    images: str
    num_images: int
    float32: float
    exported: float
    loss: float
    limit: float
    strategy: str | None = None


class Quantisation(Schema):
    """How 8-bit values were found.

    Attributes:
        method: in words.
        images: which pictures the ranges were taken from.
        num_inputs: network inputs seen, for each graph.
        loss: what it cost.
    """

    method: str
    images: str
    num_inputs: dict[str, int]
    loss: TaskLoss


class ExportRecord(Schema):
    """Contents of ``export.json``.

    Attributes:
        format_version: of this layout.
        name: of the bundle.
        task: what the model does.
        network: network and its constructor arguments.
        engine: runtime that the graphs are for.
        precision: number type.
        opset: version of the ONNX operators, of the intermediate graph for OpenVINO.
        runtime_options: to set when loading.
        graphs: the files.
        preprocessing: how a picture becomes the first graph's input, as the bundle says it.
        input_range: what black and white are in the input.
        standardised_inside: whether mean and standard deviation are part of the graph.
        labels: names of the classes in the order of the output's channels.
        multi_label: whether several labels may hold at once.
        postprocessing: what follows the graph, as the bundle says it.
        strategy: what joins the features between encoder and decoder.
        licence: terms of the weights.
        parity: proof.
        quantisation: for int8.
        versions: of what wrote the files.
        created: UTC time, ISO 8601.
    """

    format_version: Literal[1] = 1
    name: str
    task: Task
    network: NetworkConfig
    engine: ExportEngine
    precision: ExportPrecision
    opset: int
    runtime_options: dict[str, str] = Field(default_factory=dict)
    graphs: tuple[GraphRecord, ...]
    preprocessing: dict[str, Any] = Field(default_factory=dict)
    input_range: tuple[float, float] = (0.0, 1.0)
    standardised_inside: bool = False
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    postprocessing: dict[str, Any] | None = None
    strategy: str | None = None
    licence: str
    parity: Parity
    quantisation: Quantisation | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    created: str
