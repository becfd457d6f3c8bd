"""An export as a model: what a bundle says, computed by graphs that are ready."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scalefuse.bundle import INFO, Bundle, BundleInfo, Stored, load_bundle, shipped_bundles
from scalefuse.errors import BundleError, InputError, MissingExtraError
from scalefuse.inference.engines.choice import EngineChoice
from scalefuse.inference.engines.packages import EXTRA
from scalefuse.inference.engines.protocol import EngineName
from scalefuse.inference.exported.record import RECORD, ExportEngine, ExportRecord
from scalefuse.inference.exported.runtime import ExportedClassification, Run, engine_of, open_graph

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
        for graph in record.graphs:
            file = self.source / graph.file
            try:
                runs[graph.role] = open_graph(
                    file, record.engine, batch=self.batch, options=record.runtime_options
                )
            except (MissingExtraError, MemoryError):
                raise
            except Exception as error:
                # The runtimes' exceptions derive from Exception itself.
                line = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise BundleError(
                    f"{file}: {name} cannot load it ({line}); copy the export again, or make it again."
                ) from error
        choice = ExportedChoice(name, "fp32", exported=record.precision)
        if record.task != "classification":
            return engine_of(runs, self.size), choice
        mean, std = (self.info.preprocessing.get(key, 0.5) for key in ("mean", "std"))
        return ExportedClassification(runs["model"], mean=mean, std=std), choice


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
    record, info = _parsed(ExportRecord, folder / RECORD), _parsed(BundleInfo, folder / INFO)
    if (record.task, record.network, record.labels) != (info.task, info.network, info.labels):
        raise BundleError(
            f"{folder}: {RECORD} and {INFO} describe different models; export the bundle again."
        )
    roles = sorted(graph.role for graph in record.graphs)
    shapes = [tensor.shape for graph in record.graphs for tensor in graph.inputs[:1]]
    named = all(Path(graph.file).name == graph.file for graph in record.graphs)
    expected = ["decoder", "encoder"] if record.task == "fusion" else ["model"]
    if roles != expected or len(shapes) < len(roles) or any(len(one) != 4 for one in shapes) or not named:
        raise BundleError(f"{folder}: {RECORD} was edited or is damaged; export the bundle again.")
    for graph in record.graphs:
        if not (folder / graph.file).is_file():
            raise BundleError(f"{folder / graph.file}: no such file; copy the export again, all of it.")
    card = folder / "README.md"
    found = ExportedBundle(
        info=info,
        state={},
        card=card.read_text("utf-8", "replace") if card.is_file() else "",
        source=folder,
        record=record,
    )
    key = "size" if info.task == "classification" else "resize"
    if found.size is None or not info.preprocessing.get(key):
        return found
    fixed = info.model_copy(update={"preprocessing": {**info.preprocessing, key: found.size}})
    return ExportedBundle(info=fixed, state={}, card=found.card, source=folder, record=record)


def _parsed(schema: type[Stored], file: Path) -> Stored:
    try:
        return schema.model_validate(json.loads(file.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the top"
        raise BundleError(f"{file}: wrong at {place}: {first['msg']}; export the bundle again.") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{file}: cannot be read ({error}); copy the export again.") from error
