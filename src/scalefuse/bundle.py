"""A trained model as a folder or one zip: ``model.safetensors``, ``bundle.json`` and a model card.

Nothing in a bundle can run code: weights are safetensors, everything else is JSON and text.
"""

from __future__ import annotations

import difflib
import json
import platform
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from scalefuse.catalog import NETWORKS, NetworkConfig
from scalefuse.data.atomic import atomic_folder, atomic_write
from scalefuse.data.checkpoint import parse_weights
from scalefuse.errors import BundleError
from scalefuse.networks.spec import Task
from scalefuse.schema import Schema
from scalefuse.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

WEIGHTS, INFO, CARD = "model.safetensors", "bundle.json", "README.md"
EXPORT = "export.json"
"""What a folder holds that is an export, and not the bundle itself."""

SHIPPED = Path(__file__).parent / "weights"
"""Folder of the bundles that are installed with the package."""

FORMAT_VERSION: Literal[1] = 1

Stored = TypeVar("Stored", bound=Schema)


class TrainingData(Schema):
    """What a model was trained on.

    Attributes:
        description: One line for people.
        licence: Terms of the data, which bind users of the weights too.
        num_cases: Training cases.
        fingerprint: SHA-256 over names and contents of the training files; equal data give equal prints.
    """

    description: str = "not recorded"
    licence: str = "not recorded"
    num_cases: int | None = None
    fingerprint: str | None = None


class BundleInfo(Schema):
    """Contents of ``bundle.json``.

    Attributes:
        format_version: Version of this layout.
        name: Name of the model.
        task: What it does.
        network: Network and its constructor arguments.
        preprocessing: How pixels became network input in training, as the task's predictor reads it.
        labels: Names of the classes, in the order of the output channels.
        postprocessing: Fitted on validation data, as the task's predictor reads it.
        strategy: Fusion strategy used when none is asked for.
        training_data: What it was trained on.
        metrics: Measured values, with the split in the name.
        config: The full effective run configuration of the training, if it was trained by ScaleFuse.
        versions: Software that wrote the bundle.
        created: UTC time, ISO 8601.
    """

    format_version: Literal[1] = FORMAT_VERSION
    name: str
    task: Task
    network: NetworkConfig
    preprocessing: dict[str, Any] = Field(default_factory=dict)
    labels: tuple[str, ...] = ()
    postprocessing: dict[str, Any] | None = None
    strategy: str | None = None
    training_data: TrainingData = TrainingData()
    metrics: dict[str, Any] = Field(default_factory=dict)
    config: dict[str, Any] | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    created: str | None = None


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory.

    Attributes:
        info: Contents of ``bundle.json``.
        state: Parameters and buffers by name.
        card: Text of the model card.
        source: Folder or zip file it came from.
    """

    info: BundleInfo
    state: dict[str, Tensor]
    card: str
    source: Path

    def build_network(self) -> nn.Module:
        """The network with the bundle's weights, in evaluation mode.

        Raises:
            BundleError: A tensor is missing, unknown or of another shape.
        """
        import torch

        from scalefuse.networks.initialisation import without_random_weights

        spec = NETWORKS[self.info.network.name]
        # Every weight is replaced below: drawing random ones takes longer than reading the trained ones.
        with torch.device("meta"), without_random_weights():
            shapes = {
                name: tensor.shape for name, tensor in spec.build(self.info.network).state_dict().items()
            }
        missing = [name for name in shapes if name not in self.state]
        unknown = [name for name in self.state if name not in shapes]
        wrong = [
            f"{name} {tuple(self.state[name].shape)} instead of {tuple(shape)}"
            for name, shape in shapes.items()
            if name in self.state and self.state[name].shape != shape
        ]
        for problem, names in (("misses", missing), ("holds unknown", unknown), ("holds misshapen", wrong)):
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                raise BundleError(
                    f"{self.source}: {WEIGHTS} {problem} tensors for {self.info.network.name}: "
                    f"{', '.join(names[:3])}{more}; the bundle is damaged or was edited, make it again."
                )
        with without_random_weights():
            network = spec.build(self.info.network)
        network.load_state_dict(
            {name: tensor.float() for name, tensor in self.state.items() if tensor.is_floating_point()}
            | {name: tensor for name, tensor in self.state.items() if not tensor.is_floating_point()}
        )
        return network.eval()


def shipped_bundles() -> list[str]:
    """Names of the bundles that are installed with the package.

    Example:
        >>> "dilran" in shipped_bundles()
        True
    """
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{INFO}"))


def is_bundle(name_or_path: str | Path) -> bool:
    """Whether something names a shipped bundle, or is a folder or zip file that holds one.

    Example:
        >>> is_bundle("dilran"), is_bundle("no-such-model")
        (True, False)
    """
    path = Path(name_or_path)
    if path.is_dir():
        return (path / INFO).is_file()
    if path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                return INFO in archive.namelist()
        except (zipfile.BadZipFile, OSError, ValueError):
            return False
    return str(name_or_path) in shipped_bundles()


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Read a bundle.

    Args:
        name_or_path: A bundle's folder or zip file; or the name of a shipped one, unless it is here too.

    Raises:
        BundleError: There is none, or it is damaged or no bundle.

    Example:
        >>> load_bundle("dilran").info.task
        'fusion'
    """
    path = Path(name_or_path)  # a run or an export may bear a shipped bundle's name without being one
    if str(path) in shipped_bundles() and not (path.is_file() or _is_bundle_folder(path)):
        path = SHIPPED / path
    if not path.exists():
        raise BundleError(_not_found(str(name_or_path)))
    if path.is_dir():
        files = {name: path / name for name in (INFO, WEIGHTS, CARD)}
        if absent := [name for name in (INFO, WEIGHTS) if not files[name].is_file()]:
            raise BundleError(
                f"{path}: no bundle: {' and '.join(absent)} not in the folder; {_what_else(path)}"
            )
        contents = {name: file.read_bytes() for name, file in files.items() if file.is_file()}
    else:
        contents = _read_zip(path)
    return Bundle(
        info=_parse_info(path, contents[INFO]),
        state=parse_weights(path / WEIGHTS, contents[WEIGHTS]),
        card=contents.get(CARD, b"").decode("utf-8", "replace"),
        source=path,
    )


def save_bundle(
    path: str | Path, info: BundleInfo, state: Mapping[str, Tensor], card: str, *, half: bool = False
) -> Path:
    """Write a bundle, whole or not at all.

    Args:
        path: Folder to write, or a file ending in ``.zip``. An existing bundle there is replaced.
        info: Contents of ``bundle.json``; versions and time are filled in.
        state: Parameters and buffers by name.
        card: Model card, Markdown.
        half: Store floating-point tensors in half precision, where it can hold them; see
            :func:`~scalefuse.networks.half_precision.as_half`.

    Raises:
        BundleError: ``path`` is a folder that holds something else.
        OutputError: It cannot be written.
    """
    import torch
    from safetensors.torch import save

    from scalefuse.networks.half_precision import as_half

    path = Path(path)
    tensors = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous()
        tensors[name] = as_half(tensor) if half else tensor
    versions = {"scalefuse": __version__, "torch": torch.__version__, "python": platform.python_version()}
    info = info.model_copy(
        update={"versions": versions, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    )
    files = {
        WEIGHTS: save(tensors),
        INFO: (json.dumps(info.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode(),
        CARD: card.encode(),
    }
    if path.suffix == ".zip":
        with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    if path.is_dir() and any(path.iterdir()) and not _is_bundle_folder(path):
        raise BundleError(
            f"{path}: a folder with other files stands there; give a new folder for the bundle."
        )
    with atomic_folder(path) as folder:
        if path.is_dir():
            # Logs and the like that were kept beside the bundle stay there.
            for kept in path.iterdir():
                if kept.name not in files:
                    (shutil.copytree if kept.is_dir() else shutil.copy2)(kept, folder / kept.name)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    return path


def parse_stored(schema: type[Stored], values: object, bundle: Bundle) -> Stored:
    """Settings from ``bundle.json``, such as the preprocessing, as a schema.

    Args:
        schema: What they should be.
        values: As stored.
        bundle: For the message.

    Raises:
        BundleError: They do not fit; the place is named.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or schema.__name__
        raise BundleError(
            f"{bundle.source}: {INFO}: {place}: {problem['msg']}; the bundle is damaged or was edited, "
            "make it again."
        ) from error


def _is_bundle_folder(folder: Path) -> bool:
    return (folder / INFO).is_file() and not (folder / EXPORT).is_file()


def _what_else(folder: Path) -> str:
    if (folder / EXPORT).is_file():
        return "it is an export, and this needs the bundle that it was made from."
    return f"did you mean {folder / 'bundle'}?" if (folder / "bundle").is_dir() else "give a bundle."


def _not_found(name: str) -> str:
    names = shipped_bundles()
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? Otherwise give" if near else "give"
    return (
        f"{name}: no such bundle; {hint} a bundle folder, a .zip file, or one of the models that come "
        f"with ScaleFuse: {', '.join(names) or 'none'}."
    )


def _read_zip(path: Path) -> dict[str, bytes]:
    hint = "give a bundle folder or zip; `scalefuse convert` makes one from a published checkpoint"
    if not zipfile.is_zipfile(path):
        if (path.parent / EXPORT).is_file():
            raise BundleError(f"{path}: a file of an export; give its folder, {path.parent}.")
        raise BundleError(f"{path}: not a ScaleFuse bundle; {hint}.")
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            absent = [name for name in (INFO, WEIGHTS) if name not in names]
            if any(Path(name).name == EXPORT for name in names):
                raise BundleError(f"{path}: holds an export; unzip it and give its folder.")
            if absent:
                raise BundleError(f"{path}: no bundle: it has no {' and no '.join(absent)}; {hint}.")
            return {name: archive.read(name) for name in (INFO, WEIGHTS, CARD) if name in names}
    except BundleError:
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError) as error:
        raise BundleError(f"{path}: the zip file is damaged ({error}); copy it again.") from error


def _parse_info(path: Path, data: bytes) -> BundleInfo:
    try:
        raw = json.loads(data)
        if isinstance(raw, dict) and raw.get("format_version", 0) > FORMAT_VERSION:
            raise BundleError(
                f"{path}: written in bundle format {raw['format_version']}, but this ScaleFuse reads up to "
                f"{FORMAT_VERSION}; install a newer ScaleFuse."
            )
        return BundleInfo.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the top"
        raise BundleError(
            f"{path}: {INFO} is wrong at {place}: {first['msg']}; make the bundle again."
        ) from error
    except (ValueError, TypeError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{path}: {INFO} is not valid JSON ({error}); copy the bundle again.") from error
