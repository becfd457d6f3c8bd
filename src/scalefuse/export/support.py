"""Which runtime takes which number type, and which extra of ScaleFuse it needs."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

from scalefuse.errors import InputError, MissingExtraError
from scalefuse.inference.engines.packages import import_onnxruntime, import_openvino, import_package
from scalefuse.inference.exported.record import ExportEngine, ExportPrecision

ENGINES: tuple[ExportEngine, ...] = ("onnx", "openvino")
PRECISIONS: tuple[ExportPrecision, ...] = ("fp32", "fp16", "bf16", "int8")


class Support(NamedTuple):
    """One cell of the table.

    Attributes:
        works: whether this pair can be exported.
        note: what the numbers are in, or why it cannot.
    """

    works: bool
    note: str


SUPPORT: dict[tuple[ExportEngine, ExportPrecision], Support] = {
    ("onnx", "fp32"): Support(True, "weights and arithmetic in 32 bits"),
    ("onnx", "fp16"): Support(True, "large weights in 16 bits; arithmetic in 32 bits"),
    ("onnx", "bf16"): Support(False, "ONNX Runtime has no bf16 convolution on CPUs"),
    ("onnx", "int8"): Support(True, "convolutions and matrix products in 8 bits, the rest in 32"),
    ("openvino", "fp32"): Support(True, "weights and arithmetic in 32 bits"),
    ("openvino", "fp16"): Support(True, "large weights in 16 bits; arithmetic in 32 bits"),
    ("openvino", "bf16"): Support(True, "weights in 32 bits; arithmetic in bf16, on CPUs that have it"),
    ("openvino", "int8"): Support(True, "convolutions and matrix products in 8 bits, the rest in 32"),
}
"""The table that ``scalefuse export`` refuses by."""

_NEEDED: dict[ExportEngine, dict[str, tuple[str, ...]]] = {
    "onnx": {"onnx": ("onnx", "onnxscript", "onnxruntime")},
    # OpenVINO reads the ONNX graph, so that there is one way from torch and not two.
    "openvino": {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)},
}


def check_support(engine: str, precision: str) -> None:
    """Refuse a runtime and a number type that do not go together.

    Raises:
        InputError: unknown, or unsupported; the message lists the pairs that work.

    Example:
        >>> check_support("openvino", "bf16")
        >>> check_support("onnx", "bf16")
        Traceback (most recent call last):
        scalefuse.errors.InputError: onnx with bf16 is not supported: ONNX Runtime has no bf16 convolution ...
    """
    # Strings in the signature: the values come from the command line.
    found = {(str(one), str(other)): support for (one, other), support in SUPPORT.items()}.get(
        (engine, precision)
    )
    if found is not None and found.works:
        return
    why = found.note if found else f"expected one of {', '.join(ENGINES)} and of {', '.join(PRECISIONS)}"
    raise InputError(
        f"{engine} with {precision} is not supported: {why}. Pairs that work: {working_pairs()}."
    )


def working_pairs() -> str:
    """The supported pairs in one line.

    Example:
        >>> working_pairs()
        'onnx with fp32, fp16, int8; openvino with fp32, fp16, bf16, int8'
    """
    return "; ".join(
        f"{engine} with {', '.join(p for p in PRECISIONS if SUPPORT[engine, p].works)}" for engine in ENGINES
    )


def support_table() -> str:
    """The table in Markdown, as the documentation shows it.

    Example:
        >>> print(support_table().splitlines()[0])
        | `--to` | `--precision` | | what it is |
    """
    lines = ["| `--to` | `--precision` | | what it is |", "|---|---|---|---|"]
    for (engine, precision), support in SUPPORT.items():
        lines.append(f"| {engine} | {precision} | {'yes' if support.works else 'no'} | {support.note} |")
    return "\n".join(lines)


def require_packages(engine: ExportEngine) -> None:
    """Make sure that the packages of a runtime are installed and load.

    Raises:
        MissingExtraError: one is not, or does not; the message names the extra or the package.

    Example:
        >>> require_packages("onnx")
    """
    missing = {
        extra: [name for name in names if importlib.util.find_spec(name) is None]
        for extra, names in _NEEDED[engine].items()
    }
    extras = [extra for extra, names in missing.items() if names]
    if extras:
        absent = ", ".join(name for names in missing.values() for name in names)
        raise MissingExtraError(
            f"Exporting to {engine} needs packages that are not installed: {absent}; install them with "
            f"`pip install 'scalefuse[{','.join(extras)}]'`."
        )
    # Before the work, not after it: a package may be there and not load.
    import_onnxruntime()
    for name in ("onnx", "onnxscript"):
        import_package(name, "onnxruntime")
    if engine == "openvino":
        import_openvino()
