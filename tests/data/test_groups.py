"""Which images belong together, from a CSV file."""

from pathlib import Path

import pytest

from scalefuse.data.classification import read_classification
from scalefuse.data.groups import groups_of, read_groups
from scalefuse.data.segmentation import find_segmentation_cases
from scalefuse.errors import InputError


def fill(root: Path, *names: str) -> list[Path]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return [root / name for name in names]


def test_columns_and_places(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("Image_ID,Patient\na.png,7\nx\\b.nii.gz,8\n./x/c.png,9\n")
    assert read_groups(table, "patient") == {"a": "7", "x/b": "8", "x/c": "9"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,site\na,1\n", "column 'patient' was expected, but the columns are image, site"),
        ("scan,patient\na,1\n", "one of the columns name, image"),
        ("", "the columns are none"),
        ("image,patient\na,\n", "line 2 has no patient"),
        ("image,patient\na.png,1\na.jpg,2\n", "belongs to both '1' and '2'"),
    ],
)
def test_csv_that_does_not_do(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_groups(tmp_path / "t.csv", "patient")


def test_same_file_name_in_folders_of_two_classes(tmp_path):
    fill(tmp_path / "set", "a/0.png", "a/1.png", "b/0.png", "b/1.png")
    table = tmp_path / "patients.csv"
    table.write_text("image,patient\na/0.png,p1\na/1.png,p2\nb/0.png,p3\nb/1.png,p2\n")
    found = read_classification(tmp_path / "set", groups_csv=table, group_column="patient")
    assert [case.group for case in found.cases] == ["p1", "p2", "p3", "p2"]
    table.write_text("image,patient\na/0.png,p1\na/1.png,p2\n")
    with pytest.raises(InputError, match=r"2 of 4 images have no line in it, for instance '.*b/0.png'"):
        read_classification(tmp_path / "set", groups_csv=table, group_column="patient")
    table.write_text("image,patient\n0,p1\n1,p2\n")
    with pytest.raises(InputError, match=r"'0' could mean .*a/0\.png and .*b/0\.png; name images with"):
        read_classification(tmp_path / "set", groups_csv=table, group_column="patient")


def test_same_file_name_in_two_splits(tmp_path):
    names = [f"{split}/{kind}/1.png" for split in ("train", "val") for kind in ("images", "masks")]
    fill(tmp_path, *names)
    table = tmp_path / "patients.csv"
    table.write_text("path,patient\ntrain\\images\\1.png,anna\nval\\images\\1.png,ben\n")
    found = find_segmentation_cases(tmp_path, groups_csv=table, group_column="patient")
    assert [found[split][0].group for split in ("train", "val")] == ["anna", "ben"]
    table.write_text("path,patient\nimages/1.png,anna\n")
    with pytest.raises(InputError, match=r"'images/1' could mean .*train/images/1.* and .*val/images/1"):
        find_segmentation_cases(tmp_path, groups_csv=table, group_column="patient")


def test_images_moved_since_are_known_by_their_names_alone(tmp_path):
    images = fill(tmp_path, "here/1.png", "here/2.png")
    groups = {"/scanner/day 1/1": "anna", "/scanner/day 2/2": "ben"}
    assert groups_of(images, groups) == ["anna", "ben"]
    # Now the name alone could mean either patient.
    with pytest.raises(InputError, match="1 of 2 images have no line"):
        groups_of(images, {**groups, "/scanner/day 2/1": "ben"})
    # The longest agreement decides; two equally long ones do not.
    assert groups_of(images[:1], {"there/1": "ben", "here/1": "anna"}) == ["anna"]
    with pytest.raises(InputError, match="1 of 1 images have no line"):
        groups_of(images[:1], {"x/here/1": "anna", "y/here/1": "ben"})
