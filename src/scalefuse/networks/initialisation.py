"""Building networks whose weights are replaced at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# Methods of tensors and functions of torch.nn.init; erfinv_ is the costly half of a truncated normal.
_SKIPPED = frozenset({"normal_", "uniform_", "erfinv_", "kaiming_normal_", "kaiming_uniform_"})


@contextmanager
def without_random_weights() -> Iterator[None]:
    """Fill with zeros what layers begin with random numbers in.

    Everything else is computed as usual, tables that are no weights included.

    Example:
        >>> import torch
        >>> before = torch.get_rng_state()
        >>> with without_random_weights():
        ...     layer = torch.nn.Linear(100, 100)
        >>> torch.equal(before, torch.get_rng_state())
        True
    """
    with _WithoutRandomNumbers():
        yield


class _WithoutRandomNumbers(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _SKIPPED:
            # Not left as it is: a truncated normal draws again as long as anything lies outside its bounds.
            with torch.no_grad():
                return (args[0] if args else kwargs["tensor"]).zero_()
        return func(*args, **kwargs)
