"""Pairing by name."""

import pytest

from scalefuse.data import pair_by_name
from scalefuse.errors import InputError


def fill(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text("x")
    return folder


def test_two_files(tmp_path):
    folder = fill(tmp_path / "f", "ct.nii.gz", "mri.png")
    pairs, missing = pair_by_name(folder / "ct.nii.gz", folder / "mri.png")
    assert pairs == [("ct", folder / "ct.nii.gz", folder / "mri.png")]
    assert missing == []


def test_two_folders_with_missing_partners(tmp_path):
    a = fill(tmp_path / "a", "s10.png", "s2.nii.gz", "s3.png")
    b = fill(tmp_path / "b", "s10.tif", "s2.jpg", "s4.png", ".s3.png")
    pairs, missing = pair_by_name(a, b)
    assert [pair.name for pair in pairs] == ["s2", "s10"]
    assert pairs[0].a == a / "s2.nii.gz"
    assert pairs[0].b == b / "s2.jpg"
    assert len(missing) == 2
    assert str(a / "s3.png") in missing[0]
    assert str(b) in missing[0]
    assert str(b / "s4.png") in missing[1]


def test_two_files_of_one_name(tmp_path):
    a, b = fill(tmp_path / "a", "s.png", "s.tif"), fill(tmp_path / "b", "s.png")
    with pytest.raises(InputError, match=r"s\.png and s\.tif"):
        pair_by_name(a, b)


def test_what_cannot_be_paired(tmp_path):
    a, b, empty = (
        fill(tmp_path / "a", "s.png"),
        fill(tmp_path / "b", "t.png"),
        fill(tmp_path / "c", "notes.txt"),
    )
    for first, second, word in [
        (a, empty, "holds no images"),
        (a, b, "no name in common"),
        (a, b / "t.png", "two files or two folders"),
        (a, tmp_path / "missing", "no such file or folder"),
    ]:
        with pytest.raises(InputError, match=word):
            pair_by_name(first, second)
