"""Reading a run configuration, with errors that name the key, the place and the nearest right key."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import BaseModel, Discriminator, TypeAdapter, ValidationError

from scalefuse.config.classification import ClassificationRun
from scalefuse.config.fusion import FusionRun
from scalefuse.config.segmentation import SegmentationRun
from scalefuse.errors import ConfigError

AnyRun = FusionRun | SegmentationRun | ClassificationRun
"""A configuration of any task."""

RunConfig = Annotated[AnyRun, Discriminator("task")]
"""The configuration of any training run, told apart by its ``task``."""

_RUNS: dict[str, type[FusionRun] | type[SegmentationRun] | type[ClassificationRun]] = {
    "fusion": FusionRun,
    "segmentation": SegmentationRun,
    "classification": ClassificationRun,
}
CONFIGS = Path(__file__).parent.parent / "configs"


def shipped_configs() -> list[str]:
    """Names of the configurations that come with ScaleFuse.

    Example:
        >>> "dilran" in shipped_configs()
        True
    """
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def load_config(source: str | Path | None = None, overrides: Sequence[str] = ()) -> AnyRun:
    """Read and validate a run configuration.

    Args:
        source: A YAML file or the name of a shipped configuration; None starts from the defaults for fusion.
        overrides: ``key=value`` strings with dotted keys; values are read as YAML.

    Raises:
        ConfigError: No such file, not YAML, an unknown key or a wrong value. All problems are listed.

    Example:
        >>> load_config("dilran", ["optimizer.learning_rate=0.01"]).optimizer.learning_rate
        0.01
        >>> load_config("dilran", ["training.epoch=3"])
        Traceback (most recent call last):
        scalefuse.errors.ConfigError: dilran: unknown key 'epoch' in training; did you mean 'epochs'?
    """
    raw = _read(source) if source is not None else {}
    for override in overrides:
        _apply(raw, override)
    label = str(source) if source is not None else "configuration"
    task = raw.get("task", "fusion")
    if not isinstance(task, str) or task not in _RUNS:
        raise ConfigError(f"{label}: unknown task {task!r}; expected one of: {', '.join(_RUNS)}.")
    try:
        return TypeAdapter(_RUNS[task]).validate_python(raw)
    except ValidationError as error:
        lines = _explain_all(error.errors(), _RUNS[task])
        raise ConfigError(f"{label}: " + "; ".join(dict.fromkeys(lines))) from error


def config_yaml(config: BaseModel) -> str:
    """The full effective configuration as YAML, defaults included.

    Example:
        >>> print(config_yaml(load_config("dilran").optimizer).splitlines()[0])
        name: adamw
    """
    values = config.model_dump(mode="json")
    if isinstance(config, ClassificationRun) and "num_classes" not in config.network.model_fields_set:
        # Where nobody gave it, the number of classes is that of the data.
        values["network"].pop("num_classes", None)
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


class _PlainNumbers(yaml.SafeLoader):
    """YAML in which only ``12`` is a whole number, and ``012``, ``1_2``, ``0x12`` and ``1:20`` are text.

    Those are names of classes and files where they occur; numbers read out of them would be others. A key
    that is given twice is an error: of two sections of one name the first would be lost.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping whose keys differ."""
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)$")
_PlainNumbers.yaml_implicit_resolvers = {
    first: [(tag, _WHOLE if tag == "tag:yaml.org,2002:int" else pattern) for tag, pattern in resolvers]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _parsed(text: str) -> Any:
    loader = _PlainNumbers(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _read(source: str | Path) -> dict[str, Any]:
    path = Path(source)
    # Unlike Path.is_file, no error for what can be no file's name.
    if not os.path.isfile(path):  # noqa: PTH113
        shipped = CONFIGS / f"{source}.yaml"
        if not os.path.isfile(shipped):  # noqa: PTH113
            near = difflib.get_close_matches(str(source), shipped_configs(), n=1)
            hint = f"did you mean {near[0]!r}? Give" if near else "give"
            raise ConfigError(
                f"{source}: no such configuration; {hint} a YAML file or one of: "
                f"{', '.join(shipped_configs())}."
            )
        path = shipped
    try:
        raw = _parsed(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}: not valid YAML{place} ({problem}); mend the file.") from error
    if not isinstance(raw, dict):
        got = "an empty file" if raw is None else type(raw).__name__
        raise ConfigError(
            f"{path}: expected `key: value` lines such as `task: segmentation`, but got {got}; mend the file."
        )
    return raw


def _apply(raw: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override}: expected key=value, such as optimizer.learning_rate=0.001.")
    try:
        value = _parsed(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"--set {override}: the value is not valid YAML; quote it.") from error
    # YAML 1.1 reads 1e-4 as text; people mean the number.
    if isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE]-\d+", value):
        value = float(value)
    *parents, last = key.strip().split(".")
    place: Any = raw
    for depth, part in enumerate(parents):
        if isinstance(place, list):
            place = _item(place, part, override)
            continue
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, dict | list):
            raise ConfigError(
                f"--set {override}: {'.'.join(parents[: depth + 1])} is a value, not a section with keys."
            )
    if isinstance(place, list):
        _item(place, last, override)
        place[int(last)] = value
    else:
        place[last] = value


def _item(items: list[Any], part: str, override: str) -> Any:
    if not part.isdigit() or int(part) >= len(items):
        raise ConfigError(f"--set {override}: {part!r} is no entry of a list of {len(items)}; count from 0.")
    return items[int(part)]


def _explain_all(problems: Sequence[Mapping[str, Any]], model: type[BaseModel]) -> list[str]:
    """One line per problem. Where a value may be of several kinds, only of the kind that it is of."""
    wrong_kind = [
        str(problem["type"]).endswith("_type")
        or (problem["type"] == "literal_error" and not isinstance(problem.get("input"), str))
        for problem in problems
    ]
    roots = [_union_root(problem["loc"]) for problem in problems]
    better = {root for root, wrong in zip(roots, wrong_kind, strict=True) if root is not None and not wrong}
    lines: dict[Any, list[str]] = {}
    for number, (problem, root, wrong) in enumerate(zip(problems, roots, wrong_kind, strict=True)):
        if not (wrong and root in better):
            lines.setdefault(root if wrong and root else number, []).append(_explain(problem, model))
    # Of no kind that is possible: one line, with all of them.
    return [
        ", or ".join([first, *(line.partition(": ")[2] for line in more)]) for first, *more in lines.values()
    ]


def _union_root(location: Sequence[Any]) -> tuple[Any, ...] | None:
    """Where the kinds that a value may be of part; None where there is one only."""
    return next((tuple(location[:at]) for at, part in enumerate(location) if _is_kind(part)), None)


def _is_kind(part: Any) -> bool:
    """Whether pydantic names a kind of value here, and no key."""
    return isinstance(part, str) and ("[" in part or part.startswith("constrained-"))


_MESSAGES = {
    "model_type": "expected a section with keys",
    "model_attributes_type": "expected a section with keys",
    "tuple_type": "expected a list",
}


def _explain(problem: Mapping[str, Any], model: type[BaseModel]) -> str:
    location = _without_tags(problem["loc"], model, known=problem["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        parent = ".".join(str(part) for part in location[:-1])
        keys = _keys(model, problem["loc"][:-1])
        near = difflib.get_close_matches(str(location[-1]), keys, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of: {', '.join(keys)}."
        return f"unknown key {str(location[-1])!r} in {parent or 'the top level'}; {hint}"
    if problem["type"] == "union_tag_invalid":
        tag, known = problem["ctx"]["tag"], problem["ctx"]["expected_tags"]
        near = difflib.get_close_matches(tag, re.findall("'([^']*)'", known), n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        return f"{place}.name: expected one of {known}, but got {tag!r}{hint}"
    message = _MESSAGES.get(problem["type"]) or str(problem["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    got = problem.get("input")
    shown = f" (got {got!r})" if isinstance(got, str | int | float | bool) else ""
    if problem["type"] == "string_type" and isinstance(got, bool | int | float):
        words = ("yes, on and true" if got else "no, off and false") if isinstance(got, bool) else "numbers"
        shown = f" (got {got!r}, as YAML reads {words}; a name needs quotation marks, and none is null)"
    return f"{place or 'the configuration'}: {message}{shown}"


def _without_tags(location: Sequence[Any], model: Any, *, known: bool) -> list[Any]:
    """A place in a configuration as people write it: without the kinds and networks that pydantic names.

    Args:
        location: As pydantic gives it.
        model: Of the whole configuration.
        known: Whether its last part is a key of the model, or a kind.
    """
    *inner, last = location or ("",)
    # The last part of an unknown key is what somebody wrote, brackets and all.
    parts = [*(part for part in inner if not _is_kind(part)), *([] if known and _is_kind(last) else [last])]
    return [
        part
        for at, part in enumerate(parts)
        if isinstance(part, int) or at == len(parts) - 1 or part in _keys(model, parts[:at])
    ]


def _keys(model: Any, location: Sequence[Any]) -> list[str]:
    """Names of the fields at a place inside a model."""
    parts = [part for part in location if not isinstance(part, int)]
    for part, tag in zip(parts, [*parts[1:], None], strict=False):
        fields = getattr(model, "model_fields", {})
        if part not in fields:
            continue  # the tag of a union
        models = _models_in(fields[part].annotation)
        tagged = [
            one for one in models if "name" in one.model_fields and one.model_fields["name"].default == tag
        ]
        model = next(iter(tagged or models), None)
    return list(getattr(model, "model_fields", {}))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
