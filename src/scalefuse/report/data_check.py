"""The data check as a web page of one file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scalefuse import __version__
from scalefuse.data.atomic import atomic_write
from scalefuse.data.check import SEVERITIES, CaseStatistics, DataCheck, DuplicatePair, Finding
from scalefuse.data.image import Image
from scalefuse.report.sheet import NOTICE
from scalefuse.report.thumbnails import thumbnail_uri

PICTURES_PER_FINDING = 6
PICTURES_PER_SPLIT = 12
_BINS = 20


class _Picture(NamedTuple):
    key: str
    uri: str | None
    labels: tuple[str, ...] = ()


def write_data_check_html(
    check: DataCheck,
    path: Path | str,
    *,
    pictures: Mapping[str, Callable[[], Image]] | None = None,
) -> None:
    """Write a data check as a web page: findings first, then tables and examples.

    The page is one file that loads nothing from elsewhere. It shows small pictures of the images, so it is
    as confidential as they are.

    Args:
        check: the outcome of a data check; the image files must still be where they were.
        path: the HTML file; written whole or not at all.
        pictures: how to read the image of a case, by ``split/name``; those not named are read from their
            files.

    Raises:
        OutputError: it cannot be written.

    Example:
        >>> import tempfile
        >>> page = Path(tempfile.mkdtemp()) / "check.html"
        >>> finding = Finding("warning", "empty-mask", "3 masks are empty.")
        >>> write_data_check_html(DataCheck(Path("set"), findings=(finding,)), page)
        >>> "3 masks are empty." in page.read_text(encoding="utf-8")
        True
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def figure(picture: _Picture) -> Markup:
        if picture.uri is None:
            return Markup("<figure><figcaption>{} (not shown)</figcaption></figure>").format(picture.key)
        caption = Markup("{}<br>{}").format(picture.key, ", ".join(picture.labels))
        return Markup('<figure><img src="{}" alt=""><figcaption>{}</figcaption></figure>').format(
            picture.uri, caption if picture.labels else picture.key
        )

    gallery = _Gallery(check, pictures or {})
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("data_check.html.j2").render(
        check=check,
        version=__version__,
        notice=NOTICE,
        counts={name: sum(item.severity == name for item in check.findings) for name in SEVERITIES},
        findings=[_illustrate(finding, check.duplicates, gallery) for finding in check.findings],
        histograms=_histograms(check),
        examples={
            split: gallery.show([case.key for case in _spread(cases)])
            for split in check.splits
            if (cases := [case for case in check.cases if case.split == split])
        },
        figure=figure,
        tally=_tally,
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


class _Gallery:
    """Pictures by case, each made once."""

    def __init__(self, check: DataCheck, pictures: Mapping[str, Callable[[], Image]]) -> None:
        self._cases = {case.key: case for case in check.cases}
        self._names = check.class_names
        self._pictures = pictures
        self._made: dict[str, _Picture] = {}

    def show(self, keys: Sequence[str]) -> list[_Picture]:
        return [self._one(key) for key in keys]

    def labels(self, key: str) -> tuple[str, ...]:
        return self._cases[key].labels

    def _one(self, key: str) -> _Picture:
        if key not in self._made:
            case = self._cases.get(key)
            if case is None:
                self._made[key] = _Picture(key, None)
            else:
                image = self._pictures[key]() if key in self._pictures else case.image
                self._made[key] = _Picture(key, thumbnail_uri(image, self._masks(case)), case.labels)
        return self._made[key]

    def _masks(self, case: CaseStatistics) -> Sequence[Path | None]:
        """The masks of a case; each label has its place, and so the same colour in all pictures."""
        of_label = {file.parent.name: file for file in case.masks}
        if not case.masks or len(of_label) < len(case.masks) or not of_label.keys() <= set(self._names):
            return case.masks
        return [of_label.get(name) for name in self._names]


def _illustrate(finding: Finding, duplicates: Sequence[DuplicatePair], gallery: _Gallery) -> dict[str, Any]:
    if finding.kind in ("leak", "near-duplicate", "conflicting-labels"):
        if finding.kind == "conflicting-labels":
            pairs = [pair for pair in duplicates if gallery.labels(pair.first) != gallery.labels(pair.second)]
        else:
            pairs = [pair for pair in duplicates if pair.across_splits == (finding.kind == "leak")]
        shown = []
        for pair in pairs[:PICTURES_PER_FINDING]:
            first, second = gallery.show([pair.first, pair.second])
            shown.append({"first": first, "second": second, "correlation": pair.correlation})
        return {"finding": finding, "pairs": shown, "pictures": []}
    pictures = gallery.show(finding.cases[:PICTURES_PER_FINDING])
    # A file that cannot be read is named by the message; an empty frame would add nothing.
    return {"finding": finding, "pairs": [], "pictures": [item for item in pictures if item.uri is not None]}


def _spread(cases: Sequence[CaseStatistics]) -> list[CaseStatistics]:
    """Some of the cases, evenly spaced from the first to the last; of every class where there are any."""
    cases = sorted(cases, key=lambda case: case.labels)
    count = min(len(cases), PICTURES_PER_SPLIT)
    return [cases[round(place)] for place in np.linspace(0, len(cases) - 1, count)]


def _histograms(check: DataCheck) -> dict[str, list[dict[str, Any]]]:
    # The share of foreground is that of all but the background; labels may overlap and have no such number.
    if not check.class_names or any(sum(case.class_pixels) > case.num_pixels for case in check.cases):
        return {}
    histograms = {}
    for split in check.splits:
        shares = [
            1 - case.class_pixels[0] / case.num_pixels
            for case in check.cases
            if case.split == split and case.class_pixels and sum(case.class_pixels) == case.num_pixels
        ]
        if not shares:
            continue
        counts = np.histogram(shares, bins=_BINS, range=(0, 1))[0]
        histograms[split] = [
            {
                "label": f"{100 * index // _BINS} to {100 * (index + 1) // _BINS} %",
                "count": int(count),
                "height": 100 * float(count) / float(counts.max()),
            }
            for index, count in enumerate(counts)
        ]
    return histograms


def _tally(counts: dict[str, int]) -> str:
    """Frequencies in words; a single value stands for itself."""
    if len(counts) == 1:
        return next(iter(counts))
    shown = [f"{name} ({count})" for name, count in list(counts.items())[:4]]
    return ", ".join(shown + (["…"] if len(counts) > 4 else []))
