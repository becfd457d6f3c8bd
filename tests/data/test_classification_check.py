"""The data check on classification sets with planted faults."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from scalefuse.data.check_classification import check_classification
from scalefuse.data.classification import ClassificationCase, ClassificationSet, read_classification


def scene(seed, side=64):
    """Smooth random blobs: pictures that differ as medical images do."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:side, :side] / side
    picture = np.zeros((side, side))
    for _ in range(12):
        y, x, radius = rng.random(), rng.random(), rng.uniform(0.03, 0.2)
        picture += rng.uniform(-1, 1) * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / radius**2)
    picture += 0.05 * np.kron(rng.standard_normal((side // 2, side // 2)), np.ones((2, 2)))
    return (20 + 200 * (picture - picture.min()) / np.ptp(picture)).astype(np.uint8)


def save(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels).save(file)


@pytest.fixture
def folder(tmp_path):
    """Twelve different pictures of either class to train on, and four of either to validate."""
    for split, count, start in (("train", 12, 0), ("val", 4, 100)):
        for label, name in enumerate(("covid", "other")):
            for index in range(count):
                file = tmp_path / "set" / split / name / f"{index}.png"
                save(file, scene(start + index + 50 * label))
    return tmp_path / "set"


def check(folder, **options):
    return check_classification(read_classification(folder, strict=False, **options))


def found(outcome):
    return {finding.kind: finding for finding in outcome.findings}


def test_a_set_without_faults(folder):
    outcome = check(folder)
    assert outcome.findings == ()
    assert outcome.task == "classification"
    assert outcome.class_names == ("covid", "other")
    assert outcome.splits["train"].images_with_class == {"covid": 12, "other": 12}
    assert outcome.splits["val"].class_shares == {"covid": 0.5, "other": 0.5}
    assert outcome.cases[0].labels == ("covid",)


def test_planted_faults(folder):
    copy = Pillow.open(folder / "train/covid/3.png")
    copy.resize((60, 60)).save(folder / "val/covid/copy.jpg", quality=90)
    copy.save(folder / "train/other/same.png")
    (folder / "train/other/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    save(folder / "train/other/dot.png", np.zeros((1, 1), np.uint8))
    save(folder / "train/other/flat.png", np.full((64, 64), 9, np.uint8))
    (folder / "train/third").mkdir()
    outcome = check(folder)
    kinds = found(outcome)
    assert kinds.keys() == {
        *("empty-class", "unreadable-image", "class-missing", "constant-image"),
        *("conflicting-labels", "leak", "near-duplicate", "mixed-sizes"),
    }
    assert outcome.has_errors
    assert set(kinds["unreadable-image"].cases) == {"train/other/broken.png", "train/other/dot.png"}
    assert set(kinds["leak"].cases) >= {"train/covid/3.png", "val/covid/copy.jpg"}
    assert "train/covid/3.png (covid) and train/other/same.png (other)" in kinds["conflicting-labels"].message
    assert "third: holds no images" in kinds["empty-class"].message
    assert [finding.severity for finding in outcome.findings] == sorted(
        (finding.severity for finding in outcome.findings), key=["error", "warning", "info"].index
    )


def test_classes_that_training_never_saw_and_one_class(folder):
    save(folder / "val/third/1.png", scene(900))
    kinds = found(check(folder))
    assert kinds["unseen-label"].severity == "error"
    assert "third (1 image(s))" in kinds["unseen-label"].message
    cases = (ClassificationCase("1", "train", 0, pixels=scene(1)),)
    kinds = found(check_classification(ClassificationSet(folder, ("a",), False, cases)))
    assert kinds["single-class"].severity == "error"
    assert "few-images" in kinds


def test_uneven_classes(folder):
    for index in range(30):
        save(folder / f"train/other/more{index}.png", scene(500 + index))
    finding = found(check(folder))["class-imbalance"]
    assert finding.severity == "info"
    assert "covid 22.2%, other 77.8%" in finding.message


def named(*counts):
    """Findings on names of classes and their numbers of training images."""
    cases = [
        ClassificationCase(f"{index}-{number}", "train", index, pixels=scene(50 * index + number))
        for index, (_, count) in enumerate(counts)
        for number in range(count)
    ]
    names = tuple(name for name, _ in counts)
    return found(check_classification(ClassificationSet(Path("set"), names, False, tuple(cases))))


@pytest.mark.parametrize(
    "names",
    [
        (("malignant", 20), ("maligant", 1)),
        (("Malignant", 12), ("malignant", 11)),
        (("non-covid", 12), ("non covid", 3)),
    ],
)
def test_names_that_are_spelt_alike(names):
    finding = named(*names)["similar-labels"]
    assert finding.severity == "warning"
    assert all(f"{name!r} ({count}" in finding.message for name, count in names)


@pytest.mark.parametrize(
    "names",
    [
        (("malignant", 20), ("benign", 1)),
        (("covid", 20), ("noncovid", 2)),
        (("grade 1", 20), ("grade 2", 1)),
        (("hypokinetic", 12), ("hyperkinetic", 11)),
        (("HER2+", 12), ("HER2-", 11)),
        (("<5", 12), ("≥5", 11)),
        (("normal", 20), ("abnormal", 1)),
    ],
)
def test_names_of_their_own(names):
    assert "similar-labels" not in named(*names)


def test_patients_in_two_splits_and_faulty_rows(tmp_path):
    for index in range(25):
        save(tmp_path / f"{index}.png", scene(index))
    rows = [f"{n}.png,{'ab'[n % 2]},{'train' if n < 22 else 'val'},p{n // 3}" for n in range(24)]
    rows += ["0.png,a,train,p0", "missing.png,a,train,p9", "24.png,,train,p9"]
    (tmp_path / "set.csv").write_text("\n".join(["path,label,split,patient", *rows]), encoding="utf-8")
    kinds = found(check(tmp_path / "set.csv"))
    assert kinds.keys() == {"duplicate-row", "missing-file", "missing-label", "group-leak", "columns"}
    assert kinds["group-leak"].cases == ("train/21.png", "val/22.png", "val/23.png")
    # Folds are dealt out anew, by patient.
    table = read_classification(tmp_path / "set.csv", strict=False)
    assert "group-leak" not in found(check_classification(table, folds=True))


def test_images_that_need_a_range(tmp_path):
    cases = tuple(
        ClassificationCase(str(n), "all", n % 2, pixels=scene(n).astype(np.float32)) for n in range(24)
    )
    data = ClassificationSet(tmp_path, ("a", "b"), False, cases)
    assert found(check_classification(data))["intensity-range"].severity == "error"
    assert check_classification(data, intensity="minmax").findings == ()


def test_folds_take_classes_from_either_part(tmp_path):
    for index in range(12):
        save(tmp_path / "set" / "train" / "covid" / f"{index}.png", scene(index))
        save(tmp_path / "set" / "val" / "other" / f"{index}.png", scene(100 + index))
    (tmp_path / "set" / "train" / "other").mkdir()
    data = read_classification(tmp_path / "set", classes=("covid", "other"), strict=False)
    apart, together = check_classification(data), check_classification(data, folds=True)
    assert {"class-missing", "unseen-label"} <= found(apart).keys()
    assert not {"class-missing", "unseen-label"} & found(together).keys()
    # What neither part shows is missing all the same.
    data = read_classification(tmp_path / "set", classes=("covid", "other", "rare"), strict=False)
    message = found(check_classification(data, folds=True))["class-missing"].message
    assert message.startswith("train and val: no image shows rare;")
