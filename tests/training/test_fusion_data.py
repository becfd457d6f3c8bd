"""Pairs for training: held-out subjects, crops and flips that depend on the seed and the key only."""

import numpy as np
import pytest
import torch

from scalefuse.config.fusion import FusionData, PairFolders
from scalefuse.data import write_image
from scalefuse.data.sampling import SampleKey
from scalefuse.errors import InputError
from scalefuse.training.fusion_data import PairCase, PairDataset, check_sizes, read_pairs, split_pairs

RNG = np.random.default_rng(0)


def case(name="1", size=(60, 70)):
    # b = 1 - a shows whether both were cut and mirrored alike.
    a = RNG.random(size, dtype=np.float32)
    return PairCase(name, "folder", a, 1 - a)


@pytest.fixture
def folders(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            write_image(tmp_path / name / f"{number}.png", RNG.random((50, 52)), bits=8)
    return PairFolders(a=tmp_path / "a", b=tmp_path / "b")


def test_subjects_are_left_out_by_name(folders):
    everything, whole = read_pairs([folders])
    cases, fingerprint = read_pairs([folders, folders], "^[12]$")
    assert [case.name for case in everything] == ["0", "1", "2"]
    assert [case.name for case in cases] == ["0", "0"]
    assert fingerprint != whole
    assert read_pairs([folders], "x")[1] == whole
    with pytest.raises(InputError, match="every pair"):
        read_pairs([folders], r"\d")
    with pytest.raises(ValueError, match="no regular expression"):
        FusionData(exclude="(")


def test_a_sample_depends_on_the_seed_and_its_key_only():
    cases = [case(), case("2")]
    config = FusionData(crop=48)
    data = PairDataset(cases, config, seed=1)
    key = SampleKey(1, 4, 2)
    first = data[key]
    data[SampleKey(0, 4, 2)]
    again = PairDataset(cases, config, seed=1)[key]
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    for other in (
        data[SampleKey(1, 5, 2)],
        data[SampleKey(1, 4, 3)],
        PairDataset(cases, config, seed=2)[key],
    ):
        assert not torch.equal(first[0], other[0])


def test_both_pictures_are_cut_and_mirrored_alike():
    data = PairDataset([case()], FusionData(crop=48))
    for epoch in range(20):
        a, b, _ = data[SampleKey(0, epoch)]
        assert a.shape == b.shape == (1, 48, 48)
        torch.testing.assert_close(a + b, torch.ones_like(a))


def test_crops_hold_foreground_of_both_pictures():
    a, b = np.zeros((96, 200), np.float32), np.zeros((96, 200), np.float32)
    a[:, :110], b[:, 90:] = 0.9, 0.9
    config = FusionData(crop=48, flips=False, min_foreground=0.2)
    data = PairDataset([PairCase("1", "folder", a, b)], config)
    shares = [
        min((a > 0.5).float().mean(), (b > 0.5).float().mean())
        for a, b, _ in (data[SampleKey(0, n)] for n in range(40))
    ]
    assert min(shares) >= 0.2
    # Without the demand most crops hold one of them only.
    free = PairDataset([PairCase("1", "folder", a, b)], config.model_copy(update={"min_foreground": 0.0}))
    lacking = [min(a.max(), b.max()) == 0 for a, b, _ in (free[SampleKey(0, n)] for n in range(40))]
    assert sum(lacking) > 5


def test_flips_can_be_left_out():
    whole = PairCase("1", "folder", *(np.arange(49 * 50, dtype=np.float32).reshape(49, 50) / 2450,) * 2)
    seen = {
        flips: {
            (bool(a[0, 0, 1] > a[0, 0, 0]), bool(a[0, 1, 0] > a[0, 0, 0]))
            for a, *_ in (
                PairDataset([whole], FusionData(crop=None, flips=flips))[SampleKey(0, epoch)]
                for epoch in range(40)
            )
        }
        for flips in (False, True)
    }
    assert seen == {False: {(True, True)}, True: {(x, y) for x in (True, False) for y in (True, False)}}


def test_crops_show_the_head():
    picture = np.zeros((200, 200), np.float32)
    picture[100:170, 20:90] = 1
    data = PairDataset([PairCase("1", "f", picture, picture)], FusionData(crop=48, min_foreground=0.1))
    shown = [float(data[SampleKey(0, epoch)][0].mean()) for epoch in range(20)]
    assert sum(part >= 0.1 for part in shown) >= 19


def test_nothing_but_background_still_gives_crops():
    black = np.zeros((64, 64), np.float32)
    a, *_ = PairDataset([PairCase("1", "f", black, black)], FusionData(crop=48))[SampleKey(0)]
    assert a.shape == (1, 48, 48)


def test_validation_pictures_are_whole():
    whole = case()
    a, b, _ = PairDataset([whole])[0]
    np.testing.assert_array_equal(a[0].numpy(), whole.a)
    np.testing.assert_array_equal(b[0].numpy(), whole.b)


def test_subjects_stay_together():
    cases = [case(f"s{subject:02d}_{number}") for subject in range(10) for number in range(4)]
    config = FusionData(val_fraction=0.3, subject_pattern=r"^(s\d+)_")
    train, val = split_pairs(cases, config, seed=5)
    subjects = [{one.name[:3] for one in part} for part in (train, val)]
    assert not subjects[0] & subjects[1]
    assert len(subjects[1]) == 3
    assert len(train) + len(val) == 40
    assert [one.name for one in split_pairs(cases, config, seed=5)[1]] == [one.name for one in val]
    assert {one.name for one in split_pairs(cases, config, seed=6)[1]} != {one.name for one in val}


@pytest.mark.parametrize("pattern", ["nothing", "^s", "(", "(s01)", r"^(?:p(\d)|s\d)"])
def test_wrong_subject_patterns(pattern):
    cases = [case("s01_1"), case("s01_2")]
    with pytest.raises(InputError, match="subject"):
        split_pairs(cases, FusionData(subject_pattern=pattern), seed=0)


def test_reading_and_fingerprint(folders):
    cases, fingerprint = read_pairs([folders])
    assert [one.name for one in cases] == ["0", "1", "2"]
    assert cases[0].a.dtype == np.float32
    assert cases[0].a.shape == (50, 52)
    assert read_pairs([folders])[1] == fingerprint
    write_image(folders.b / "2.png", RNG.random((50, 52)), bits=8)
    assert read_pairs([folders])[1] != fingerprint


def test_bad_folders(folders):
    write_image(folders.b / "1.png", np.zeros((50, 60)), bits=8)
    with pytest.raises(InputError, match="50×52 and 50×60"):
        read_pairs([folders])
    (folders.b / "1.png").unlink()
    with pytest.raises(InputError, match=r"1\.png"):
        read_pairs([folders])


@pytest.mark.parametrize(("sizes", "crop"), [([(60, 60), (60, 50)], None), ([(60, 60), (60, 50)], 56)])
def test_sizes_that_do_not_fit(sizes, crop):
    with pytest.raises(InputError, match=r"data\.crop to 50"):
        PairDataset([case(size=size) for size in sizes], FusionData(crop=crop))


def test_entries_that_share_a_folder_are_told_apart(folders, tmp_path):
    (tmp_path / "c").symlink_to(tmp_path / "b")
    other = PairFolders(a=folders.a, b=tmp_path / "c")
    cases, _ = read_pairs([folders, other])
    assert [case.source for case in cases] == [f"{folders.a}+{folders.b}"] * 3 + [
        f"{folders.a}+{other.b}"
    ] * 3
    assert {case.source for case in read_pairs([folders])[0]} == {str(folders.a)}


def test_pictures_too_small_to_be_trained_for(folders):
    cases, _ = read_pairs([folders])
    check_sizes(cases)
    small = PairCase("7", "a", np.zeros((40, 60), np.float32), np.zeros((40, 60), np.float32))
    with pytest.raises(InputError, match=r"a: 7 has 40×60 pixels, .* at least 41 a side"):
        check_sizes([*cases, small])
