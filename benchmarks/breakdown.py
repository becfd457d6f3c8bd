"""Where a network's time goes, by kind of operation: what keeps a path below the machine's ceiling."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.profiler import ProfilerActivity, profile

KINDS: dict[str, tuple[str, ...]] = {
    "products": ("conv", "mm", "linear", "scaled_dot_product", "flash_attention", "einsum", "matmul"),
    "singular values": ("linalg", "svd"),
    "normalisation": ("norm", "softmax"),
    "layout and copies": (
        *("copy", "cat", "contiguous", "clone", "reorder", "to_dense", "to_mkldnn", "roll", "pad"),
        *("index", "stack", "empty", "zeros", "fill", "slice_backward", "set_data"),
    ),
}
"""Kind to words in the names of its operations; what holds none of them is ``element by element``."""

REST = "element by element"


def breakdown(run: Callable[[], Any], *, repeats: int = 1) -> dict[str, float]:
    """Share of the processor's time by kind of operation, of a path that torch computes.

    Args:
        run: The path; it has run before.
        repeats: Runs that count.

    Example:
        >>> import torch
        >>> a = torch.randn(300, 300)
        >>> shares = breakdown(lambda: a @ a)
        >>> max(shares, key=shares.get)
        'products'
    """
    with _no_trace_notes(), profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(repeats):
            run()
    times: dict[str, float] = dict.fromkeys((*KINDS, REST), 0.0)
    for event in profiler.key_averages():
        times[kind_of(event.key)] += event.self_cpu_time_total
    total = sum(times.values()) or 1.0
    return {kind: time / total for kind, time in times.items()}


def kind_of(operation: str) -> str:
    """The kind of an operation by its name.

    Example:
        >>> [kind_of(name) for name in ("aten::mkldnn_convolution", "aten::native_layer_norm", "aten::add")]
        ['products', 'normalisation', 'element by element']
    """
    name = operation.rpartition("::")[2].lower()
    # `linalg_svd` holds no word of the products, but `linalg_vector_norm` holds one of the norms.
    for kind in ("singular values", "normalisation", "products", "layout and copies"):
        if any(word in name for word in KINDS[kind]):
            return kind
    return REST


@contextmanager
def _no_trace_notes() -> Iterator[None]:
    """Keep the profiler's own lines, which come from below Python, out of the progress."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
