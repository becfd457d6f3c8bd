"""Fills in the documentation's generated tables, so that they cannot fall behind the code.

A page asks for a table by a line of its own, such as ``<!-- config: scalefuse.config.fusion.FusionRun -->``
(a schema and the schemas it holds), ``<!-- fusion measures -->``, ``<!-- segmentation measures -->`` or
``<!-- classification measures -->``.
"""

from __future__ import annotations

import importlib
import re
from typing import Any, get_args

from pydantic import BaseModel

_ROLE = re.compile(r":(?:class|func|data|attr|meth|mod|exc):<code>(~?)([^<]*)</code>")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the markers of a page by tables."""
    markdown = re.sub(
        r"^<!-- config: (\S+) -->$", lambda match: config_tables(match[1]), markdown, flags=re.M
    )
    tables = {
        "fusion": measures_table,
        "segmentation": segmentation_measures_table,
        "classification": classification_measures_table,
    }
    for kind, table in tables.items():
        marker = rf"^<!-- {kind} measures -->$"
        markdown = re.sub(marker, lambda _, table=table: table(), markdown, flags=re.M)  # type: ignore[misc]
    return markdown


def on_page_content(html: str, **_: Any) -> str:
    """Show the cross-reference roles of docstrings as plain code."""

    def plain(match: re.Match[str]) -> str:
        name = match[2].rpartition(".")[2] if match[1] else match[2]
        return f"<code>{name}</code>"

    return _ROLE.sub(plain, html)


def config_tables(dotted: str) -> str:
    """One table per section of a configuration, depth first.

    Args:
        dotted: Module and name of a schema.

    Raises:
        ValueError: A key has no description in the docstring of its schema.
    """
    module, _, name = dotted.rpartition(".")
    return "\n\n".join(_tables(getattr(importlib.import_module(module), name), ""))


def _tables(model: type[BaseModel], prefix: str) -> list[str]:
    descriptions = _descriptions(model)
    lines = ["| key | default | type | meaning |", "|---|---|---|---|"]
    inner: list[tuple[str, type[BaseModel]]] = []
    for key, field in model.model_fields.items():
        if key not in descriptions:
            raise ValueError(f"{model.__name__}.{key} has no line under Attributes in its docstring")
        default = "required" if field.is_required() else _value(field.default)
        sections = _sections(field.annotation)
        # A section that two keys of one table share (train and val) is shown once.
        shown = [section for _, section in inner]
        inner += [(f"{prefix}{key}", section) for section in sections if section not in shown]
        kind = _section_kind(field.annotation, sections) if sections else _kind(field.annotation)
        meaning = re.sub(r"``([^`]*)``", r"`\1`", descriptions[key])
        meaning = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", meaning)
        lines.append(f"| `{key}` | {default} | {kind} | {_cell(meaning)} |")
    title = f"`{prefix.rstrip('.')}`: {model.__name__}" if prefix else model.__name__
    tables = [f"### {title}\n\n" + "\n".join(lines)]
    for path, section in inner:
        tables += _tables(section, f"{path}.")
    return tables


def _descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Lines under ``Attributes:`` of a schema and of the schemas it derives from."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        doc = cls.__dict__.get("__doc__")
        if not doc or not issubclass(cls, BaseModel) or "Attributes:" not in doc:
            continue
        block = re.split(r"\n\s*\n", doc.partition("Attributes:\n")[2])[0]
        for match in re.finditer(r"^ {8}(\w+): (.*?)(?=^ {8}\w|\Z)", block + "\n", flags=re.M | re.S):
            found[match[1]] = " ".join(match[2].split())
    return found


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """Schemas inside an annotation; those that YAML holds as one string are values, not sections."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [] if annotation.__name__ == "IntensityRange" else [annotation]
    return [section for part in get_args(annotation) for section in _sections(part)]


def _section_kind(annotation: Any, sections: list[type[BaseModel]]) -> str:
    names = " or ".join(f"`{section.__name__}`" for section in sections)
    start = "list of sections" if "tuple[" in str(annotation) else "section"
    return f"{start} {names}" + (" or null" if "None" in str(annotation) else "")


def _kind(annotation: Any) -> str:
    """A type in words that a writer of YAML knows."""
    text = str(annotation)
    literal = re.fullmatch(r"typing\.Literal\[(.*)\]", text)
    if literal:
        choices = [part.strip(" '") for part in literal[1].split(",")]
        return " or ".join(f"`{choice}`" for choice in choices)
    words = {"Path": "path", "IntensityRange": "intensity range", "float": "number", "bool": "true or false"}
    words |= {"int": "whole number", "str": "text", "tuple": "list", "NoneType": "null", "None": "null"}
    found = re.findall(r"\b(Path|IntensityRange|float|bool|int|str|tuple|NoneType|None)\b(?!=)", text)
    if "Optional[" in text:
        found.append("None")
    names = list(dict.fromkeys(words[name] for name in found))
    if "list" in names:
        names = ["list" if len(names) == 1 or names[0] == "list" else "number or list"]
    return " or ".join(names) or text


def _value(default: Any) -> str:
    if isinstance(default, BaseModel):
        return ""
    if default is None:
        return "`null`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{list(default) if isinstance(default, tuple) else _cell(str(default))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def classification_measures_table() -> str:
    """The classification measures with their definitions."""
    from scalefuse.metrics.classification import CLASSIFICATION_METRIC_DEFINITIONS

    return _definitions(CLASSIFICATION_METRIC_DEFINITIONS)


def segmentation_measures_table() -> str:
    """The segmentation measures with their definitions."""
    from scalefuse.metrics.segmentation import SEGMENTATION_METRIC_DEFINITIONS

    return _definitions(SEGMENTATION_METRIC_DEFINITIONS)


def _definitions(definitions: dict[str, str]) -> str:
    rows = [f"| `{name}` | {_cell(definition)} |" for name, definition in definitions.items()]
    return "\n".join(["| measure | definition |", "|---|---|", *rows])


def measures_table() -> str:
    """The fusion measures with their definitions."""
    from scalefuse.metrics import FUSION_METRIC_DEFINITIONS, FUSION_METRICS

    lines = ["| measure | definition | function |", "|---|---|---|"]
    for name, function in FUSION_METRICS.items():
        lines.append(f"| {name} | {_cell(FUSION_METRIC_DEFINITIONS[name])} | `{function.__name__}` |")
    return "\n".join(lines)
