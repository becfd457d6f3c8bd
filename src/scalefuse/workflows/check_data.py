"""Look for faults in a data set before training on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scalefuse.config.base import expand_path
from scalefuse.config.classification import ClassificationRun
from scalefuse.config.loading import load_config
from scalefuse.config.segmentation import SegmentationRun
from scalefuse.data.atomic import check_writable_folder
from scalefuse.data.check import DataCheck
from scalefuse.data.check_classification import check_classification
from scalefuse.data.check_segmentation import check_segmentation
from scalefuse.data.class_names import split_names
from scalefuse.data.classification import ClassificationSet, TableColumns, read_classification
from scalefuse.data.intensity import IntensityRange
from scalefuse.data.masks import MaskClasses
from scalefuse.data.segmentation import IMAGE_FOLDERS, SPLIT_FOLDERS, scan_segmentation_folder
from scalefuse.errors import InputError, OutputError
from scalefuse.report.data_check import write_data_check_html

Layout = Literal["segmentation", "classification"]


@dataclass(frozen=True)
class CheckOptions:
    """What a data check must know besides the data.

    Attributes:
        classes: segmentation: names, perhaps with values or colours, as
            :meth:`scalefuse.data.masks.MaskClasses.parse` reads them, or read already. Classification: names
            separated by commas, or in a tuple.
        intensity: which values become black and white, for images that need the choice.
        groups_csv: for folders, a table that says which images belong together.
        group_column: its column with the group.
        columns: for a CSV file, which columns mean what.
        images: for a CSV file, the folder that its paths start from.
        multi_label: for classification, whether an image may carry several labels; found where None.
        channels: for segmentation, how many channels the images have where these are no pictures.
    """

    classes: str | MaskClasses | tuple[str, ...] | None = None
    intensity: str | IntensityRange | None = None
    groups_csv: Path | None = None
    group_column: str | None = None
    columns: TableColumns | None = None
    images: Path | None = None
    multi_label: bool | None = None
    channels: int | None = None


def check_data(
    source: Path,
    page: Path | None = None,
    options: CheckOptions | None = None,
    *,
    config: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DataCheck:
    """Check images with masks or with labels, and write a page with thumbnails.

    Args:
        source: a folder or file, see :func:`detect_layout`.
        page: HTML file to write, or None.
        options: what else must be known.
        config: a run configuration, whose ``data`` section stands in for options that are None.
        progress: called with the number of images done and of all.

    Raises:
        InputError: the source has no known layout, or the configuration is for another task.
        ConfigError: the configuration is wrong.
        OutputError: the page cannot be written, or its name does not end in ``.html``.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from scalefuse.data.write import write_image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("images/a.png", "masks/a.png"):
        ...     (folder / name).parent.mkdir()
        ...     write_image(folder / name, np.eye(16), bits=8)
        >>> check_data(folder).lines()
        []
    """
    layout = detect_layout(source)
    options = options or CheckOptions()
    if config is not None:
        options = _fill_in(options, layout, config)
    if page is not None:
        if page.suffix.lower() != ".html":
            raise OutputError(f"{page}: the page is HTML; end its name in .html.")
        check_writable_folder(page.parent)
    if isinstance(options.intensity, str):
        options = replace(options, intensity=IntensityRange.parse(options.intensity))
    if layout == "classification":
        data = _read(source, options)
        check = check_classification(data, intensity=options.intensity, progress=progress)
        pictures = {case.key: case.read for case in data.cases}
    else:
        pictures = {}
        check = check_segmentation(
            source,
            classes=_mask_classes(source, options.classes),
            intensity=options.intensity,
            channels=options.channels or 3,
            groups_csv=options.groups_csv,
            group_column=options.group_column,
            progress=progress,
        )
    if page is not None:
        write_data_check_html(check, page, pictures=pictures)
    return check


def detect_layout(source: Path) -> Layout:
    """What a data set is for, by how it is laid out.

    An ``images`` folder in it, or in ``train``, ``val`` or ``test`` in it, means segmentation; other folders,
    a CSV file and an ``.npz`` file mean classification.

    Raises:
        InputError: there is nothing, or none of these.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "train/cyst").mkdir(parents=True)
        >>> detect_layout(folder)
        'classification'
    """
    if source.is_file():
        if source.suffix.lower() in (".csv", ".tsv", ".txt", ".npz"):
            return "classification"
        raise InputError(f"{source}: expected a folder, a CSV file or an .npz file; check the name.")
    if not source.is_dir():
        raise InputError(f"{source}: no such folder or file; check the name.")
    children = [child for child in source.iterdir() if child.is_dir() and not child.name.startswith(".")]
    parts = [child for child in children if child.name.lower() in SPLIT_FOLDERS]
    inner = [child for part in parts for child in part.iterdir() if child.is_dir()]
    if any(child.name.lower() in IMAGE_FOLDERS for child in (*children, *inner)):
        return "segmentation"
    if children:
        return "classification"
    raise InputError(
        f"{source}: holds no folders; expected 'images' and 'masks' folders, or a folder per class, in it or "
        "in 'train', 'val' and 'test' folders in it; or give a CSV file or an .npz file."
    )


def _read(source: Path, options: CheckOptions) -> ClassificationSet:
    classes, group_column, columns = options.classes, options.group_column, options.columns
    if isinstance(classes, str):
        classes = split_names(classes)
    if isinstance(classes, MaskClasses):
        classes = classes.names
    if source.is_file() and group_column is not None and options.groups_csv is None:
        # A CSV file holds its groups itself.
        columns = (columns or TableColumns()).model_copy(update={"group": group_column})
        group_column = None
    return read_classification(
        source,
        classes=classes,
        multi_label=options.multi_label,
        columns=columns,
        images=options.images,
        groups_csv=options.groups_csv,
        group_column=group_column,
        strict=False,
    )


def _mask_classes(source: Path, classes: str | MaskClasses | tuple[str, ...] | None) -> MaskClasses | None:
    if not isinstance(classes, str):
        assert not isinstance(classes, tuple)
        return classes
    return MaskClasses.parse(classes, multi_label=bool(scan_segmentation_folder(source).labels))


def _fill_in(options: CheckOptions, layout: Layout, config: str | Path) -> CheckOptions:
    """Options with those of a run configuration where there are none."""
    run = load_config(config)
    if run.task != layout:
        raise InputError(
            f"{config}: configures {run.task}, but the data are laid out for {layout}; give "
            "another configuration."
        )
    assert isinstance(run, SegmentationRun | ClassificationRun)
    data = run.data
    found = CheckOptions(
        classes=data.classes,
        intensity=data.intensity,
        groups_csv=data.groups_csv and expand_path(data.groups_csv),
        group_column=data.group_column,
    )
    if isinstance(run, ClassificationRun):
        images = run.data.images and expand_path(run.data.images)
        found = replace(found, columns=run.data.columns, images=images, multi_label=run.data.multi_label)
    else:
        found = replace(found, channels=run.network.in_channels)
    chosen = {name: value for name, value in vars(options).items() if value is not None}
    return replace(found, **chosen)
