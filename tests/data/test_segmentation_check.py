"""The data check on sets with planted faults, and near-duplicates."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from scalefuse.data.check import require_foreground
from scalefuse.data.check_segmentation import check_segmentation
from scalefuse.data.duplicates import (
    MIN_CORRELATION,
    NearDuplicate,
    find_near_duplicates,
    fingerprint,
    group_duplicates,
)
from scalefuse.data.masks import MaskClasses
from scalefuse.data.segmentation import find_segmentation_cases
from scalefuse.errors import InputError


def scene(seed, height=96, width=128):
    """Smooth random blobs with some texture: pictures that differ as medical images do."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:height, :width] / height
    picture = np.zeros((height, width))
    for _ in range(12):
        y, x, radius = rng.random(), rng.random() * width / height, rng.uniform(0.03, 0.2)
        picture += rng.uniform(-1, 1) * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / radius**2)
    # Noise of two pixels' size: no optics is sharper.
    noise = rng.standard_normal((height // 2, width // 2))
    picture += 0.05 * np.kron(noise, np.ones((2, 2)))
    low, high = picture.min(), picture.max()
    return np.repeat((20 + 200 * (picture - low) / (high - low)).astype(np.uint8)[..., None], 3, axis=2)


def as_jpeg(pixels, quality):
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Pillow.open(buffer))


def put(folder, split, name, image, mask=None, suffix=".png"):
    for kind, pixels in (("images", image), ("masks", mask)):
        if pixels is not None:
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
            Pillow.fromarray(pixels).save(
                folder / split / kind / f"{name}{suffix if kind == 'images' else '.png'}"
            )


def disc(height=96, width=128, radius=20, top=255):
    yy, xx = np.mgrid[:height, :width]
    return (((yy - height / 2) ** 2 + (xx - width / 2) ** 2) < radius**2).astype(np.uint8) * np.uint8(top)


@pytest.fixture
def clean(tmp_path):
    folder = tmp_path / "set"
    for index in range(6):
        put(folder, "train", f"t{index}", scene(index), disc())
    for index in range(3):
        put(folder, "val", f"v{index}", scene(100 + index), disc(radius=30))
    return folder


def kinds(check):
    return [finding.kind for finding in check.findings]


def one(check, kind):
    (finding,) = [finding for finding in check.findings if finding.kind == kind]
    return finding


def test_a_clean_set_has_no_findings_and_right_statistics(clean):
    seen = []
    check = check_segmentation(clean, progress=lambda done, total: seen.append((done, total)))
    assert check.findings == ()
    assert not check.has_errors
    assert seen[-1] == (9, 9)
    train = check.splits["train"]
    assert (train.num_images, train.num_masks, train.num_empty) == (6, 6, 0)
    assert train.sizes == {"96×128": 6}
    assert train.channels == {"3": 6}
    assert train.number_types == {"uint8": 6}
    assert (train.low, train.high) == (20, 220)
    share = (disc() > 0).mean()
    assert train.class_shares == pytest.approx({"background": 1 - share, "foreground": share})
    assert json.loads(json.dumps(check.to_dict()))["splits"]["val"]["images_with_class"]["foreground"] == 3


def test_shares_of_three_classes_are_those_of_all_pixels(tmp_path):
    # Of unlike sizes: the mean over images would be another.
    small, large = np.zeros((40, 50), np.uint8), np.zeros((80, 100), np.uint8)
    small[:20], small[20:30], large[:8] = 1, 2, 2
    put(tmp_path, "", "a", np.full((40, 50, 3), 10, np.uint8) + scene(0, 40, 50) // 64, small)
    put(tmp_path, "", "b", np.full((80, 100, 3), 200, np.uint8) + scene(1, 80, 100) // 64, large)
    stats = check_segmentation(tmp_path, classes=MaskClasses(names=("ground", "one", "two"))).splits["all"]
    assert stats.class_shares == pytest.approx({"ground": 0.77, "one": 0.1, "two": 0.13})
    assert stats.images_with_class == {"ground": 2, "one": 1, "two": 2}
    means = [np.mean(np.asarray(Pillow.open(tmp_path / f"images/{name}.png"))) for name in "ab"]
    assert stats.mean == pytest.approx(np.mean(means))


def test_planted_faults_are_found(clean):
    put(clean, "train", "no_mask", scene(20))
    (clean / "train/images/broken.png").write_bytes((clean / "train/images/t0.png").read_bytes()[:500])
    put(clean, "train", "broken", None, disc())
    put(clean, "train", "no_image", None, disc())
    put(clean, "train", "small", scene(21), disc(90, 128))
    put(clean, "train", "three", scene(22), disc(top=2))
    put(clean, "train", "empty", scene(23), disc(radius=0))
    put(clean, "train", "full", scene(24), disc(radius=999))
    put(clean, "train", "inverted", scene(27), 255 - disc())
    put(clean, "train", "flat", np.full((96, 128, 3), 9, np.uint8), disc())
    put(clean, "val", "ringed", scene(25), as_jpeg(disc(), 60))
    put(clean, "val", "cut", scene(26), disc())
    (clean / "val/masks/cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    check = check_segmentation(clean)
    expected = {
        "unreadable-image": ("error", "train/broken"),
        "size-mismatch": ("error", "train/small"),
        "mask-values": ("error", "train/three"),
        "unreadable-mask": ("error", "val/cut"),
        "missing-mask": ("warning", "train/no_mask"),
        "missing-image": ("warning", "train/no_image.png"),
        "full-mask": ("warning", "train/full"),
        "inverted-mask": ("warning", "train/inverted"),
        "constant-image": ("warning", "train/flat"),
        "soft-mask": ("warning", "val/ringed"),
        "empty-mask": ("info", "train/empty"),
    }
    assert {f.kind: (f.severity, *f.cases) for f in check.findings} == expected
    assert check.has_errors
    order = [finding.severity for finding in check.findings]
    assert order == sorted(order, key=["error", "warning", "info"].index)
    assert "90×128, but its image has 96×128" in one(check, "size-mismatch").message
    assert check.lines()[0].startswith("ERROR ")


def test_objects_at_the_border_are_no_inverted_masks(clean):
    """Half a picture of foreground, or one that lies along three edges, is an object that is cut."""
    half, edges = disc(radius=0), disc(radius=0)
    half[:, :64] = 255
    edges[:20] = edges[:, :20] = edges[:, -20:] = 255
    put(clean, "train", "half", scene(27), half)
    put(clean, "train", "edges", scene(28), edges)
    assert check_segmentation(clean).findings == ()
    for path in (*clean.glob("*/masks/*.png"),):
        Pillow.fromarray(255 - np.asarray(Pillow.open(path))).save(path)
    # Where most masks are so, it may be what the set means by its masks, or the fault of all of them.
    found = check_segmentation(clean)
    assert "inverted-mask" not in kinds(found)
    assert [f.severity for f in found.findings if f.kind == "inverted-masks"] == ["warning"] * 2


def test_a_label_without_a_file_is_named(tmp_path):
    for name in ("a", "b"):
        put(tmp_path, "train", name, scene(ord(name)))
        for label in ("vessel", "lesion"):
            if (name, label) != ("b", "lesion"):
                (tmp_path / "train/masks" / label).mkdir(parents=True, exist_ok=True)
                Pillow.fromarray(disc()).save(tmp_path / "train/masks" / label / f"{name}.png")
    found = one(check_segmentation(tmp_path), "missing-label-mask")
    assert (found.severity, found.cases) == ("warning", ("train/b",))
    assert "lesion: b" in found.message


def test_nifti_masks_that_lie_elsewhere_are_named(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    for kind in ("images", "masks"):
        (tmp_path / "train" / kind).mkdir(parents=True)
    image, mask = scene(0)[..., 0].astype(np.int16), disc(top=1)
    affine, turned = np.diag([0.5, 0.5, 1, 1]), np.diag([-0.5, 0.5, 1, 1])
    turned[0, 3] = 0.5 * (len(image) - 1)
    for name in ("right", "turned"):
        nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / "train/images" / f"{name}.nii")
    nibabel.save(nibabel.Nifti1Image(mask, affine), tmp_path / "train/masks/right.nii")
    nibabel.save(nibabel.Nifti1Image(mask[::-1].copy(), turned), tmp_path / "train/masks/turned.nii")
    assert one(check_segmentation(tmp_path, intensity="minmax"), "other-place").cases == ("train/turned",)


def test_soft_masks_count_as_they_are_trained_on(tmp_path):
    put(tmp_path, "train", "a", scene(0), as_jpeg(disc(), 60))
    check = check_segmentation(tmp_path)
    assert check.cases[0].class_pixels == (int((disc() == 0).sum()), int((disc() > 0).sum()))


def test_background_only_is_an_error_but_not_for_test(clean):
    for file in [*(clean / "train/masks").iterdir()]:
        Pillow.fromarray(np.zeros((96, 128), np.uint8)).save(file)
    put(clean, "test", "x", scene(50), disc(radius=0))
    check = check_segmentation(clean)
    found = [(f.severity, f.message.split(":")[0]) for f in check.findings if f.kind == "all-background"]
    assert found == [("error", "train"), ("warning", "test")]
    cases = find_segmentation_cases(clean)
    require_foreground(check, cases["val"], "val")
    with pytest.raises(InputError, match="fold 2: none of its 6 masks has any foreground"):
        require_foreground(check, cases["train"], "fold 2")


def test_a_split_without_masks(clean):
    shutil.rmtree(clean / "val/masks")
    assert one(check_segmentation(clean), "no-masks").severity == "error"


def test_classes_that_never_occur_and_small_ones(clean):
    check = check_segmentation(
        clean, classes=MaskClasses(names=("ground", "disc", "ring"), values=(0, 255, 7))
    )
    assert [f.message for f in check.findings if f.kind == "class-missing"] == [
        "train: no mask has ring; check the classes and the split.",
        "val: no mask has ring; check the classes and the split.",
    ]
    put(clean, "test", "x", scene(50), disc(radius=3))
    assert one(check_segmentation(clean), "class-imbalance").message.startswith(
        "test: little of the area is foreground 0.2"
    )


def test_labels_in_folders(tmp_path):
    for label, radius in (("core", 10), ("whole", 30)):
        (tmp_path / "masks" / label).mkdir(parents=True)
        Pillow.fromarray(disc(radius=radius)).save(tmp_path / "masks" / label / "a.png")
    (tmp_path / "images").mkdir()
    Pillow.fromarray(scene(0)).save(tmp_path / "images/a.png")
    Pillow.fromarray(scene(1)).save(tmp_path / "images/b.png")
    check = check_segmentation(tmp_path)
    assert check.class_names == ("core", "whole")
    assert kinds(check) == ["missing-mask"]
    assert check.cases[0].class_pixels == tuple(int((disc(radius=r) > 0).sum()) for r in (10, 30))
    check = check_segmentation(tmp_path, classes=MaskClasses(names=("core",), multi_label=True))
    assert "'whole' is not named" in one(check, "mask-values").message


def test_groups_in_two_splits(clean, tmp_path):
    table = tmp_path / "groups.csv"
    names = [f"t{n}" for n in range(6)] + [f"v{n}" for n in range(3)]
    table.write_text(
        "image,patient\n" + "".join(f"{n},{'shared' if n in ('t1', 'v2') else n}\n" for n in names)
    )
    finding = one(check_segmentation(clean, groups_csv=table, group_column="patient"), "group-leak")
    assert finding.cases == ("train/t1", "val/v2")
    # Folds are dealt out anew, by group.
    dealt = check_segmentation(clean, groups_csv=table, group_column="patient", folds=True)
    assert "group-leak" not in kinds(dealt)
    with pytest.raises(InputError, match="needed together"):
        check_segmentation(clean, groups_csv=table)


def test_folds_part_train_from_test_only(clean):
    put(clean, "val", "copy", scene(1), disc())
    put(clean, "test", "other", scene(2), disc())
    text = one(check_segmentation(clean), "leak").message
    assert "train/t1 and val/copy" in text
    assert "train/t2 and test/other" in text
    check = check_segmentation(clean, folds=True)
    assert one(check, "leak").cases == ("train/t2", "test/other")
    assert [pair.across_splits for pair in check.duplicates] == [False, True]


def test_mixed_kinds(clean):
    Pillow.fromarray(scene(0)[..., 0]).save(clean / "train/images/t0.png")
    put(clean, "train", "wide", scene(30, 64, 64), disc(64, 64))
    Pillow.fromarray(scene(31)[..., 0].astype(np.uint16) * 257).save(clean / "train/images/t1.png")
    assert set(kinds(check_segmentation(clean))) == {"mixed-channels", "mixed-sizes", "mixed-number-types"}


def copies(pixels):
    height, width = pixels.shape[:2]
    picture = Pillow.fromarray(pixels)
    yield "brighter, JPEG 50", as_jpeg(np.clip(pixels * 1.1 + 15.0, 0, 255).astype(np.uint8), 50)
    yield "half size", np.asarray(picture.resize((width // 2, height // 2)))
    yield "stretched", np.asarray(picture.resize((width, height * 3 // 2)))
    yield "gamma", (255 * (pixels / 255) ** 0.7).astype(np.uint8)
    yield "grey", np.asarray(picture.convert("L"))
    yield "mirrored, JPEG 50", as_jpeg(pixels[:, ::-1], 50)
    yield "quarter turn, brighter", np.clip(np.rot90(pixels) * 1.1, 0, 255).astype(np.uint8)
    yield "axes exchanged, half size", np.asarray(picture.resize((width // 2, height // 2))).swapaxes(0, 1)


def test_every_way_to_lay_an_image_down_is_found():
    image = scene(4, 48, 64)
    ways = [
        one[:: -1 if down else 1, :: -1 if across else 1]
        for one in (image, image.swapaxes(0, 1))
        for down in (0, 1)
        for across in (0, 1)
    ]
    for way in ways:
        ((_, _, correlation),) = find_near_duplicates([fingerprint(image), fingerprint(way)])
        assert correlation > 0.999
    assert len({fingerprint(way).hash for way in ways}) == 8


def test_a_copy_in_another_split_is_found_and_nothing_else(clean):
    for index, (_, copy) in enumerate(copies(scene(2))):
        put(clean, "val", f"copy{index}", copy, disc(*copy.shape[:2]))
    check = check_segmentation(clean)
    expected = {("train/t2", f"val/copy{index}") for index in range(8)}
    assert {(p.first, p.second) for p in check.duplicates if p.across_splits} == expected
    assert one(check, "leak").severity == "warning"
    within = {(p.first, p.second) for p in check.duplicates if not p.across_splits}
    assert all(a.startswith("val/copy") and b.startswith("val/copy") for a, b in within)


def test_unrelated_scenes_and_flat_images_are_no_copies():
    images = [scene(seed) for seed in range(80)] + [np.full((9, 9), value) for value in (0, 0, 7)]
    assert find_near_duplicates([fingerprint(image) for image in images]) == []
    assert find_near_duplicates([]) == []


def test_fingerprint_against_scipy():
    fft = pytest.importorskip("scipy.fft")
    image = scene(3, 64, 64)[..., 0]
    small = image.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    waves = fft.dctn(small - small.mean(), norm="ortho")[:8, :8].ravel()[1:]
    bits = "".join("1" if wave > np.median(waves) else "0" for wave in waves)
    assert f"{fingerprint(image).hash:063b}" == bits


def test_groups_of_copies():
    pairs = [NearDuplicate(0, 1, 1), NearDuplicate(2, 3, 1), NearDuplicate(1, 3, 1), NearDuplicate(5, 6, 1)]
    assert group_duplicates(pairs) == [[0, 1, 2, 3], [5, 6]]


@pytest.mark.parametrize("name", ["dsb2018", "isic2017", "kvasir-seg"])
def test_real_images_planted_copies_and_no_false_leaks(name, tmp_path):
    root = Path(os.environ.get("SCALEFUSE_DATA", Path(__file__).parents[3] / "shared/data")) / name
    if not root.is_dir():
        pytest.skip(f"{name} is not there; set SCALEFUSE_DATA to a folder that holds it")
    for split, count in (("train", 120), ("val", 60)):
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
            for file in sorted((root / split / kind).iterdir())[:count]:
                (tmp_path / split / kind / file.name).symlink_to(file)
    assert "leak" not in kinds(check_segmentation(tmp_path))
    first = find_segmentation_cases(tmp_path)["train"][7]
    pixels = np.asarray(Pillow.open(first.image))
    for index, (_, copy) in enumerate(copies(pixels)):
        put(tmp_path, "val", f"planted{index}", copy, suffix=".jpg")
    found = {(p.first, p.second) for p in check_segmentation(tmp_path).duplicates if p.across_splits}
    assert found == {(f"train/{first.name}", f"val/planted{index}") for index in range(8)}


def test_text_that_all_images_of_a_device_share_makes_no_copies():
    images = [scene(200 + index) for index in range(12)]
    for pixels in images:
        pixels[4:10, 4:34] = 255
        pixels[5:9:2, 6:32:3] = 0
    prints = [fingerprint(image) for image in images]
    details = np.stack([one.detail for one in prints])
    # The hashes alone would tell these scenes apart; the detail has to, by itself.
    assert (details @ details.T - np.eye(12)).max() < MIN_CORRELATION
    copied = fingerprint(as_jpeg(images[3], 60))
    assert [pair[:2] for pair in find_near_duplicates([*prints, copied])] == [(3, 12)]
