"""Names of two folders that belong together although no two are the same."""

import random

import numpy as np
import pytest

from scalefuse.data.affixes import match_without_affixes
from scalefuse.data.check_segmentation import check_segmentation
from scalefuse.data.segmentation import find_segmentation_cases
from scalefuse.data.write import write_pixels


def matched(first, second):
    return {(one, other) for _, one, other in match_without_affixes(first, second)}


@pytest.mark.parametrize(
    ("pattern", "other"),
    [
        ("{}_CT", "{}_MRI"),
        ("ct_{}", "mri_{}"),
        ("{}", "{}_mask"),
        ("study_{}_t1", "study_{}_t2"),
        ("{}_training", "{}_manual1"),
        ("img{}", "lab{}"),
        ("{}CT", "MR{}"),
    ],
)
def test_every_name_finds_its_own(pattern, other):
    generator = random.Random(0)
    keys = [str(key) for key in generator.sample(range(1, 400), 30)]
    first, second = [pattern.format(key) for key in keys], [other.format(key) for key in keys]
    generator.shuffle(second)
    assert matched(first, second) == {(pattern.format(key), other.format(key)) for key in keys}


def test_those_without_a_partner_stay_alone():
    found = matched([f"{key}_CT" for key in (10, 20, 30)], [f"{key}_MRI" for key in (20, 30, 45)])
    assert found == {("20_CT", "20_MRI"), ("30_CT", "30_MRI")}


def test_numbers_are_not_parted():
    # "0_CT" and "0_MRI" are shared too, but 1 is not what 10 and 100 have in common.
    assert matched(["10_CT", "20_CT"], ["100_MRI", "200_MRI"]) == set()


def test_the_least_is_taken_away():
    found = match_without_affixes(["p_1_CT", "p_2_CT"], ["p_1_MR", "p_2_MR"])
    assert found == [("p_1", "p_1_CT", "p_1_MR"), ("p_2", "p_2_CT", "p_2_MR")]


def test_nothing_is_made_up():
    assert match_without_affixes(["a", "b"], ["c", "d"]) == []
    # One name alone shows no ending that it would share with others.
    assert match_without_affixes(["1_CT"], ["1_MRI"]) == []
    assert match_without_affixes(["CT", "CT1"], ["MR", "MR1"]) == [("1", "CT1", "MR1")]
    assert match_without_affixes([], ["a"]) == []


def test_a_stray_file_hides_no_pairs():
    first = ["1_CT", "2_CT", "3_CT", "Overview"]
    assert matched(first, ["1_MRI", "2_MRI", "3_MRI"]) == {(f"{n}_CT", f"{n}_MRI") for n in (1, 2, 3)}
    # Of four names two share an ending: that may be chance.
    assert matched(["1_CT", "2_CT", "3_PET", "4_SPECT"], ["1", "2", "3", "4"]) == set()


def test_masks_of_a_data_set(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for key in (21, 22):
        picture = np.random.default_rng(key).integers(0, 256, (32, 32), np.uint8)
        write_pixels(tmp_path / f"images/{key}_training.png", picture)
        write_pixels(tmp_path / f"masks/{key}_manual1.png", np.uint8(picture > 127) * 255)
    write_pixels(tmp_path / "masks/23_manual1.png", np.eye(32, dtype=np.uint8) * 255)
    cases = find_segmentation_cases(tmp_path)["all"]
    assert [(case.name, case.mask.name) for case in cases] == [
        ("21_training", "21_manual1.png"),
        ("22_training", "22_manual1.png"),
    ]
    findings = {finding.kind: finding for finding in check_segmentation(tmp_path).findings}
    assert "21_training.png with 21_manual1.png" in findings["paired-names"].message
    assert "23_manual1.png" in findings["missing-image"].message
    write_pixels(tmp_path / "masks/legend.png", np.zeros((32, 32), np.uint8))
    findings = {finding.kind: finding for finding in check_segmentation(tmp_path).findings}
    assert findings["missing-image"].cases == ("all/23_manual1.png", "all/legend.png")
    (tmp_path / "masks/legend.png").unlink()
    # The usual names are not worth a word.
    for key in (21, 22, 23):
        (tmp_path / f"masks/{key}_manual1.png").rename(tmp_path / f"masks/{key}_training_mask.png")
    assert "paired-names" not in {finding.kind for finding in check_segmentation(tmp_path).findings}
