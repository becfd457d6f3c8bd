"""Which engine computes in which numbers: what the user asked for, or what the machine does best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from scalefuse.errors import InputError
from scalefuse.inference.engines.hardware import Machine, read_machine
from scalefuse.inference.engines.packages import require_packages
from scalefuse.inference.engines.protocol import EngineName, Precision

EngineRequest = Literal["auto", "torch", "compiled", "onnxruntime", "openvino"]
PrecisionRequest = Literal["auto", "fp32", "bf16"]

SUPPORTED: dict[EngineName, dict[Precision, str | None]] = {
    "torch": {"fp32": None, "bf16": None},
    "compiled": {"fp32": None, "bf16": None},
    "onnxruntime": {"fp32": None, "bf16": "ONNX Runtime has no bf16 convolution on CPUs"},
    "openvino": {"fp32": None, "bf16": None},
}
"""For each engine and precision, why it does not work, or None where it does."""

WORTH_SHORTENING = 0.25
"""Million pixels of input (for fusion: of pairs) from which on bf16 saves about a second; fp32 below."""

WORTH_COMPILING = {"dilran": 0.5, "msrf_net": 2.0, "hifuse": 34.0}
"""Million pixels from which on OpenVINO has won back its preparation, against torch in the same precision.

Measured by the clock, two threads, AMX, whole commands in bf16 on images of 256×256. DILRAN: 8 pairs took 2.3
instead of 2.7 s. MSRF-Net: 8 pictures at full width 5.2 instead of 5.1 s, 30 at half width 5.9 instead of
6.0 s, 100 then 18.8 instead of 31.2 and 11.7 instead of 16.4 s. HiFuse-Tiny on images brought to 224×224 was
measured without AMX: preparing takes 7.5 s, and an image then 0.038 instead of 0.049 s.
"""

_WORTH_COMPILING_ELSE = 5.0

LARGEST_COMPILED = {"dilran": 2.0}
"""Million pixels of one picture up to which ``auto`` takes OpenVINO, where it needs more memory than torch.

DILRAN looks at a pair as a whole. In bf16 OpenVINO then holds 2.8 GiB for each million pixels, torch 1.6.
MSRF-Net looks at windows of 512×512, for which, at full width, OpenVINO holds 0.1 GiB more than torch in fp32
and 0.4 in bf16.
"""


@dataclass(frozen=True)
class Job:
    """How much there is to compute.

    Attributes:
        pictures: how many; for fusion pairs.
        megapixels: of all of them together, in millions; of a pair, one counts.
        passes: times that each goes through the network.
    """

    pictures: int
    megapixels: float
    passes: int = 1

    def network_megapixels(self, size: tuple[int, int] | None = None) -> float:
        """Million pixels that the network sees.

        Args:
            size: height and width that every picture is brought to, if they are.

        Example:
            >>> Job(10, 40.0).network_megapixels((500, 200))
            1.0
        """
        total = self.megapixels if size is None else self.pictures * size[0] * size[1] / 1e6
        return total * self.passes

    @property
    def megapixels_each(self) -> float:
        """Million pixels of a picture, on average.

        Example:
            >>> Job(10, 40.0).megapixels_each
            4.0
        """
        return self.megapixels / max(1, self.pictures)


@dataclass(frozen=True)
class EngineChoice:
    """What computes.

    Attributes:
        engine: name.
        precision: numbers of the heavy layers.
        device: ``cpu`` or ``cuda``.
        may_fall_back: whether torch takes over where the engine fails, because nobody asked for this one.
        failures: why it did, once for each part of the network.
    """

    engine: EngineName
    precision: Precision
    device: Literal["cpu", "cuda"] = "cpu"
    may_fall_back: bool = False
    failures: list[str] = field(default_factory=list, compare=False)

    def __str__(self) -> str:
        """One phrase for people.

        Example:
            >>> print(EngineChoice("torch", "fp32"))
            torch in fp32 on the CPU
            >>> print(EngineChoice("openvino", "bf16", may_fall_back=True, failures=["no memory"]))
            torch in bf16 on the CPU, where openvino failed (no memory)
        """
        where = "the CPU" if self.device == "cpu" else "a CUDA device"
        if self.failures:
            failed = self.engine if self.device == "cpu" else where
            reason = " ".join(self.failures[0].split())
            reason = reason if len(reason) <= 100 else f"{reason[:100]}…"
            return f"torch in {self.precision} on the CPU, where {failed} failed ({reason})"
        return f"{self.engine} in {self.precision} on {where}"


@dataclass(frozen=True)
class EnsembleChoice:
    """What computes the networks of an ensemble.

    Attributes:
        choices: one for each network.
    """

    choices: tuple[EngineChoice, ...]

    def __str__(self) -> str:
        """Every different phrase once.

        Example:
            >>> torch, openvino = EngineChoice("torch", "fp32"), EngineChoice("openvino", "fp32")
            >>> print(EnsembleChoice((torch, openvino, torch)))
            torch in fp32 on the CPU; openvino in fp32 on the CPU
        """
        return "; ".join(dict.fromkeys(map(str, self.choices)))


def of_networks(choices: Sequence[EngineChoice]) -> EngineChoice | EnsembleChoice:
    """What computes one network, or several.

    Example:
        >>> of_networks([EngineChoice("torch", "fp32")])
        EngineChoice(engine='torch', precision='fp32', device='cpu', may_fall_back=False, failures=[])
    """
    return choices[0] if len(choices) == 1 else EnsembleChoice(tuple(choices))


def choose_engine(
    engine: str = "auto",
    precision: str = "auto",
    *,
    network: str,
    megapixels: float | None = None,
    megapixels_each: float | None = None,
    machine: Machine | None = None,
) -> EngineChoice:
    """Resolve what was asked for by what the machine has.

    Alone, ``auto`` never fails. A CUDA device is taken where there is one. A small job is computed exactly,
    in fp32; a larger one in bf16 where the processor multiplies that faster. On the CPU torch computes, and
    OpenVINO where it is installed, the job is so large that preparing it pays, and the single picture is not
    so large that its memory costs too much.

    Args:
        engine: ``auto``, ``torch``, ``compiled``, ``onnxruntime`` or ``openvino``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        network: name in the catalogue.
        megapixels: size of the job, in million input pixels; None for unknown, which counts as large.
        megapixels_each: size of one picture; None for unknown, which counts as small.
        machine: by default this one.

    Raises:
        InputError: an unknown name, or a pair that does not work; the message lists those that do.
        MissingExtraError: the engine that was asked for is not installed.

    Example:
        >>> bare = Machine("", 2, 2, ("AVX2",), None, (), False, {})
        >>> print(choose_engine(network="dilran", machine=bare))
        torch in fp32 on the CPU
        >>> amx = Machine("", 2, 2, ("AMX bf16",), None, (), False, {"openvino": "2026.0"})
        >>> print(choose_engine(network="dilran", machine=amx))
        openvino in bf16 on the CPU
        >>> choose_engine("onnxruntime", "bf16", network="dilran", machine=amx)
        Traceback (most recent call last):
        scalefuse.errors.InputError: onnxruntime with bf16 does not work: ONNX Runtime has no bf16 ...
    """
    _check(engine, precision)
    machine = machine or read_machine()
    if engine == "auto":
        size = float("inf") if megapixels is None else megapixels
        worth = size >= worth_compiling(network)
        worth = worth and (megapixels_each or 0.0) <= LARGEST_COMPILED.get(network, float("inf"))
        return _automatic(precision, machine, size, worth)
    name: EngineName = engine  # type: ignore[assignment]
    if name in ("torch", "compiled"):
        device: Literal["cpu", "cuda"] = "cuda" if machine.cuda_devices else "cpu"
        return EngineChoice(name, _precision(precision, machine, device), device)
    require_packages(name, installed=machine.engines)
    if precision == "bf16" and not machine.computes_bf16:
        raise InputError(
            f"{name} computes bf16 only on processors that have it, and this one does not; use fp32, or the "
            "engine `torch`."
        )
    return EngineChoice(name, _precision(precision, machine, possible=SUPPORTED[name]["bf16"] is None))


def worth_compiling(network: str) -> float:
    """Million pixels from which on OpenVINO pays for a network; a guess for those that were not measured.

    Example:
        >>> worth_compiling("dilran") == WORTH_COMPILING["dilran"]
        True
    """
    return WORTH_COMPILING.get(network, _WORTH_COMPILING_ELSE)


def working_pairs() -> str:
    """The supported pairs in one line.

    Example:
        >>> working_pairs()
        'torch with fp32, bf16; compiled with fp32, bf16; onnxruntime with fp32; openvino with fp32, bf16'
    """
    return "; ".join(
        f"{name} with {', '.join(one for one, problem in pairs.items() if problem is None)}"
        for name, pairs in SUPPORTED.items()
    )


def _check(engine: str, precision: str) -> None:
    for what, value, known in (
        ("engine", engine, get_args(EngineRequest)),
        ("precision", precision, get_args(PrecisionRequest)),
    ):
        if value not in known:
            raise InputError(f"Unknown {what} {value!r}; expected one of: {', '.join(known)}.")
    problem = {str(name): pairs for name, pairs in SUPPORTED.items()}.get(engine, {}).get(precision)  # type: ignore[call-overload]
    if problem is not None:
        raise InputError(
            f"{engine} with {precision} does not work: {problem}. Pairs that work: {working_pairs()}."
        )


def _automatic(precision: str, machine: Machine, megapixels: float, worth_compiling: bool) -> EngineChoice:
    shorten = megapixels >= WORTH_SHORTENING
    if machine.cuda_devices:
        wanted = _precision(precision, machine, "cuda", possible=shorten)
        return EngineChoice("torch", wanted, "cuda", may_fall_back=True)
    wanted = _precision(precision, machine, possible=shorten)
    possible = machine.has("openvino") and (wanted == "fp32" or machine.computes_bf16)
    if possible and worth_compiling:
        return EngineChoice("openvino", wanted, may_fall_back=True)
    return EngineChoice("torch", wanted)


def _precision(
    request: str, machine: Machine, device: Literal["cpu", "cuda"] = "cpu", *, possible: bool = True
) -> Precision:
    if request != "auto":
        return "bf16" if request == "bf16" else "fp32"
    # Last, since a processor may have to try it.
    fast = possible and (machine.cuda_bf16 if device == "cuda" else machine.fast_bf16)
    return "bf16" if fast else "fp32"
