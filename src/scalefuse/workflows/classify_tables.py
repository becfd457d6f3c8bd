"""What a classifier said, as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.atomic import atomic_write
from scalefuse.inference.classifier import Classifier
from scalefuse.inference.conformal import conformal_rank
from scalefuse.inference.operating_point import OperatingPoint
from scalefuse.report.tables import write_csv, write_json

PREDICTIONS, EMBEDDINGS = "predictions", "embeddings"
"""Names of the files, before the suffix."""

EMPTY_SET = "(empty)"
"""What stands in ``predictions.csv`` for a prediction set without a class."""

NO_LABEL = "(none)"
"""What stands in ``predictions.csv`` where none of several labels is called."""

SEPARATOR = "; "
_DIGITS = 6


@dataclass(frozen=True)
class Predictions:
    """Everything that is written about a batch of pictures.

    Attributes:
        classifier: that made them, for its labels and calibration.
        models: names of the models.
        names: of the pictures.
        probabilities: ``(N, K)``.
        operating_point: at which classes are called; None for the most probable one, or 0.5 per label.
        coverage: of the prediction sets; None for no sets.
        explanations: files of the maps, by name of the picture.
        explained: labels of the classes whose evidence they show, by name of the picture.
        failures: one line per picture that could not be classified.
    """

    classifier: Classifier
    models: tuple[str, ...]
    names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    operating_point: OperatingPoint | None
    coverage: float | None
    explanations: Mapping[str, str]
    explained: Mapping[str, str]
    failures: tuple[str, ...]

    def called(self) -> list[list[str]]:
        """Labels that each picture is given; one, unless a picture may carry several."""
        found = self.classifier.decide(self.probabilities, self.operating_point)
        labels = self.classifier.labels
        return (
            [self._names(row) for row in found] if found.ndim == 2 else [[labels[index]] for index in found]
        )

    def sets(self) -> list[list[str]] | None:
        """The prediction set of each picture, or None without calibration."""
        if self.coverage is None:
            return None
        members = self.classifier.prediction_sets(self.probabilities, self.coverage)
        return [self._names(row) for row in members]

    def notes(self) -> list[str]:
        """What a reader of decisions and sets must know."""
        notes = []
        if self.operating_point is not None:
            listed = ", ".join(
                f"{label} from a probability of {value:.4g} on"
                for label, value in self.operating_point.thresholds.items()
            )
            notes.append(f"Called: {listed}, for a sensitivity of {self.operating_point.sensitivity:g}.")
        sets, fits = self.sets(), self.classifier.postprocessing
        if sets is None or self.coverage is None:
            return notes
        empty = sum(not one for one in sets)
        if empty and not self.classifier.multi_label:
            notes.append(
                f"{empty} of {len(sets)} prediction sets are empty: on these pictures no class looks as it "
                f"did on {self.coverage:.0%} of the calibration pictures. Distrust the prediction there."
            )
        table = fits.true_probabilities
        counts = [len(row) for row in table] if self.classifier.multi_label else [fits.num_cases]
        few = [count for count in counts if conformal_rank(count, self.coverage) > count]
        if few:
            notes.append(
                f"A coverage of {self.coverage:g} takes more calibration cases than the model carries "
                f"({', '.join(map(str, few))}); "
                + ("every set holds such labels." if self.classifier.multi_label else "every set is full.")
            )
        return notes

    def _names(self, members: NDArray[np.bool_]) -> list[str]:
        return [label for label, member in zip(self.classifier.labels, members, strict=True) if member]


def write_predictions(
    found: Predictions, folder: Path, formats: Sequence[Literal["csv", "json"]]
) -> list[Path]:
    """Write ``predictions.csv`` and ``predictions.json``.

    The CSV file has a line per picture: ``name``, ``prediction``, a ``probability_LABEL`` per class and, from
    a calibrated model, ``prediction_set`` and ``set_coverage``; an empty set is written as ``(empty)``.

    Args:
        found: what to write.
        folder: that holds the files.
        formats: which of the two.

    Returns:
        The files.

    Raises:
        OutputError: one cannot be written.
    """
    written = []
    if "csv" in formats:
        written.append(folder / f"{PREDICTIONS}.csv")
        write_csv(written[-1], _rows(found))
    if "json" in formats:
        written.append(folder / f"{PREDICTIONS}.json")
        write_json(written[-1], _document(found))
    return written


def write_embeddings(
    folder: Path, names: Sequence[str], vectors: NDArray[np.float32], kind: Literal["npz", "csv"]
) -> Path:
    """Write feature vectors: arrays ``names`` ``(N,)``, ``embeddings`` ``(N, D)``, or a column per feature.

    Raises:
        OutputError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> file = write_embeddings(Path(tempfile.mkdtemp()), ["a.png"], np.ones((1, 2), np.float32), "npz")
        >>> np.load(file)["embeddings"]
        array([[1., 1.]], dtype=float32)
    """
    path = folder / f"{EMBEDDINGS}.{kind}"
    if kind == "csv":
        columns = ["name", *(f"f{number}" for number in range(vectors.shape[1]))]
        rows = [
            dict(zip(columns, [name, *map(str, row)], strict=True))
            for name, row in zip(names, vectors, strict=True)
        ]
        write_csv(path, rows, columns=columns)
        return path
    with atomic_write(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, names=np.array(names, dtype=np.str_), embeddings=vectors)
    return path


def _rows(found: Predictions) -> list[dict[str, Any]]:
    rows = []
    sets = found.sets()
    for number, (name, called) in enumerate(zip(found.names, found.called(), strict=True)):
        row: dict[str, Any] = {"name": name, "prediction": SEPARATOR.join(called) or NO_LABEL}
        for label, probability in zip(found.classifier.labels, found.probabilities[number], strict=True):
            row[f"probability_{label}"] = round(float(probability), _DIGITS)
        if sets is not None:
            row["prediction_set"] = SEPARATOR.join(sets[number]) or EMPTY_SET
            row["set_coverage"] = found.coverage
        rows.append(row)
    return rows


def _document(found: Predictions) -> dict[str, Any]:
    classifier, sets, point = found.classifier, found.sets(), found.operating_point
    pictures = []
    for number, (name, called) in enumerate(zip(found.names, found.called(), strict=True)):
        picture: dict[str, Any] = {
            "name": name,
            "prediction": called if classifier.multi_label else called[0],
            "probabilities": {
                label: round(float(probability), _DIGITS)
                for label, probability in zip(classifier.labels, found.probabilities[number], strict=True)
            },
        }
        if sets is not None:
            picture["prediction_set"] = sets[number]
        if name in found.explanations:
            picture["explanation"] = found.explanations[name]
            picture["explained_class"] = found.explained[name]
        pictures.append(picture)
    return {
        "models": list(found.models),
        "computed_by": None if classifier.computed_by is None else str(classifier.computed_by),
        "labels": list(classifier.labels),
        "multi_label": classifier.multi_label,
        "set_coverage": found.coverage,
        "calibration_cases": classifier.postprocessing.num_cases,
        "operating_point": None if point is None else point.model_dump(mode="json"),
        "notes": found.notes(),
        "pictures": pictures,
        "failures": list(found.failures),
    }
