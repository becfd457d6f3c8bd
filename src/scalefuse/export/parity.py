"""The export beside the network in torch: same predictor, same pictures, differences and task measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scalefuse.inference.exported.record import ExportEngine, ExportPrecision, Parity, TaskLoss
from scalefuse.inference.exported.runtime import Run, engine_of
from scalefuse.networks.spec import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scalefuse.bundle import Bundle
    from scalefuse.export.samples import Samples

SAME_NUMBERS: dict[ExportEngine, dict[str, float]] = {
    "onnx": {"max_abs_difference": 1e-4},
    # Its 3×3 convolutions are computed by Winograd's method, which rounds more.
    "openvino": {"max_abs_difference": 5e-4},
}
"""Bounds for 32-bit arithmetic, on values in [0, 1]."""

SAME_GUIDED = {"max_abs_difference": 5e-4}
"""The same for a guided strategy: its weights are powers of ratios, which magnify rounding."""

SAME_RESULTS: dict[Task, dict[str, float]] = {
    "fusion": {"pixels_within_1": 0.97, "pixels_within_4": 1.0},
    "segmentation": {"mean_dice": 0.999, "min_dice": 0.99},
    "classification": {"top1": 0.995, "mean_abs_difference": 0.01},
}
"""Bounds for shorter numbers, on what the user gets."""

DEFAULT_MAX_LOSS = 0.01
"""Largest loss that quantising may cost: of mean Dice, of accuracy, of mean VIF."""


# Two networks at once need twice the memory: larger pictures go through both in windows.
_WHOLE_PIXELS = 512 * 512


@dataclass(frozen=True)
class Comparison:
    """Result of :func:`compare`.

    Attributes:
        parity: differences, with the bounds for the precision.
        loss: what the export costs in the task's measure; for int8 only.
    """

    parity: Parity
    loss: TaskLoss | None


@dataclass
class _Findings:
    """What is summed up over the pictures."""

    output: str
    measure: Any
    against: Any
    strategies: tuple[str, ...] = ()
    strategy: str | None = None
    decoded: float | None = None
    num: int = 0
    largest: float = 0.0
    total: float = 0.0
    values: int = 0
    agreement: dict[str, list[float]] = field(default_factory=dict)
    float32: list[float] = field(default_factory=list)
    exported: list[float] = field(default_factory=list)

    def add(self, wanted: NDArray[Any], found: NDArray[Any]) -> None:
        difference = np.abs(wanted.astype(np.float64) - found)
        # Not max(): that would lose NaN.
        self.largest = float(np.maximum(self.largest, difference.max()))
        self.total += float(difference.sum())
        self.values += difference.size
        self.num += 1

    def agree(self, **shares: float) -> None:
        for name, share in shares.items():
            self.agreement.setdefault(name, []).append(share)


def compare(
    bundle: Bundle,
    runs: Mapping[str, Run],
    samples: Samples,
    engine: ExportEngine,
    precision: ExportPrecision,
    *,
    size: tuple[int, int] | None = None,
    max_loss: float = DEFAULT_MAX_LOSS,
) -> Comparison:
    """Predict every picture with the network in torch and with the export.

    Args:
        bundle: the model.
        runs: the exported graphs by their roles.
        samples: pictures.
        engine: runtime; chooses the bounds for float32.
        precision: chooses the bounds.
        size: height and width that the graphs were fixed to; pictures are resized to it.
        max_loss: for the record.

    Example:
        >>> import torch
        >>> from scalefuse.bundle import load_bundle
        >>> from scalefuse.export.samples import Sample, Samples
        >>> bundle = load_bundle("dilran")
        >>> network = bundle.build_network()
        >>> def encoder(image):
        ...     return {"features": network.encode(torch.from_numpy(image)).detach().numpy()}
        >>> def decoder(features):
        ...     return {"fused": network.decode(torch.from_numpy(features)).clamp(0, 1).detach().numpy()}
        >>> pair = np.random.default_rng(0).random((2, 48, 48), dtype=np.float32)
        >>> runs, samples = {"encoder": encoder, "decoder": decoder}, Samples("1 pair", [Sample(*pair)])
        >>> result = compare(bundle, runs, samples, "onnx", "int8")
        >>> result.parity.num_images, abs(result.loss.loss) < 1e-4
        (1, True)
    """
    task = bundle.info.task
    if task == "fusion":
        found = _fusion(bundle, runs, samples, size, measure=precision == "int8")
    elif task == "segmentation":
        found = _segmentation(bundle, runs, samples, size)
    else:
        found = _classification(bundle, runs, samples, size)
    bounds: dict[str, float] = {}
    if precision in ("fp16", "bf16"):
        bounds = dict(SAME_RESULTS[task])
        if "labels" in found.agreement:
            bounds["labels"] = bounds.pop("top1")
    elif precision == "fp32":
        bounds = dict(SAME_NUMBERS[engine])
        if found.decoded is not None:
            bounds = {**SAME_GUIDED, "decoded_max_abs_difference": bounds["max_abs_difference"]}
    agreement = {name: float(np.mean(shares)) for name, shares in found.agreement.items()}
    if task == "segmentation":
        agreement = {"mean_dice": agreement["dice"], "min_dice": min(found.agreement["dice"])}
    parity = Parity(
        images=samples.description,
        num_images=found.num,
        output=found.output,
        max_abs_difference=found.largest,
        mean_abs_difference=found.total / found.values,
        agreement=agreement,
        bounds=bounds,
        strategies=found.strategies,
        decoded_max_abs_difference=found.decoded,
    )
    if precision != "int8":
        return Comparison(parity, None)
    float32, exported = float(np.mean(found.float32)), float(np.mean(found.exported))
    loss = TaskLoss(
        measure=found.measure,
        against=found.against,
        images=samples.description,
        num_images=found.num,
        float32=float32,
        exported=exported,
        loss=float32 - exported,
        limit=max_loss,
        strategy=found.strategy,
    )
    return Comparison(parity, loss)


def _fusion(
    bundle: Bundle,
    runs: Mapping[str, Run],
    samples: Samples,
    size: tuple[int, int] | None,
    *,
    measure: bool,
) -> _Findings:
    from scalefuse.export.samples import grey, resized
    from scalefuse.fusion.table import DECODED_DEFAULT, STRATEGIES
    from scalefuse.inference.fuser import Fuser
    from scalefuse.metrics.fusion.vif import visual_information_fidelity

    own = bundle.info.strategy or DECODED_DEFAULT
    # Both graphs must take part in what is compared; a strategy that decodes nothing leaves one out.
    strategies = (own,) if own in STRATEGIES else (own, DECODED_DEFAULT)
    found = _Findings(
        f"picture fused by {' and by '.join(strategies)}, grey, in [0, 1]", "vif", "sources", strategies
    )
    losses: dict[str, _Findings] = {}
    for strategy in strategies:
        reference = Fuser.from_bundle(bundle, strategy=strategy)
        exported = Fuser(engine_of(runs), strategy=strategy)
        measured = losses[strategy] = _Findings("", "", "")
        for sample in samples.samples:
            first, second = (resized(grey(picture), size) for picture in (sample.image, sample.other))
            wanted, got = reference(first, second), exported(first, second)
            found.add(wanted, got)
            measured.add(wanted, got)
            levels = np.abs(np.rint(wanted * 255) - np.rint(got * 255))
            found.agree(
                pixels_within_1=float((levels <= 1).mean()), pixels_within_4=float((levels <= 4).mean())
            )
            if not measure:
                # VIF takes no pictures below 41 pixels, the network does.
                continue
            sources = first.astype(np.float64) * 255, second.astype(np.float64) * 255
            for picture, values in ((wanted, measured.float32), (got, measured.exported)):
                values.append(visual_information_fidelity(np.rint(picture * 255), *sources))
    found.num = len(samples.samples)
    if len(strategies) > 1:
        found.decoded = losses[DECODED_DEFAULT].largest
    if measure:
        found.strategy = max(
            losses, key=lambda name: float(np.mean(losses[name].float32) - np.mean(losses[name].exported))
        )
        found.float32, found.exported = losses[found.strategy].float32, losses[found.strategy].exported
    return found


def _segmentation(
    bundle: Bundle, runs: Mapping[str, Run], samples: Samples, size: tuple[int, int] | None
) -> _Findings:
    from scalefuse.inference.segmenter import Segmenter

    labelled = samples.labelled
    found = _Findings("probability, in [0, 1]", "dice", "masks" if labelled else "float32 results")
    # The samples lie in [0, 1] already. An average over views would hide what one view differs by.
    options: dict[str, Any] = {"intensity": None, "whole_image_limit": _WHOLE_PIXELS, "tta": False}
    if size is not None:
        options["resize"] = size
    reference = Segmenter.from_bundle(bundle, **options)
    exported = Segmenter.from_bundle(bundle, **options)
    exported.engines = [engine_of(runs)]
    for sample in samples.samples:
        pair = [one.probabilities(sample.image) for one in (reference, exported)]
        found.add(*pair)
        masks = [
            _channels(reference.postprocessing.decide(one, multi_label=reference.multi_label), len(one))
            for one in pair
        ]
        between = _dice(*masks)
        found.agree(dice=between)
        target = _channels(sample.target, len(pair[0])) if labelled else masks[0]
        for mask, values in zip(masks, (found.float32, found.exported), strict=True):
            values.append(_dice(mask, target))
    return found


def _classification(
    bundle: Bundle, runs: Mapping[str, Run], samples: Samples, size: tuple[int, int] | None
) -> _Findings:
    from scalefuse.data.classification_input import prepare
    from scalefuse.export.graphs import classification_settings
    from scalefuse.inference.classifier import Classifier

    labelled = samples.labelled
    found = _Findings("probability, in [0, 1]", "accuracy", "labels" if labelled else "float32 results")
    settings: Any = classification_settings(bundle)
    if size is not None:
        settings = settings.model_copy(update={"size": size})
    reference = Classifier.from_bundle(bundle, preprocessing=settings)
    for sample in samples.samples:
        batch = prepare(sample.image, settings, reference.in_channels)[None]
        wanted = reference.predict([sample.image])
        # The whole graph, with its own standardising and temperature.
        got = runs["model"](batch.numpy())["probability"]
        found.add(wanted, got)
        decisions = [reference.decide(one)[0] for one in (wanted, got)]
        alike = float(np.mean(decisions[0] == decisions[1]))
        found.agree(**{"labels" if settings.multi_label else "top1": alike})
        target = sample.target if labelled else decisions[0]
        for decision, values in zip(decisions, (found.float32, found.exported), strict=True):
            values.append(float(np.mean(decision == target)))
    return found


def _channels(mask: NDArray[Any], outputs: int) -> NDArray[np.bool_]:
    """Any kind of mask as ``(K, H, W)``: foreground, classes without the background, or labels."""
    channels: NDArray[np.bool_]
    if mask.ndim == 3:
        channels = mask.astype(bool)
    elif outputs == 1:
        channels = mask[None] != 0
    else:
        channels = np.stack([mask == index for index in range(1, outputs)])
    return channels


def _dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Mean over the classes; two empty masks are alike."""
    both = 2.0 * (first & second).sum(axis=(1, 2))
    total = first.sum(axis=(1, 2)) + second.sum(axis=(1, 2))
    return float(np.where(total > 0, both / np.maximum(total, 1), 1.0).mean())
