"""Finding images and masks, groups, and splits."""

from pathlib import Path

import numpy as np
import pytest

from scalefuse.data.classification import ClassificationCase
from scalefuse.data.segmentation import (
    SegmentationCase,
    find_segmentation_cases,
    scan_segmentation_folder,
)
from scalefuse.data.segmentation_list import case_rows, read_case_list
from scalefuse.data.splits import k_folds, split_by_fraction
from scalefuse.data.splits_stratified import stratified_k_folds
from scalefuse.errors import InputError
from scalefuse.report.tables import write_csv


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def cases(sizes):
    """Cases in groups of the sizes given; ``None`` for groups of one without a name."""
    return [
        SegmentationCase(f"{group}-{n}", "x", group=None if size is None else f"p{group}")
        for group, size in enumerate(sizes)
        for n in range(size or 1)
    ]


def test_splits_in_folders_with_formats_of_any_kind(tmp_path):
    fill(tmp_path, "train/images/10.jpg", "train/images/2.tif", "train/masks/10.png", "train/masks/2.png")
    fill(tmp_path, "valid/images/a.png", "valid/masks/a.bmp", "test/images/t.png", "notes/readme.txt")
    found = find_segmentation_cases(tmp_path)
    assert list(found) == ["train", "val", "test"]
    assert [case.name for case in found["train"]] == ["2", "10"]
    assert found["train"][0].mask == tmp_path / "train/masks/2.png"
    assert found["test"][0].mask is None
    assert not found["test"][0].has_mask


def test_one_folder_partners_and_orphans(tmp_path):
    fill(tmp_path, "Images/a.png", "Images/b.png", "Images/c.png")
    fill(tmp_path, "masks/a.png", "masks/b_segmentation.png", "masks/d.png")
    found = scan_segmentation_folder(tmp_path)
    assert {case.name: case.has_mask for case in found.splits["all"]} == {"a": True, "b": True, "c": False}
    assert found.masks_without_image == {"all": [tmp_path / "masks/d.png"]}


def test_an_image_named_like_a_mask_keeps_its_own(tmp_path):
    fill(tmp_path, "images/a.png", "images/a_mask.png", "masks/a.png", "masks/a_mask.png")
    found = find_segmentation_cases(tmp_path)["all"]
    assert [case.mask.name for case in found] == ["a.png", "a_mask.png"]


def test_one_folder_per_label(tmp_path):
    fill(
        tmp_path,
        "images/a.png",
        "images/b.png",
        "masks/cyst/a.png",
        "masks/tumour/a.png",
        "masks/tumour/z.png",
    )
    found = scan_segmentation_folder(tmp_path)
    assert found.labels == ("cyst", "tumour")
    a, b = found.splits["all"]
    assert a.label_masks == (
        ("cyst", tmp_path / "masks/cyst/a.png"),
        ("tumour", tmp_path / "masks/tumour/a.png"),
    )
    assert a.has_mask
    assert not b.has_mask
    assert found.masks_without_image["all"] == [tmp_path / "masks/tumour/z.png"]
    # A stray picture beside the folders hides none of them.
    fill(tmp_path, "masks/legend.png")
    again = scan_segmentation_folder(tmp_path)
    assert again.splits == found.splits
    assert again.masks_without_image["all"] == [
        tmp_path / "masks/legend.png",
        tmp_path / "masks/tumour/z.png",
    ]


def test_a_stray_folder_beside_masks_is_no_label(tmp_path):
    fill(tmp_path, "images/a.png", "images/b.png", "masks/a.png", "masks/old/b.png")
    found = scan_segmentation_folder(tmp_path)
    assert found.labels == ()
    assert [case.mask and case.mask.name for case in found.splits["all"]] == ["a.png", None]
    (tmp_path / "masks/a.png").rename(tmp_path / "masks/z.png")
    (tmp_path / "masks/old/b.png").rename(tmp_path / "masks/old/y.png")
    found = scan_segmentation_folder(tmp_path)
    assert (found.labels, [file.name for file in found.masks_without_image["all"]]) == ((), ["z.png"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["readme.txt"], "no images found"),
        (["images/readme.txt"], "holds no images"),
        (["train/images/a.png", "images/a.png"], "keep one layout"),
        (["val/images/a.png", "valid/images/a.png"], "both 'val' and 'valid' mean val"),
        (["images/a.png", "images/a.jpg"], "same name up to the suffix"),
        (["images/a.png", "masks/a.png", "masks/a_mask.png"], "named as its mask"),
        (["images/a.png", "masks/a.png", "labels/a.png"], "keep one"),
    ],
)
def test_folders_that_are_not_clear(tmp_path, names, message):
    fill(tmp_path, *names)
    with pytest.raises(InputError, match=message):
        find_segmentation_cases(tmp_path)


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_segmentation_cases(tmp_path / "missing")


def test_groups_from_csv(tmp_path):
    fill(tmp_path, "images/a.png", "images/b.png")
    table = tmp_path / "patients.csv"
    table.write_text("\ufeffpath;Patient\nimages/a.png;7\nb;8\nc;8\n", encoding="utf-8")
    found = find_segmentation_cases(tmp_path, groups_csv=table, group_column="Patient")
    assert [case.group for case in found["all"]] == ["7", "8"]
    table.write_text("path,Patient\na.png,7\n")
    with pytest.raises(InputError, match=r"1 of 2 images have no line in it, for instance '.*images/b.png'"):
        find_segmentation_cases(tmp_path, groups_csv=table, group_column="Patient")
    with pytest.raises(InputError, match="needed together"):
        find_segmentation_cases(tmp_path, groups_csv=table)


@pytest.mark.parametrize("seed", range(5))
def test_folds_keep_groups_together_and_use_every_case_once(seed):
    everything = cases([7, 3, 3, 2, 2, 1, 1, 1, None, None, None])
    folds = k_folds(everything, 3, seed)
    validated = [case for _, val in folds for case in val]
    assert sorted(case.name for case in validated) == sorted(case.name for case in everything)
    for train, val in folds:
        assert len(train) + len(val) == len(everything)
        assert not {case.group for case in train if case.group} & {case.group for case in val}
    # 23 cases: the largest group is 7, so that 8, 8 and 7 are within reach of dealing out largest first.
    assert sorted(len(val) for _, val in folds) == [7, 8, 8]


def test_splits_depend_on_seed_and_names_not_on_order():
    everything = cases([2, 2, 1, 1, 3, 1, 2, 4])
    shuffled = [everything[i] for i in np.random.default_rng(1).permutation(len(everything))]
    names = [{case.name for case in val} for _, val in k_folds(everything, 4, seed=3)]
    assert names == [{case.name for case in val} for _, val in k_folds(shuffled, 4, seed=3)]
    first = {case.name for case in split_by_fraction(everything, 0.3, seed=3)[1]}
    assert first == {case.name for case in split_by_fraction(shuffled, 0.3, seed=3)[1]}
    assert (
        len({frozenset(c.name for c in split_by_fraction(everything, 0.3, seed=s)[1]) for s in range(9)}) > 1
    )


def test_images_of_one_name_in_two_parts_are_two_cases():
    """The same names in train and val, as where both number their images from 0."""
    cases = [SegmentationCase(f"{n}", Path(f"{part}/{n}.png")) for part in ("train", "val") for n in range(3)]
    folds = k_folds(cases, 6, seed=0)
    assert sorted(str(val[0].image) for _, val in folds) == sorted(str(case.image) for case in cases)
    assert all(len(train) == 5 for train, _ in folds)
    train, val = split_by_fraction(cases, 1 / 6, seed=0)
    assert (len(train), len(val)) == (5, 1)
    labelled = [
        ClassificationCase(f"{n}", part, n % 2, path=Path(f"{part}/{n}.png"))
        for part in ("train", "val")
        for n in range(3)
    ]
    # Names that look like a second one of another name.
    names = ("1", "1", "1 (2)", "1/2", "1\n2")
    alike = [SegmentationCase(name, Path(f"{n}.png")) for n, name in enumerate(names)]
    assert len({str(val[0].image) for _, val in k_folds(alike, 5, seed=0)}) == 5
    folds = stratified_k_folds(labelled, 6, seed=0)
    assert sorted(val[0].key for _, val in folds) == sorted(case.key for case in labelled)


def test_a_case_without_group_is_not_taken_for_a_group_of_its_name():
    pair = [SegmentationCase("p1", "x"), SegmentationCase("a", "x", group="p1")]
    train, val = split_by_fraction(pair, 0.5, seed=0)
    assert len(train) == len(val) == 1


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_fraction_is_met_by_single_cases(fraction):
    train, val = split_by_fraction(cases([None] * 40), fraction, seed=0)
    assert len(val) == 40 * fraction
    assert len(train) == 40 - len(val)


def test_one_group_stays_for_training():
    train, val = split_by_fraction(cases([1, 1]), 0.99, seed=0)
    assert len(train) == len(val) == 1


def test_splits_that_cannot_be():
    with pytest.raises(InputError, match=r"only 3 groups; choose 3 or fewer"):
        k_folds(cases([2, 2, 2]), 4, seed=0)
    with pytest.raises(InputError, match=r"only 3 cases"):
        k_folds(cases([None] * 3), 4, seed=0)
    with pytest.raises(InputError, match="at least 2 folds"):
        k_folds(cases([2, 2]), 1, seed=0)
    with pytest.raises(InputError, match="between 0 and 1"):
        split_by_fraction(cases([2, 2]), 1.0, seed=0)
    with pytest.raises(InputError, match="cannot be split"):
        split_by_fraction(cases([5]), 0.5, seed=0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,split", "1.png,val"], "no column 'masks'"),
        (["path,masks,split"], "no rows"),
        (["path,masks,split", "1.png,1_mask.png,later"], "line 2: the split is 'later'"),
        (
            ["path,masks,split", "1.png,1_mask.png,val", "2.png,1_mask.png,val"],
            r"line 3: .*2\.png is not there",
        ),
        (["path,masks,split", "1.png,disc=3.png,val"], r"line 2: .*3\.png is not there"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path, lines, message):
    for name in ("1.png", "1_mask.png"):
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=message):
        read_case_list(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("parent", "disc"), [("dose=2", "disc"), ("a|b", "disc"), ("dose=2", "HER2=3"), ("{a|b", "disc|cup")]
)
def test_a_list_gives_the_cases_that_were_written(tmp_path, parent, disc):
    tmp_path = tmp_path / parent
    tmp_path.mkdir()
    for name in ("a b.png", "a b_mask.png", "2.png", "disc.png", "cup.png"):
        (tmp_path / name).touch()
    parts = {
        "train": [SegmentationCase("a b", tmp_path / "a b.png", tmp_path / "a b_mask.png", "p1")],
        "val": [
            SegmentationCase(
                "2",
                tmp_path / "2.png",
                label_masks=((disc, tmp_path / "disc.png"), ("cup", tmp_path / "cup.png")),
            ),
            SegmentationCase("cup", tmp_path / "cup.png"),
        ],
    }
    # Links stay what they are called: what they lead to may have no suffix.
    (tmp_path / "2.png").rename(tmp_path / "content")
    (tmp_path / "2.png").symlink_to(tmp_path / "content")
    write_csv(tmp_path / "list.csv", case_rows(parts))
    assert read_case_list(tmp_path / "list.csv") == parts


def test_images_of_one_name_in_a_list_are_told_apart(tmp_path):
    parts = []
    for split in ("train", "val"):
        image = tmp_path / split / "images" / "1.nii.gz"
        image.parent.mkdir(parents=True)
        image.touch()
        parts.append(SegmentationCase("1", image))
    other = SegmentationCase("2", tmp_path / "train" / "images" / "2.png")
    other.image.touch()
    write_csv(tmp_path / "list.csv", case_rows({"train": parts[:1], "val": [*parts, other]}))
    found = read_case_list(tmp_path / "list.csv")
    assert [case.name for case in found["val"]] == ["train/images/1", "val/images/1", "2"]
    assert [case.name for case in found["train"]] == ["1"]
    write_csv(tmp_path / "list.csv", case_rows({"val": [parts[0], other, parts[0]]}))
    with pytest.raises(InputError, match=r"1\.nii\.gz is listed twice"):
        read_case_list(tmp_path / "list.csv")


def test_a_quotation_mark_that_is_not_closed_in_a_list(tmp_path):
    (tmp_path / "list.csv").write_text('path,masks,split\n"' + "1.png,1.png,val\n" * 400 + '",1,val\n')
    with pytest.raises(InputError, match=r"line 2: (.|\n){300}… is not there"):
        read_case_list(tmp_path / "list.csv")
