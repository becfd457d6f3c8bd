"""The packages and extras that optional engines need; found without importing them."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Collection
from typing import Any

from scalefuse.errors import MissingExtraError

NEEDED: dict[str, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
}
"""Packages that an engine needs beside torch."""

EXTRA = {"openvino": "openvino", "onnxruntime": "onnx"}
"""Extra of ScaleFuse that brings them."""


def missing_packages(engine: str) -> list[str]:
    """Those packages of an engine that are not installed.

    Example:
        >>> missing_packages("torch")
        []
    """
    return [name for name in NEEDED.get(engine, ()) if importlib.util.find_spec(name) is None]


def require_packages(engine: str, installed: Collection[str] | None = None) -> None:
    """Make sure that the packages of an engine are installed.

    Args:
        engine: its name.
        installed: packages that are known to be there; looked for where None.

    Raises:
        MissingExtraError: one is not; the message names the extra.

    Example:
        >>> require_packages("torch")
        >>> require_packages("openvino", installed=())
        Traceback (most recent call last):
        scalefuse.errors.MissingExtraError: The engine `openvino` needs a package that is not installed: ...
    """
    missing = missing_packages(engine)
    if installed is not None:
        missing = [name for name in NEEDED.get(engine, ()) if name not in installed]
    if missing:
        what = "a package that is" if len(missing) == 1 else "packages that are"
        raise MissingExtraError(
            f"The engine `{engine}` needs {what} not installed: {', '.join(missing)}; install with "
            f"`pip install 'scalefuse[{EXTRA[engine]}]'`, or choose the engine `torch` or `auto`."
        )


def import_package(name: str, engine: str) -> Any:
    """Import a package that an engine needs.

    Args:
        name: of the package.
        engine: which needs it, for the message.

    Raises:
        MissingExtraError: it is not installed, or is and does not load.

    Example:
        >>> import_package("math", "openvino").sqrt(4)
        2.0
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if importlib.util.find_spec(name) is None:
            require_packages(engine)
        raise MissingExtraError(
            f"The package {name}, which the engine `{engine}` needs, is installed but does not load "
            f"({error}); install it anew with `pip install --force-reinstall {name}`, or do without it."
        ) from error


def import_openvino() -> Any:
    """The package ``openvino``, without the usage reports that its converter sends to its makers.

    It reports on import already, unless the user has opted out. It does without where the package that it
    reports with cannot be found.

    Raises:
        MissingExtraError: it does not load.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return import_package("openvino", "openvino")


def import_onnxruntime() -> Any:
    """The package ``onnxruntime``, without usage reports to its makers and without advice on the terminal.

    Its official builds collect reports from the import on, unless this variable of the environment is set. A
    value that the user has set stays.

    Raises:
        MissingExtraError: it does not load.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    onnxruntime = import_package("onnxruntime", "onnxruntime")
    onnxruntime.set_default_logger_severity(3)
    logging.getLogger("onnxruntime").setLevel(logging.ERROR)
    return onnxruntime
