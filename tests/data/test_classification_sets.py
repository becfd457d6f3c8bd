"""Classification data sets as folders, CSV files and MedMNIST files, good and bad ones."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from scalefuse.data.classification import (
    ClassificationCase,
    ClassificationSet,
    TableColumns,
    check_trainable,
    read_classification,
)
from scalefuse.data.write import write_image
from scalefuse.errors import InputError

DATA = Path(os.environ.get("SCALEFUSE_DATA", Path(__file__).parents[3] / "shared" / "data"))


def touch(root, *names):
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(np.full((4, 4), len(name), np.uint8)).save(file)


def table(root, *lines, name="labels.csv"):
    file = root / name
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


class TestFolders:
    def test_classes_in_natural_order_and_splits_under_any_of_their_names(self, tmp_path):
        names = ("grade 2/b.png", "grade 10/a.png")
        touch(tmp_path, *(f"{part}/{name}" for part in ("Train", "validation", "test") for name in names))
        found = read_classification(tmp_path)
        assert found.classes == ("grade 2", "grade 10")
        assert found.splits == ("train", "val", "test")
        assert [(c.key, c.label) for c in found.part("val")] == [
            ("val/grade 2/b.png", 0),
            ("val/grade 10/a.png", 1),
        ]

    def test_a_class_may_be_called_test(self, tmp_path):
        touch(tmp_path, "control/1.png", "test/2.png")
        assert read_classification(tmp_path).classes == ("control", "test")

    def test_given_classes_keep_their_order_and_may_be_absent(self, tmp_path):
        touch(tmp_path, "a/1.png", "b/2.png")
        found = read_classification(tmp_path, classes=["c", "b", "a"])
        assert [(c.name, c.label) for c in found.cases] == [("a/1.png", 2), ("b/2.png", 1)]

    def test_groups_come_from_a_table(self, tmp_path):
        touch(tmp_path / "set", "a/1.png", "b/2.png")
        groups = table(tmp_path, "image,patient", "1.png,p7", "2,p8")
        found = read_classification(tmp_path / "set", groups_csv=groups, group_column="patient")
        assert [c.group for c in found.cases] == ["p7", "p8"]
        table(tmp_path, "image,patient", "1.png,p7")
        with pytest.raises(InputError, match="1 of 2 images have no line in it"):
            read_classification(tmp_path / "set", groups_csv=groups, group_column="patient")

    @pytest.mark.parametrize(
        ("names", "empty", "message"),
        [
            (["train/a/1.png", "train/b/2.png"], "train/c", "c: holds no images"),
            (["train/a/1.png", "cats/2.png"], None, "'cats' beside 'train'"),
            (["val/a/1.png", "valid/a/2.png"], None, "mean val"),
            (["images/1.png", "masks/1.png"], None, "segmentation"),
            (["1.png"], None, "holds no folders"),
            (["cyst;simple/1.png", "none/2.png"], None, "cannot be called 'cyst;simple'"),
            (["a/1.png", "b|c/2.png"], None, "cannot be called 'b|c'".replace("|", r"\|")),
        ],
    )
    def test_bad_layouts(self, tmp_path, names, empty, message):
        touch(tmp_path, *names)
        if empty:
            (tmp_path / empty).mkdir(parents=True)
        with pytest.raises(InputError, match=message):
            read_classification(tmp_path)

    def test_folder_that_is_no_known_class(self, tmp_path):
        touch(tmp_path, "a/1.png", "b/1.png")
        with pytest.raises(InputError, match=r"'b' is not among the classes \(a, c\)"):
            read_classification(tmp_path, classes=["a", "c"])


class TestTables:
    def test_all_columns(self, tmp_path):
        touch(tmp_path, "x/1.png", "x/2.png")
        file = table(
            tmp_path,
            "path;label;patient;split;weight",
            "x/1.png;sick;p1;train;0.5",
            "x/2.png;well;;valid;2",
        )
        found = read_classification(file)
        assert found.classes == ("sick", "well")
        assert not found.multi_label
        one, two = found.cases
        assert (one.label, one.group, one.split, one.weight) == (0, "p1", "train", 0.5)
        assert (two.label, two.group, two.split, two.weight) == (1, None, "val", 2.0)
        assert one.read().pixels.shape == (4, 4)

    def test_chosen_columns_and_images_found_by_stem_in_another_folder(self, tmp_path):
        touch(tmp_path / "pictures", "deep/ISIC_1.png", "ISIC_2.png")
        file = table(tmp_path, "image_id,dx,path", "ISIC_1,mel,unused", "ISIC_2,nv,unused")
        columns = TableColumns(path="image_id", label="dx")
        found = read_classification(file, columns=columns, images=tmp_path / "pictures")
        assert [c.path.relative_to(tmp_path).as_posix() for c in found.cases] == [
            "pictures/deep/ISIC_1.png",
            "pictures/ISIC_2.png",
        ]

    def test_several_labels_and_none(self, tmp_path):
        touch(tmp_path, "1.png", "2.png", "3.png")
        file = table(tmp_path, "path,label", "1.png,b|a", "2.png,", "3.png,c; a")
        found = read_classification(file)
        assert found.multi_label
        assert found.targets().tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 1]]

    def test_one_label_each_may_be_a_multi_label_set_too(self, tmp_path):
        touch(tmp_path, "1.png", "2.png")
        file = table(tmp_path, "path,label", "1.png,a", "2.png,b")
        assert read_classification(file, multi_label=True).targets().tolist() == [[1, 0], [0, 1]]
        file = table(tmp_path, "path,label", "1.png,a|b", "2.png,b")
        with pytest.raises(InputError, match="line 2: has 2 labels"):
            read_classification(file, multi_label=False)

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            (["file,finding", "1.png,a"], r"no column for the label .*columns are file, finding"),
            (["id,label", "1.png,a"], "no column for the path"),
            (["path,label"], "lists no images"),
            (["path,label", "1.png,a", "9.png,b"], "line 3: the image '9.png' is not in"),
            (["path,label", "1.png,a", "2.png,c"], r"line 3: 'c' is not among the classes \(a, b\)"),
            (["path,label", "1.png,a", "2.png,"], "line 3: has no label"),
            (["path,label", "1.png,a", "1.png,b"], "line 3: the image '1.png' is listed before, in line 2"),
            (["path,label,split", "1.png,a,dev"], "the split is 'dev'"),
            (["path,label,weight", "1.png,a,nan"], "the weight of '1.png' is 'nan'"),
            (["path,label,weight", "1.png,a,-1"], "the weight of '1.png' is '-1'"),
            (["path,label,weight", "1.png,a,"], "the weight of '1.png' is ''"),
        ],
    )
    def test_bad_tables(self, tmp_path, lines, message):
        touch(tmp_path, "1.png", "2.png")
        with pytest.raises(InputError, match=message) as caught:
            read_classification(table(tmp_path, *lines), classes=["a", "b"])
        assert "\n" not in str(caught.value)

    def test_a_column_that_was_chosen_must_be_there(self, tmp_path):
        touch(tmp_path, "1.png")
        file = table(tmp_path, "path,label", "1.png,a")
        with pytest.raises(InputError, match="no column 'patient_no' for the group"):
            read_classification(file, columns=TableColumns(group="patient_no"))

    def test_a_stem_that_two_files_have(self, tmp_path):
        touch(tmp_path, "x/1.png", "y/1.png")
        with pytest.raises(InputError, match="could be meant by '1'"):
            read_classification(table(tmp_path, "path,label", "1,a"))

    def test_all_faults_are_kept_where_not_strict(self, tmp_path):
        touch(tmp_path, "1.png", "2.png")
        file = table(tmp_path, "path,label", "1.png,a", "9.png,a", "2.png,x", "1.png,a")
        found = read_classification(file, classes=["a", "b"], strict=False)
        assert [problem.kind for problem in found.problems] == [
            "missing-file",
            "unknown-label",
            "duplicate-row",
        ]
        assert [case.name for case in found.cases] == ["1.png"]
        with pytest.raises(InputError, match=r"2 more such faults"):
            read_classification(file, classes=["a", "b"])


class TestMedMNIST:
    def save(self, folder, name="custom.npz", **arrays):
        np.savez(folder / name, **arrays)
        return folder / name

    def test_grey_and_colour_multi_class(self, tmp_path):
        pixels = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
        file = self.save(
            tmp_path,
            train_images=np.stack([pixels] * 3, axis=-1),
            train_labels=np.array([[2], [0]]),
            val_images=pixels,
            val_labels=np.array([1, 1]),
        )
        found = read_classification(file)
        assert found.classes == ("0", "1", "2")
        assert found.splits == ("train", "val")
        assert found.targets(found.part("train")).tolist() == [2, 0]
        assert found.part("train")[0].read().is_colour
        np.testing.assert_array_equal(found.part("val")[1].read().pixels, pixels[1])

    def test_multi_label(self, tmp_path):
        labels = np.array([[1, 0, 1], [0, 0, 0]])
        file = self.save(tmp_path, test_images=np.zeros((2, 28, 28), np.uint8), test_labels=labels)
        found = read_classification(file, classes=["a", "b", "c"])
        assert found.multi_label
        assert found.targets().tolist() == labels.tolist()

    @pytest.mark.parametrize("name", ["pneumoniamnist_224.npz", "PneumoniaMNIST.npz"])
    def test_names_of_known_sets(self, tmp_path, name):
        images, labels = np.zeros((1, 28, 28), np.uint8), np.array([[0]])
        file = self.save(tmp_path, name, train_images=images, train_labels=labels)
        assert read_classification(file).classes == ("normal", "pneumonia")

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"train_images": np.zeros((2, 28, 28), np.uint8)}, "train_labels is missing"),
            ({"images": np.zeros(3)}, "train_images and train_labels"),
            (
                {"train_images": np.zeros((2, 28, 28, 28)), "train_labels": np.zeros((2, 1), int)},
                "Volumes are not classified",
            ),
            (
                {"train_images": np.zeros((2, 28, 28)), "train_labels": np.zeros((3, 1), int)},
                "for the 2 images",
            ),
            ({"train_images": np.zeros((2, 28, 28)), "train_labels": np.zeros((2, 1))}, "whole numbers"),
            (
                {
                    "train_images": np.zeros((1, 8, 8)),
                    "train_labels": np.array([[{}]], dtype=object),
                },
                "Python objects",
            ),
        ],
    )
    def test_bad_files(self, tmp_path, arrays, message):
        with pytest.raises(InputError, match=message):
            read_classification(self.save(tmp_path, **arrays))

    def test_a_number_that_is_no_class(self, tmp_path):
        images = np.zeros((1, 8, 8), np.uint8)
        file = self.save(tmp_path, train_images=images, train_labels=np.array([[5]]))
        with pytest.raises(InputError, match=r"train_labels\[0\] is \[5\], but there are 2 classes"):
            read_classification(file, classes=["a", "b"])

    def test_no_zip_archive(self, tmp_path):
        (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 cut off")
        with pytest.raises(InputError, match=r"cannot be read as an \.npz file"):
            read_classification(tmp_path / "x.npz")


def cases(split, labels, weight=1.0):
    return tuple(ClassificationCase(f"{n}", split, label, weight=weight) for n, label in enumerate(labels))


@pytest.mark.parametrize(
    ("classes", "train", "val", "weight", "message"),
    [
        (("a", "b"), [0, 0], [0, 1], 1, "1 image.s. of 'b', which training never saw"),
        (("a", "b"), [0, 0], [0], 1, "no training image shows 'b'"),
        (("a",), [0, 0], [0], 1, "one class only"),
        (("a", "b"), [], [0], 1, "no images are left to train on"),
        (("a", "b"), [0, 1], [0], 0, "weights of all 2 training images are 0"),
    ],
)
def test_what_cannot_be_trained_on(classes, train, val, weight, message):
    data = ClassificationSet(Path("set"), classes, False, ())
    with pytest.raises(InputError, match=message):
        check_trainable(data, cases("train", train, weight), cases("val", val))


def test_sources_that_are_none(tmp_path):
    touch(tmp_path, "a.png")
    with pytest.raises(InputError, match="no such file or folder"):
        read_classification(tmp_path / "none")
    with pytest.raises(InputError, match=r"a CSV file or an \.npz file"):
        read_classification(tmp_path / "a.png")
    with pytest.raises(InputError, match="differ from one another"):
        read_classification(tmp_path, classes=["a", "a"])


@pytest.mark.parametrize(
    ("source", "classes", "train", "val"),
    [
        ("covid-ct", ("covid", "noncovid"), [191, 234], [60, 58]),
        ("isic2017/labels.csv", ("melanoma", "other"), [333, 1467], [41, 159]),
        ("medmnist/breastmnist_train_val.npz", ("malignant", "normal or benign"), [147, 399], [21, 57]),
        ("medmnist/pneumoniamnist_train_val.npz", ("normal", "pneumonia"), [1214, 3494], [135, 389]),
    ],
)
def test_real_sets(source, classes, train, val):
    if not (DATA / source).exists():
        pytest.skip("the data sets are not there; set SCALEFUSE_DATA")
    found = read_classification(DATA / source)
    assert found.classes == classes
    for split, counts in (("train", train), ("val", val)):
        assert np.bincount(found.targets(found.part(split))).tolist() == counts
    check_trainable(found, found.part("train"), found.part("val"))
    assert found.part("val")[-1].read().pixels.dtype == np.uint8


@pytest.mark.parametrize(
    "header", ["Path,Label,PatientID,Split,Weight", "image id,class,patient-id,split,WEIGHT"]
)
def test_usual_columns_however_they_are_spelt(tmp_path, header):
    touch(tmp_path, "a.png", "b.png")
    found = read_classification(
        table(tmp_path, header + ",Age", "a.png,x,p1,Train,2,50", "b.png,y,p2,val,1,60")
    )
    assert [(c.group, c.split, c.weight) for c in found.cases] == [("p1", "train", 2.0), ("p2", "val", 1.0)]
    assert found.columns.endswith("; not used: 'Age'")
    names = header.split(",")
    assert f"path from {names[0]!r}, label from {names[1]!r}" in found.columns


def test_columns_that_are_missing_are_told(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    found = read_classification(table(tmp_path, "path,label,case", "a.png,x,1", "b.png,y,2"))
    assert "no column for split, group, weight; not used: 'case'" in found.columns


def test_a_line_with_more_cells_than_the_header(tmp_path):
    touch(tmp_path, "a.png")
    with pytest.raises(
        InputError, match=r"line 2 has 4 cells, but the header has 3; put a cell that holds ','"
    ):
        read_classification(table(tmp_path, "path,label,patient", "a.png,normal, healthy,P1"))
    # What many programs write at the end of a line is no cell.
    touch(tmp_path, "b.png")
    assert len(read_classification(table(tmp_path, "path,label", "a.png,x,", "b.png,y,")).cases) == 2


def test_paths_as_windows_writes_them(tmp_path):
    touch(tmp_path, "images/a.png", "images/b.png")
    found = read_classification(table(tmp_path, "path,label", "images\\a.png,x", "images\\b.png,y"))
    assert [case.path.name for case in found.cases] == ["a.png", "b.png"]


def test_paths_without_suffix_find_what_is_there(tmp_path):
    touch(tmp_path, "sub/A.PNG", "sub/B.v2.png", "sub/two.png", "sub/two.tif")
    found = read_classification(table(tmp_path, "path,label", "sub/A,x", "sub/B.v2,y"))
    assert [case.path.name for case in found.cases] == ["A.PNG", "B.v2.png"]
    with pytest.raises(InputError, match="could be meant by 'sub/two'"):
        read_classification(table(tmp_path, "path,label", "sub/A,x", "sub/two,y"))


def test_one_file_under_two_spellings(tmp_path):
    touch(tmp_path, "a.png", "b.png", "sub/c.png")
    for spelling in (tmp_path / "a.png", "sub/../a.png", "./a.png"):
        file = table(tmp_path, "path,label", "a.png,x", "b.png,y", f"{spelling},y")
        with pytest.raises(InputError, match=r"line 4: the image .* is listed before, in line 2"):
            read_classification(file)


def test_a_quotation_mark_that_is_not_closed(tmp_path):
    lines = [f"img_{number:03}.png,{number % 2}" for number in range(400)]
    touch(tmp_path, *(f"img_{number:03}.png" for number in range(400)))
    lines[3] = '"' + lines[3]
    with pytest.raises(InputError, match=r"line .*perhaps a quotation mark is not closed"):
        read_classification(table(tmp_path, "path,label", *lines))


def test_a_quotation_mark_that_swallows_every_label(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    with pytest.raises(InputError, match=r"'label' is empty; .* or close the quotation mark that is open"):
        read_classification(table(tmp_path, "path,label", '"a.png,x', "b.png,y"))


def test_images_in_folders_of_a_class_folder_are_told(tmp_path):
    touch(tmp_path, "a/1.png", "a/pat1/2.png", "a/pat2/deep/3.png", "b/4.png")
    (tmp_path / "b" / "empty").mkdir()
    (tmp_path / "b" / "loop").symlink_to(tmp_path / "b")
    found = read_classification(tmp_path)
    assert [case.name for case in found.cases] == ["a/1.png", "b/4.png"]
    (line,) = [line for line in found.left_out if line.startswith(str(tmp_path / "a"))]
    assert "images in folders inside ('pat1' and 1 more) are left out" in line


def test_images_beside_the_folders_of_classes_are_told(tmp_path):
    touch(tmp_path, "train/a/1.png", "train/b/2.png", "train/3.png", "train/4.png")
    found = read_classification(tmp_path)
    assert len(found.cases) == 2
    assert len(found.left_out) == 1
    assert "2 images beside the folders of the classes, such as '3.png', are left out" in found.left_out[0]


def test_a_class_whose_images_all_lie_deeper(tmp_path):
    touch(tmp_path, "a/pat1/1.png", "b/pat2/2.png")
    with pytest.raises(InputError, match=r"lie in folders inside \('pat1'\).*CSV file"):
        read_classification(tmp_path)


def test_training_and_testing_are_parts(tmp_path):
    touch(tmp_path, "Training/a/1.png", "Training/b/2.png", "Testing/a/3.png", "Testing/b/4.png")
    assert read_classification(tmp_path).splits == ("train", "test")


def test_names_in_linked_folders_are_found(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    write_image(tmp_path / "elsewhere" / "z1.png", np.zeros((4, 4)), bits=8)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "pictures")
    (tmp_path / "labels.csv").write_text("image,label\nz1,x\n")
    found = read_classification(tmp_path / "labels.csv", images=tmp_path / "pictures")
    assert [case.path.resolve() for case in found.cases] == [tmp_path / "elsewhere" / "z1.png"]


def test_labels_with_line_breaks_are_refused(tmp_path):
    for name in "ab":
        write_image(tmp_path / f"{name}.png", np.zeros((4, 4)), bits=8)
    (tmp_path / "labels.csv").write_text('image,label\na.png,"x\ny"\nb.png,z\n')
    with pytest.raises(InputError, match=r"cannot be called 'x\\ny'"):
        read_classification(tmp_path / "labels.csv")


def test_labels_that_number_no_classes(tmp_path):
    labels = np.array([[0], [1], [2_000_000_000]])
    np.savez(tmp_path / "m.npz", train_images=np.zeros((3, 8, 8), np.uint8), train_labels=labels)
    with pytest.raises(InputError, match="go up to 2000000000"):
        read_classification(tmp_path / "m.npz")
