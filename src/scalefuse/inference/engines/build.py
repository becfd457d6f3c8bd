"""From a network and a choice to an engine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from scalefuse.catalog import NETWORKS
from scalefuse.errors import MissingExtraError, ScaleFuseError
from scalefuse.inference.engines.choice import EngineChoice, Job, choose_engine
from scalefuse.inference.engines.networks import ClassifierParts, FusionParts, SegmentationParts
from scalefuse.inference.engines.protocol import Backend, Compiled, Part
from scalefuse.inference.engines.torch_engine import TorchBackend
from scalefuse.inference.exported.model import ExportedBundle

if TYPE_CHECKING:
    from scalefuse.bundle import Bundle
    from scalefuse.networks.dilran import DILRAN

_LOG = logging.getLogger(__name__)


def build_engine(network: nn.Module, config: Any, choice: EngineChoice) -> Any:
    """An engine for a network; parts are compiled when they first run.

    Args:
        network: with its weights, in evaluation mode; it stays as it is.
        config: the network's own, as in a bundle.
        choice: what computes, in which numbers.

    Returns:
        For fusion something with ``encode`` and ``decode``, else something to call with images.

    Raises:
        ScaleFuseError: the engine is not installed, or lacks what it needs.

    Example:
        >>> from scalefuse.networks.dilran.spec import DILRANConfig, build
        >>> config = DILRANConfig(features=4)
        >>> engine = build_engine(build(config).eval(), config, EngineChoice("torch", "fp32"))
        >>> import torch
        >>> engine.encode(torch.zeros(1, 1, 16, 16)).shape
        torch.Size([1, 4, 16, 16])
    """
    spec = NETWORKS[config.name]
    backend = _backend(choice)
    if spec.task == "fusion":
        dilran: DILRAN = network  # type: ignore[assignment]
        return FusionParts(dilran, backend, choice.precision)
    if spec.task == "segmentation":
        return SegmentationParts(network, config.in_channels, spec.size_multiple, backend, choice.precision)
    return ClassifierParts(network, backend, choice.precision)


def bundle_engine(
    bundle: Bundle,
    *,
    engine: str | None = None,
    precision: str | None = None,
    job: Job | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[Any, EngineChoice]:
    """The engine of a bundle, and what was chosen.

    Args:
        bundle: a trained model.
        engine: see :func:`~scalefuse.inference.engines.choice.choose_engine`; None for ``torch``, or for what
            an export was made for.
        precision: the same; None for ``fp32``, or for that of the export.
        job: how much there is to compute; None for unknown.
        size: height and width that every picture is brought to, if they are.

    Raises:
        InputError: an unknown engine or precision, or a pair that does not work.
        MissingExtraError: the engine is not installed.
        BundleError: the bundle is damaged.

    Example:
        >>> from scalefuse.bundle import load_bundle
        >>> print(bundle_engine(load_bundle("dilran"), engine="auto", job=Job(1, 0.1))[1].precision)
        fp32
    """
    if isinstance(bundle, ExportedBundle):
        return bundle.build_engine(engine, precision)
    config = bundle.info.network
    choice = choose_engine(
        "torch" if engine is None else engine,
        "fp32" if precision is None else precision,
        network=config.name,
        megapixels=None if job is None else job.network_megapixels(size),
        megapixels_each=None if job is None else job.megapixels_each,
    )
    return build_engine(bundle.build_network(), config, choice), choice


class FallbackBackend:
    """Another backend where torch takes over from whatever the other one cannot load, compile or run.

    Args:
        first: the preferred backend.
        failures: what failed is added to it, once for each part.

    Example:
        >>> import torch
        >>> class Broken(TorchBackend):
        ...     def compile(self, part):
        ...         raise RuntimeError("no such operation")
        >>> failures = []
        >>> run = FallbackBackend(Broken(), failures).compile(Part(nn.ReLU(), (torch.zeros(1, 1, 2, 2),)))
        >>> run(-torch.ones(1, 1, 1, 1)), failures
        (tensor([[[[0.]]]]), ['no such operation'])
    """

    def __init__(self, first: Backend, failures: list[str]) -> None:
        self._first, self._second, self._failures = first, TorchBackend(), failures
        self.fixes_classifiers, self.sums_roughly = first.fixes_classifiers, first.sums_roughly

    def compile(self, part: Part) -> Compiled:
        """Make a part runnable, by torch from the first failure of the preferred backend on."""
        run: Compiled | None = None
        failed = False

        def call(*inputs: Tensor) -> Any:
            nonlocal run, failed
            if not failed:
                try:
                    if run is None:
                        run = self._first.compile(part)
                    return run(*inputs)
                except Exception as error:
                    # Nobody asked for this engine, and torch computes the same.
                    if not _torch_may_mend(error):
                        raise
                    _LOG.info("%s failed, torch takes over: %s", type(self._first).__name__, error)
                    self._failures.append(str(error))
                    run, failed = self._second.compile(part), True
            assert run is not None
            return run(*inputs)

        return call


def _torch_may_mend(error: Exception) -> bool:
    if isinstance(error, MissingExtraError):
        return True
    return not isinstance(error, ScaleFuseError | MemoryError)


def _backend(choice: EngineChoice) -> Backend:
    backend: Backend
    if choice.engine == "openvino":
        from scalefuse.inference.engines.openvino_engine import OpenVINOBackend

        backend = OpenVINOBackend()
    elif choice.engine == "onnxruntime":
        from scalefuse.inference.engines.onnxruntime_engine import ONNXRuntimeBackend

        backend = ONNXRuntimeBackend()
    else:
        backend = TorchBackend(device=choice.device, compiled=choice.engine == "compiled")
    return FallbackBackend(backend, choice.failures) if choice.may_fall_back else backend
