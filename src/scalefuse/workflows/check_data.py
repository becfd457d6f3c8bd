"""Look for faults in a data set before training on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scalefuse.data.atomic import check_writable_folder
from scalefuse.data.check_segmentation import check_segmentation
from scalefuse.report.data_check import write_data_check_html

if TYPE_CHECKING:
    from scalefuse.data.check import DataCheck


def check_data(
    folder: Path,
    page: Path | None = None,
    *,
    intensity: str | None = None,
    groups_csv: Path | None = None,
    group_column: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DataCheck:
    """Check a folder of images and masks, and write a page with thumbnails.

    Args:
        folder: ``images/`` and ``masks/``, or ``train/``, ``val/``, ``test/`` with these inside.
        page: HTML file to write, or None.
        intensity: Which values become black and white, for images that need the choice.
        groups_csv: Table that says which images belong together.
        group_column: Its column with the group.
        progress: Called with the number of images done and of all.

    Raises:
        InputError: The folder has no such layout.
        OutputError: The page cannot be written.
    """
    if page is not None:
        check_writable_folder(page.parent)
    check = check_segmentation(
        folder, intensity=intensity, groups_csv=groups_csv, group_column=group_column, progress=progress
    )
    if page is not None:
        write_data_check_html(check, page)
    return check
