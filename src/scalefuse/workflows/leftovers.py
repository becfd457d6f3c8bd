"""Results of an earlier command beside new ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

_RESULT = re.compile(r"_(?:mask|probability|overlay|instances|regions)(?:_.*)?\.(?:png|tif|csv)")


def leftover_notes(output: Path, stems: Iterable[str], written: Sequence[Path]) -> list[str]:
    """What to say where the folder still holds results of the same pictures that were not written now.

    Args:
        output: The folder.
        stems: Names of the pictures, without suffix.
        written: What was written now.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("1_mask.png", "1_regions.csv", "2_regions.csv"):
        ...     (folder / name).touch()
        >>> leftover_notes(folder, ["1"], [folder / "1_mask.png"])[0][-63:]
        'may be of another model: delete them, or choose another folder.'
    """
    new, known = {file.name for file in written}, set(stems)
    found = sorted(
        file.name
        for file in output.iterdir()
        if file.name not in new
        and any(file.name[: match.start()] in known for match in _RESULT.finditer(file.name))
    )
    if not new or not found:
        return []
    number = f"{len(found)} file{'s' * (len(found) != 1)}"
    return [
        f"{output} still holds {number} of an earlier command for the same pictures, such as {found[0]}; "
        "they may be of another model: delete them, or choose another folder."
    ]
