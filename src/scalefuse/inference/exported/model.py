"""An export as a model: what a bundle says, computed by graphs that are ready."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from scalefuse.bundle import (
    INFO,
    WEIGHTS,
    Bundle,
    BundleInfo,
    Stored,
    load_bundle,
    parse_stored,
    shipped_bundles,
)
from scalefuse.catalog import NETWORKS
from scalefuse.data.classification_input import ClassificationPreprocessing
from scalefuse.errors import BundleError, InputError, MissingExtraError
from scalefuse.inference.engines.choice import EngineChoice
from scalefuse.inference.engines.packages import EXTRA
from scalefuse.inference.engines.protocol import EngineName
from scalefuse.inference.exported.record import RECORD, ExportEngine, ExportRecord, runtime_options
from scalefuse.inference.exported.runtime import ExportedClassification, Run, engine_of, open_graph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

_OF_ANY_SIZE = ("multi_label", "temperature")

ENGINE_NAMES: dict[ExportEngine, EngineName] = {"onnx": "onnxruntime", "openvino": "openvino"}
"""What computes the graphs."""


@dataclass(frozen=True)
class ExportedChoice(EngineChoice):
    """What computes an export.

    Attributes:
        exported: its number type.
    """

    exported: str = "fp32"

    def __str__(self) -> str:
        """One phrase for people.

        Example:
            >>> print(ExportedChoice("openvino", "fp32", exported="int8"))
            openvino in int8 on the CPU, as exported
        """
        return f"{self.engine} in {self.exported} on the CPU, as exported"


@dataclass(frozen=True)
class ExportedBundle(Bundle):
    """An export in memory: a bundle without weights, whose network is in files beside it.

    Attributes:
        record: contents of ``export.json``.
    """

    record: ExportRecord

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that the graphs were fixed to, if they were."""
        height, width = self.record.graphs[0].inputs[0].shape[2:]
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    @property
    def batch(self) -> int | None:
        """Number of images that the graphs were fixed to, if they were."""
        count = self.record.graphs[0].inputs[0].shape[0]
        return count if isinstance(count, int) else None

    def build_engine(
        self, engine: str | None = None, precision: str | None = None
    ) -> tuple[Any, EngineChoice]:
        """The graphs as an engine, and what it is.

        Args:
            engine: None or ``auto`` for that of the export, which is all there is.
            precision: the same.

        Raises:
            InputError: another engine or precision than the export's.
            MissingExtraError: the runtime is not installed.
            BundleError: a file is damaged.
        """
        record = self.record
        name = ENGINE_NAMES[record.engine]
        if engine not in (None, "auto", name) or precision not in (None, "auto", record.precision):
            asked = " in ".join(one for one in (engine, precision) if one not in (None, "auto"))
            raise InputError(
                f"{self.source}: an export for {name} in {record.precision}, but {asked} was asked for; "
                "leave engine and precision out, or give the bundle that it was made from."
            )
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(
                f"{self.source}: an export for {name}, which is not installed; install it with `pip install "
                f"'scalefuse[{EXTRA[name]}]'`, or give the bundle that the export was made from."
            )
        runs: dict[str, Run] = {}
        options = runtime_options(record.precision) if record.engine == "openvino" else None
        for graph in record.graphs:
            file = self.source / graph.file
            with _blamed(file, f"{name} cannot load it"):
                run = open_graph(file, record.engine, batch=self.batch, options=options)
            runs[graph.role] = _checked(run, file, {one.name for one in graph.outputs})
        choice = ExportedChoice(name, "fp32", exported=record.precision)
        if record.task != "classification":
            return engine_of(runs, self.size), choice
        settings = parse_stored(ClassificationPreprocessing, self.info.preprocessing, self)
        return ExportedClassification(runs["model"], mean=settings.mean, std=settings.std), choice

    def build_network(self) -> nn.Module:
        """Refused: an export has no weights.

        Raises:
            BundleError: always.
        """
        raise BundleError(f"{self.source}: an export, and this needs the bundle that it was made from.")


@contextmanager
def _blamed(file: Path, what: str) -> Iterator[None]:
    """Whatever a runtime raises becomes one line on the file."""
    try:
        yield
    except (MissingExtraError, MemoryError):
        raise
    except Exception as error:
        # The runtimes' exceptions derive from Exception itself.
        if "alloc" in str(error).lower():
            raise MemoryError(f"{file}: not enough memory") from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        raise BundleError(f"{file}: {what} ({reason}); copy the export again, or make it again.") from error


def _checked(run: Run, file: Path, outputs: set[str]) -> Run:
    """The same graph, where what it takes and gives is what the record says."""

    def checked(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        with _blamed(file, f"it computes nothing of pictures {batch.shape}"):
            found = run(batch)
        if not outputs <= found.keys():
            raise BundleError(
                f"{file}: gives {', '.join(sorted(found))}, but {RECORD} says {', '.join(sorted(outputs))}; "
                "it belongs to another export."
            )
        return found

    return checked


def is_export(path: str | Path) -> bool:
    """Whether a folder holds an export.

    Example:
        >>> is_export("no-such-folder")
        False
    """
    return (Path(path) / RECORD).is_file()


def load_model(name_or_path: str | Path) -> Bundle:
    """Read a bundle, or an export of one.

    Args:
        name_or_path: as for :func:`~scalefuse.bundle.load_bundle`; or the folder of an export. The name of a
            shipped bundle alone means that bundle, also where an export of this name is here.

    Raises:
        BundleError: there is neither, or it is damaged.

    Example:
        >>> load_model("dilran").info.task
        'fusion'
    """
    if is_export(name_or_path) and str(name_or_path) not in shipped_bundles():
        return load_export(Path(name_or_path))
    return load_bundle(name_or_path)


def load_export(folder: Path) -> ExportedBundle:
    """Read what an export says; its graphs are opened when an engine is built.

    Args:
        folder: with ``export.json``, ``bundle.json`` and the graphs.

    Raises:
        BundleError: a file is missing or damaged, or the two descriptions are of different models.
    """
    if not (folder / INFO).is_file():
        raise BundleError(
            f"{folder}: an export without its {INFO}, which exports have had since they can be used as "
            "models; export the bundle again, or copy the file too."
        )
    if (folder / WEIGHTS).is_file():
        raise BundleError(
            f"{folder}: holds an export and {WEIGHTS} of a bundle, so that it is not clear which is meant; "
            f"take {RECORD} and its graphs away, or {WEIGHTS}."
        )
    record, info = _parsed(ExportRecord, folder / RECORD), _parsed(BundleInfo, folder / INFO)
    _check_files(folder, record)
    shared = ("name", "task", "network", "labels", "strategy", "postprocessing")
    if any(getattr(record, one) != getattr(info, one) for one in shared):
        raise BundleError(
            f"{folder}: {RECORD} and {INFO} describe different models; export the bundle again."
        )
    card = folder / "README.md"
    found = ExportedBundle(
        info=info,
        state={},
        card=card.read_text("utf-8", "replace") if card.is_file() else "",
        source=folder,
        record=record,
    )
    return replace(found, info=_at_size(info, found.size))


def _at_size(info: BundleInfo, size: tuple[int, int] | None) -> BundleInfo:
    """What a bundle says where its graphs were fixed to a size."""
    key = "size" if info.task == "classification" else "resize"
    trained = info.preprocessing.get(key)
    if size is None or not trained or tuple(trained) == size:
        return info
    update: dict[str, Any] = {"preprocessing": {**info.preprocessing, key: size}}
    if info.task == "classification" and info.postprocessing is not None:
        # At another size scores and thresholds promise nothing.
        kept = {name: info.postprocessing[name] for name in _OF_ANY_SIZE if name in info.postprocessing}
        update["postprocessing"] = kept
    return info.model_copy(update=update)


def _check_files(folder: Path, record: ExportRecord) -> None:
    """Refuse a record that cannot be one, and files that are not those it tells of."""
    roles = sorted(graph.role for graph in record.graphs)
    expected = ["decoder", "encoder"] if record.task == "fusion" else ["model"]
    multiple = NETWORKS[record.network.name].size_multiple
    if (
        roles != expected
        or any(Path(graph.file).name != graph.file for graph in record.graphs)
        or any(len(graph.inputs) != 1 or not _possible(graph.inputs[0].shape) for graph in record.graphs)
        or any(side % multiple for side in record.graphs[0].inputs[0].shape[2:] if isinstance(side, int))
    ):
        raise BundleError(f"{folder}: {RECORD} was edited or is damaged; export the bundle again.")
    for graph in record.graphs:
        file = folder / graph.file
        files = [one for one in folder.glob(f"{file.stem}.*") if one.is_file()]
        if not file.is_file() or (file.suffix == ".xml" and file.with_suffix(".bin") not in files):
            raise BundleError(f"{file}: no such file, or none beside it; copy the export again, all of it.")
        size = sum(one.stat().st_size for one in files)
        if size != graph.bytes:
            raise BundleError(
                f"{file}: {size} bytes, but {RECORD} says {graph.bytes}; copy the export again, all of it."
            )


def _possible(shape: tuple[int | str, ...]) -> bool:
    return len(shape) == 4 and all(isinstance(side, str) or side >= 1 for side in shape)


def _parsed(schema: type[Stored], file: Path) -> Stored:
    try:
        return schema.model_validate(json.loads(file.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("format_version",):
            raise BundleError(f"{file}: of a later version; install a newer ScaleFuse.") from error
        place = ".".join(str(part) for part in first["loc"]) or "the top"
        raise BundleError(f"{file}: wrong at {place}: {first['msg']}; export the bundle again.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{file}: cannot be read ({error}); copy the export again.") from error
