"""Labelled pictures through a classifier, the next ones read while the network works."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.classification import ClassificationCase
from scalefuse.errors import InputError, IntensityChoiceError, ScaleFuseError
from scalefuse.inference.classifier import Classifier
from scalefuse.workflows.faint import FaintPictures
from scalefuse.workflows.out_of_memory import is_out_of_memory
from scalefuse.workflows.pipeline import Pipeline

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class ClassifiedCases:
    """What came of the cases.

    Attributes:
        cases: Those that could be classified, in their order.
        logits: Of these, uncalibrated, ``(N, K)``.
        failures: One line for each of the others, with those that were known before.
        notes: What a reader of the results must know.
    """

    cases: list[ClassificationCase]
    logits: NDArray[np.float32]
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class _ReadCase:
    """A case that was read and prepared, or why it could not be."""

    case: ClassificationCase
    tensor: Tensor | None = None
    error: ScaleFuseError | None = None


_Outcome = tuple[list[_ReadCase], NDArray[np.float32] | None]


def classify_cases(
    classifier: Classifier,
    cases: Sequence[ClassificationCase],
    on_case: Callable[[str], None] | None = None,
    *,
    failures: Sequence[str] = (),
) -> ClassifiedCases:
    """Classify cases in batches; those that cannot be read are noted and passed over.

    Args:
        classifier: Whose batch size is used.
        cases: Labelled pictures.
        on_case: Called with the name of every finished case.
        failures: Lines about cases that were given up before.

    Raises:
        InputError: Not one could be classified, or a batch does not fit into memory.
        IntensityChoiceError: Not one could be, for want of a range of values.
    """
    size = classifier.batch_size
    faint = FaintPictures(classifier.preprocessing.intensity)

    def read(batch: Sequence[ClassificationCase]) -> list[_ReadCase]:
        return [_read(classifier, case, faint) for case in batch]

    def compute(batch: list[_ReadCase]) -> _Outcome:
        return batch, _logits(classifier, batch)

    def finish(_: Sequence[ClassificationCase], outcome: _Outcome) -> _Outcome:
        return outcome

    # One batch is read ahead; nothing is left to do behind the network.
    pipeline = Pipeline(read=read, compute=compute, finish=finish, depth=1)
    good: list[ClassificationCase] = []
    logits: list[NDArray[np.float32]] = []
    errors: list[ScaleFuseError] = []
    with pipeline.running([cases[start : start + size] for start in range(0, len(cases), size)]) as outcomes:
        for outcome in outcomes:
            batch, found = outcome()
            if found is not None:
                logits.append(found)
            good += [one.case for one in batch if one.error is None]
            errors += [one.error for one in batch if one.error is not None]
            if on_case is not None:
                for one in batch:
                    on_case(one.case.name)
    lines = [*failures, *(str(error) for error in errors)]
    if not good:
        for error in errors:
            if isinstance(error, IntensityChoiceError):
                # Not a bad picture: the command lacks an option.
                raise error
        raise InputError(f"No case could be measured. First problem: {lines[0]}")
    return ClassifiedCases(good, np.concatenate(logits), lines, faint.notes())


def _read(classifier: Classifier, case: ClassificationCase, faint: FaintPictures) -> _ReadCase:
    try:
        image = case.read()
        tensor = classifier.prepare(image)
        faint.look(case.name, image)
        return _ReadCase(case, tensor=tensor)
    except ScaleFuseError as error:
        return _ReadCase(case, error=error)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        problem = f"{case.name}: not enough memory for a picture of this size; make it smaller."
        return _ReadCase(case, error=InputError(problem))


def _logits(classifier: Classifier, batch: Sequence[_ReadCase]) -> NDArray[np.float32] | None:
    """Outputs of those cases that could be read; None where there is none."""
    import torch

    tensors = [one.tensor for one in batch if one.tensor is not None]
    if not tensors:
        return None
    try:
        return classifier.batch_logits(torch.stack(tensors))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"Not enough memory for {len(tensors)} pictures at once; choose a smaller batch size."
        ) from error
