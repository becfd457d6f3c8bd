"""What is said where a model is measured on images that had a part in its training."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from scalefuse.errors import ConfigError
from scalefuse.workflows.run_images import held_out_note, keep_images

TRAINED, CHOSEN = "was trained on images of this part", "were chosen on these very images"


def model(place: Path, **data):
    return SimpleNamespace(info=SimpleNamespace(config={"data": data}), source=place)


def test_a_run_goes_on_with_the_images_that_it_was_begun_with(tmp_path):
    rows = [{"name": "a", "split": "train", "weight": "2"}, {"name": "b", "split": "val", "weight": "1"}]
    keep_images(tmp_path, rows, "1234", resume=False)
    keep_images(tmp_path, rows[::-1], "1234", resume=True)
    with pytest.raises(ConfigError, match="contents of images or masks changed"):
        keep_images(tmp_path, rows, "abcd", resume=True)
    for key, other in (("weight", "9"), ("split", "val"), ("name", "c")):
        with pytest.raises(ConfigError, match="1 new or changed, 1 missing or changed"):
            keep_images(tmp_path, [{**rows[0], key: other}, rows[1]], "1234", resume=True)
    (tmp_path / "images.sha256").unlink()  # a run of before it was written
    keep_images(tmp_path, rows, "abcd", resume=True)


@pytest.mark.parametrize(
    ("folds", "split", "expected"),
    [
        (None, "train", TRAINED),
        (None, "all", TRAINED),
        (None, "val", CHOSEN),
        (None, "test", None),
        (5, "train", TRAINED),
        (5, "val", TRAINED),
        (5, "test", None),
    ],
)
def test_the_data_of_the_training(tmp_path, folds, split, expected):
    bundle = model(tmp_path / "bundle", source=str(tmp_path / "scans"), folds=folds)
    note = held_out_note([bundle], "source", tmp_path / "scans", split)
    assert note is None if expected is None else expected in note
    assert held_out_note([bundle], "source", tmp_path / "others", split) is None
    assert held_out_note([model(tmp_path / "bundle")], "source", tmp_path / "scans", split) is None


@pytest.mark.parametrize(("split", "expected"), [("train", TRAINED), ("val", CHOSEN)])
def test_the_list_of_the_run(tmp_path, split, expected):
    """Folds or not: the list holds what this very model was trained and validated on."""
    bundle = model(tmp_path / "runs" / "one" / "bundle", folder=str(tmp_path / "scans"), folds=3)
    assert expected in held_out_note([bundle], "folder", tmp_path / "runs" / "one" / "images.csv", split)
    assert held_out_note([bundle], "folder", tmp_path / "runs" / "two" / "images.csv", split) is None
