"""Names of files and of models, as callers from Python write them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def takes_names(*paths: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Let a function take strings for paths too, and a single model where it takes several.

    Args:
        paths: the function's parameters that are paths, or sequences of these.

    Example:
        >>> @takes_names("folder")
        ... def parent(folder: Path) -> str:
        ...     return folder.parent.name
        >>> parent("scans/ct")
        'scans'
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        signature = inspect.signature(function)

        @wraps(function)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            bound = signature.bind(*args, **kwargs)
            given = bound.arguments
            given |= {name: _path(given[name]) for name in paths if name in given}
            if "models" in given and not isinstance(given["models"], list | tuple):
                given["models"] = [given["models"]]
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate


def _path(given: Any) -> Any:
    if isinstance(given, list | tuple):
        return [_path(one) for one in given]
    return Path(given) if isinstance(given, str) else given
