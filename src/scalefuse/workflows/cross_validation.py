"""Training once per fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scalefuse.config import ClassificationRun, FusionRun, SegmentationRun, load_config
from scalefuse.config.loading import AnyRun
from scalefuse.data.atomic import results_folder
from scalefuse.errors import ConfigError, InputError, OutputError
from scalefuse.workflows.run_images import CHECK_PAGE
from scalefuse.workflows.train import CONFIG, TrainResult, train

if TYPE_CHECKING:
    from scalefuse.training.fit import Progress


def resume_folds(folder: Path, overrides: Sequence[str] = ()) -> tuple[AnyRun, int] | None:
    """The configuration that a cross-validation was begun with, and its number of folds.

    Args:
        folder: Of the cross-validation, with a folder for each fold.
        overrides: Settings, as ``training.epochs=5``.

    Returns:
        What :func:`cross_validate` needs to go on; None where the folder holds no cross-validation.
    """
    found = sorted(folder.glob(f"fold*/{CONFIG}"))
    if (folder / CONFIG).is_file() or not found:
        return None
    config = load_config(found[0], overrides)
    if isinstance(config, FusionRun) or config.data.folds is None:
        return None
    data = config.data.model_copy(update={"folds": None, "fold": 1})
    name = config.name.removesuffix(f"-fold{config.data.fold}")
    return config.model_copy(update={"output": folder, "data": data, "name": name}), config.data.folds


def cross_validate(
    config: SegmentationRun | ClassificationRun,
    folds: int,
    *,
    report: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> list[TrainResult]:
    """Train once per fold, into ``fold1``, ``fold2``, … of the run folder; no group is on both sides.

    Writes ``folds.csv`` with the validation measures of every fold. The bundles make an ensemble for
    ``scalefuse predict``.

    Args:
        config: The run.
        folds: Number of folds, 2 or more.
        report: As for :func:`train`.
        say: As for :func:`train`.

    Raises:
        ConfigError: Fewer than two folds.
        InputError: A fold cannot be trained or measured on: it holds no object, one class only, or a class
            that its training part lacks.
        OutputError: The folder holds a run of its own.
    """
    from scalefuse.report.tables import write_csv

    if folds < 2:
        raise ConfigError(f"Cross-validation needs 2 or more folds, but got {folds}.")
    if (config.run_folder / CONFIG).is_file():
        raise OutputError(f"{config.run_folder}: holds a run already; choose another folder (-o).")
    results = []
    # A first fold that cannot start leaves no empty folder behind.
    with results_folder(config.run_folder) as parent:
        _look_at_folds(config, folds, parent, say or (lambda line: None))
        for number in range(1, folds + 1):
            folder = parent / f"fold{number}"
            if say is not None:
                say(f"fold {number} of {folds}")
            data = config.data.model_copy(update={"folds": folds, "fold": number})
            fold = config.model_copy(
                update={"output": folder, "data": data, "name": f"{config.name}-fold{number}"}
            )
            # A fold that was stopped goes on from its last epoch, or starts again where none was finished; a
            # finished one is only measured again.
            started = (folder / CONFIG).is_file()
            results.append(train(fold, resume=started, report=report, say=say))
        rows = [{"fold": number, **result.metrics} for number, result in enumerate(results, start=1)]
        write_csv(parent / "folds.csv", rows)
    return results


def _look_at_folds(
    config: SegmentationRun | ClassificationRun, folds: int, folder: Path, say: Callable[[str], None]
) -> None:
    """Refuse folds that cannot be trained or measured on, before hours go into the first one."""
    try:
        if isinstance(config, SegmentationRun):
            from scalefuse.workflows.train_segmentation import require_foreground

            for number in range(1, folds + 1):
                part = config.data.model_copy(update={"folds": folds, "fold": number})
                require_foreground(config.model_copy(update={"data": part}))
        else:
            from scalefuse.workflows.train_classification import check_folds, resolve_classes

            check_folds(resolve_classes(config), folds)
    except InputError:
        if config.data.check:
            # There may be more amiss than what the first fold stumbled over.
            _check(config, folder, say)
            (folder / CHECK_PAGE).unlink(missing_ok=True)
        raise


def _check(config: SegmentationRun | ClassificationRun, folder: Path, say: Callable[[str], None]) -> None:
    if isinstance(config, SegmentationRun):
        from scalefuse.workflows import train_segmentation

        train_segmentation.check_data(config, folder, say, (), ())
    else:
        from scalefuse.workflows import train_classification

        train_classification.check_data(config, folder, say)
