"""What the machine has: processor, memory, CUDA devices, and the optional engines."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scalefuse.inference.engines.bf16_gain import measure_bf16_gain
from scalefuse.inference.engines.packages import NEEDED, missing_packages

_CPU_INFO = Path("/proc/cpuinfo")
_MEMORY_INFO = Path("/proc/meminfo")
_FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 bf16",
    "amx_bf16": "AMX bf16",
    "amx_int8": "AMX int8",
}


@dataclass(frozen=True)
class Machine:
    """What engines can use.

    Attributes:
        processor: name.
        cores: that this process may run on.
        threads: that torch uses.
        features: of the processor, as people call them.
        memory_gib: installed memory, None where unknown.
        cuda_devices: names.
        cuda_bf16: whether the first CUDA device computes bf16.
        engines: optional packages that are installed, with versions.
        bf16_gain: how many times as fast as in float32 the processor computes a convolution in bf16; where it
            is None and instructions do not tell, it is tried when somebody asks.
    """

    processor: str
    cores: int
    threads: int
    features: tuple[str, ...]
    memory_gib: float | None
    cuda_devices: tuple[str, ...]
    cuda_bf16: bool
    engines: dict[str, str]
    bf16_gain: float | None = None

    @property
    def computes_bf16(self) -> bool:
        """Whether the processor has instructions for bf16.

        Example:
            >>> Machine("", 1, 1, ("AVX-512 bf16",), None, (), False, {}).computes_bf16
            True
        """
        return bool({"AVX-512 bf16", "AMX bf16"} & set(self.features))

    @property
    def measured_bf16_gain(self) -> float | None:
        """``bf16_gain``, tried once in a process where only that tells; None where instructions do.

        Example:
            >>> Machine("", 1, 1, ("AMX bf16",), None, (), False, {}).measured_bf16_gain is None
            True
        """
        if self.bf16_gain is None and self.computes_bf16 and "AMX bf16" not in self.features:
            return _bf16_gain()
        return self.bf16_gain

    @property
    def fast_bf16(self) -> bool:
        """Whether the processor multiplies bf16 faster than float32, by its instructions or as measured.

        Example:
            >>> Machine("", 1, 1, ("AMX bf16",), None, (), False, {}).fast_bf16
            True
            >>> Machine("", 1, 1, ("AVX-512 bf16",), None, (), False, {}, bf16_gain=0.5).fast_bf16
            False
        """
        gain = self.measured_bf16_gain
        return self.computes_bf16 and (gain is None or gain > 1.0)

    def has(self, engine: str) -> bool:
        """Whether the packages of an engine are installed.

        Example:
            >>> Machine("", 1, 1, (), None, (), False, {}).has("torch")
            True
        """
        return all(package in self.engines for package in NEEDED.get(engine, ()))


@cache
def read_machine() -> Machine:
    """Look at this machine, once.

    Example:
        >>> read_machine().cores >= 1
        True
    """
    import torch

    cuda = torch.cuda.is_available()
    flags, name = _processor()
    return Machine(
        processor=name,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        features=tuple(shown for flag, shown in _FEATURES.items() if flag in flags),
        memory_gib=_memory(),
        cuda_devices=tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        if cuda
        else (),
        cuda_bf16=cuda and torch.cuda.is_bf16_supported(),
        engines=_installed(),
    )


@cache
def _bf16_gain() -> float:
    return round(measure_bf16_gain(), 2)


def _processor() -> tuple[set[str], str]:
    """Flags as Linux calls them, and the name."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "flags" in fields:
        return set(fields["flags"].split()), name
    return _flags_by_torch(), name


def _flags_by_torch() -> set[str]:
    import torch

    # Newer than the oldest torch that is supported, and on some systems without an answer.
    ask: Any = getattr(torch.cpu, "get_capabilities", dict)
    found = {key for key, value in ask().items() if value is True}
    return found | ({"avx512f"} if "avx512_f" in found else set())


def _memory() -> float | None:
    try:
        text = _MEMORY_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        if line.startswith("MemTotal:"):
            return round(int(line.split()[1]) / 2**20, 1)
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _installed() -> dict[str, str]:
    found = {}
    for engine, packages in NEEDED.items():
        absent = missing_packages(engine)
        for package in packages:
            if package not in absent:
                try:
                    found[package] = importlib.metadata.version(package)
                except importlib.metadata.PackageNotFoundError:
                    found[package] = "unknown version"
    return found
