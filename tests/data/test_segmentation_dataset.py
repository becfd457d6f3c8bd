"""Samples for training: geometry, reproducibility, sampling."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as Pillow
from torch.utils.data import DataLoader

from scalefuse.data.augmentation import AugmentationConfig, augment_pair
from scalefuse.data.augmentation_geometry import View, flip_and_turn, sample_view, warp_grid
from scalefuse.data.augmentation_intensity import jitter_intensity
from scalefuse.data.masks import MaskClasses
from scalefuse.data.sampling import EpochSampler, SampleKey
from scalefuse.data.segmentation import SegmentationCase
from scalefuse.data.segmentation_dataset import SegmentationDataset
from scalefuse.data.write import write_pixels
from scalefuse.errors import InputError

STRONG = AugmentationConfig(
    affine=1,
    elastic=1,
    elastic_strength=0.05,
    colour=1,
    gamma=1,
    blur=1,
    noise=1,
    invert=0.5,
    grey=0.5,
    hue=0.2,
)
MOVES = AugmentationConfig.off().model_copy(
    update={"affine": 1, "elastic": 1, "flip_horizontal": 0.5, "flip_vertical": 0.5, "quarter_turns": 0.5}
)


def off(**changes):
    return AugmentationConfig.off().model_copy(update=changes)


@pytest.fixture
def cases(tmp_path):
    rng = np.random.default_rng(0)
    found = []
    for index, (height, width) in enumerate([(48, 48), (48, 48), (48, 48), (40, 72)]):
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        mask[8:24, 10:30] = 255
        Pillow.fromarray(image).save(tmp_path / f"{index}.png")
        Pillow.fromarray(mask).save(tmp_path / f"{index}_mask.png")
        found.append(SegmentationCase(f"{index}", tmp_path / f"{index}.png", tmp_path / f"{index}_mask.png"))
    return found


def test_without_size_or_changes_the_file_comes_back(cases):
    sample = SegmentationDataset(cases, size=None)[3]
    pixels = np.asarray(Pillow.open(cases[3].image))
    np.testing.assert_allclose(sample["image"].numpy(), pixels.transpose(2, 0, 1) / 255, atol=1e-6)
    np.testing.assert_array_equal(sample["mask"].numpy(), np.asarray(Pillow.open(cases[3].mask)) // 255)


def test_channels(cases, tmp_path):
    grey = SegmentationDataset(cases, size=None, in_channels=1)[0]["image"]
    pixels = np.asarray(Pillow.open(cases[0].image)) / 255
    np.testing.assert_allclose(grey[0], pixels @ [0.299, 0.587, 0.114], atol=1 / 255)
    tifffile.imwrite(tmp_path / "grey.tif", np.array([[0, 65535], [32768, 1]], np.uint16))
    Pillow.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "m.png")
    case = SegmentationCase("grey", tmp_path / "grey.tif", tmp_path / "m.png")
    image = SegmentationDataset([case], size=None)[0]["image"]
    assert image.shape == (3, 2, 2)
    torch.testing.assert_close(image[2], torch.tensor([[0.0, 1.0], [32768 / 65535, 1 / 65535]]))


def test_resize_keeps_means_and_places(cases):
    sample = SegmentationDataset(cases, size=(24, 24))[0]
    assert sample["image"].mean().item() == pytest.approx(
        np.asarray(Pillow.open(cases[0].image)).mean() / 255, abs=5e-3
    )
    # Antialiasing averages noise: its spread falls by about the factor of 2.
    assert sample["image"].std().item() < 0.65 * np.asarray(Pillow.open(cases[0].image)).std() / 255
    rows, columns = torch.nonzero(sample["mask"], as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 11, 5, 14)


def test_the_mask_moves_with_the_image():
    """An image that shows its own mask must still do so after any move."""
    yy, xx = torch.meshgrid(torch.arange(96.0), torch.arange(80.0), indexing="ij")
    shape = ((yy - 40).abs() < 18) & ((xx - 30).abs() < 22) | ((yy - 70) ** 2 + (xx - 60) ** 2 < 150)
    image = shape.float().expand(3, -1, -1)
    for size in (None, (64, 64)):
        for seed in range(12):
            for blend in (True, False):
                moved, marked = augment_pair(
                    image,
                    shape[None].to(torch.uint8),
                    MOVES,
                    np.random.default_rng(seed),
                    size=size,
                    blend_mask=blend,
                )
                disagree = (moved[0] >= 0.5) != (marked[0] == 1)
                # Interpolated edges may fall on either side for the nearest-pixel rule only.
                assert disagree.float().mean() < (0.02 if not blend else 1e-9)
                assert 0.02 < marked.float().mean() < 0.9


def test_oblong_pictures_keep_their_sides():
    image, mask = torch.rand(1, 2, 3), torch.zeros(1, 2, 3)
    seen = set()
    for seed in range(30):
        turned, _ = flip_and_turn(image, mask, off(quarter_turns=1), np.random.default_rng(seed))
        seen.add(tuple(turned.flatten().tolist()))
    plain = tuple(image.flatten().tolist())
    assert seen == {plain, plain[::-1]}


def test_nearest_invents_no_class():
    mask = torch.randint(0, 2, (1, 40, 40)) * 5
    _, marked = augment_pair(torch.rand(1, 40, 40), mask, MOVES, np.random.default_rng(1), blend_mask=False)
    assert set(marked.unique().tolist()) == {0, 5}


def test_warp_agrees_with_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    image = torch.rand(1, 30, 44, generator=torch.Generator().manual_seed(0))
    view = View((30, 44), 5, 7, (20, 20))
    grid = warp_grid(off(affine=1, elastic=1, shift=0.3), np.random.default_rng(5), view)
    moved, _ = sample_view(image, image, view, grid, blend_mask=False)
    places = [grid[..., 1].numpy(), grid[..., 0].numpy()]
    expected = ndimage.map_coordinates(image[0].numpy(), places, order=1, mode="reflect")
    np.testing.assert_allclose(moved[0].numpy(), expected, atol=2e-5)


def test_elastic_moves_by_a_share_of_the_height_and_of_the_width():
    view = View((40, 160), 0, 0, (40, 160))
    ways = []
    for seed in range(60):
        grid = warp_grid(off(elastic=1, elastic_strength=0.02), np.random.default_rng(seed), view)
        moved = grid - torch.stack(
            torch.meshgrid(torch.arange(160.0), torch.arange(40.0), indexing="xy"), dim=-1
        )
        ways.append(moved.square().mean((0, 1)).sqrt())
    across, down = torch.stack(ways).mean(0).tolist()
    assert across / down == pytest.approx(4, rel=0.1)


def test_what_is_mirrored_into_a_part_is_that_of_the_whole():
    # Places beyond one end only: what is read must reach far enough inside.
    ndimage = pytest.importorskip("scipy.ndimage")
    image = torch.rand(1, 60, 50, generator=torch.Generator().manual_seed(3))
    for top, left in ((-18.0, -15.0), (52.0, 44.0)):
        yy, xx = torch.meshgrid(top + torch.arange(20.0), left + torch.arange(20.0), indexing="ij")
        grid = torch.stack([xx + 0.3, yy + 0.3], dim=-1)
        moved, _ = sample_view(image, image, View((60, 50), 0, 0, (20, 20)), grid, blend_mask=False)
        places = [grid[..., 1].numpy(), grid[..., 0].numpy()]
        expected = ndimage.map_coordinates(image[0].numpy(), places, order=1, mode="reflect")
        np.testing.assert_allclose(moved[0].numpy(), expected, atol=2e-5)


def test_far_beyond_the_edges_the_image_is_mirrored_as_scipy_does():
    ndimage = pytest.importorskip("scipy.ndimage")
    image = torch.rand(1, 9, 7, generator=torch.Generator().manual_seed(0))
    view = View((9, 7), -6, -8, (22, 24))
    for turn in (0.0, 0.4):
        yy, xx = torch.meshgrid(torch.arange(-6.0, 16), torch.arange(-8.0, 16), indexing="ij")
        grid = torch.stack([xx + turn * yy, yy - turn * xx], dim=-1)
        moved, _ = sample_view(image, image, view, grid if turn else None, blend_mask=False)
        expected = ndimage.map_coordinates(
            image[0].numpy(), [grid[..., 1].numpy(), grid[..., 0].numpy()], order=1, mode="reflect"
        )
        np.testing.assert_allclose(moved[0].numpy(), expected, atol=2e-5)


def test_zoom_and_shift_have_the_strength_that_is_written():
    view = View((101, 101), 0, 0, (101, 101))
    config = off(affine=1, rotation_degrees=0, shear_degrees=0, stretch=1, shift=0, scale=2)
    spans = []
    for seed in range(200):
        grid = warp_grid(config, np.random.default_rng(seed), view)
        spans.append((grid[0, -1, 0] - grid[0, 0, 0]).item() / 100)
        assert grid[50, 50].tolist() == [50, 50]
    assert 0.5 <= min(spans) < 0.55
    assert 1.8 < max(spans) <= 2.0


@pytest.mark.parametrize("kind", ["turned", "stretched"])
def test_turns_and_stretches_have_the_strength_that_is_written(kind):
    still = {"affine": 1.0, "scale": 1.0, "shear_degrees": 0.0, "shift": 0.0}
    own = {
        "turned": {"rotation_degrees": 30.0, "stretch": 1.0},
        "stretched": {"rotation_degrees": 0.0, "stretch": 4.0},
    }[kind]
    config = off(**still, **own)
    view = View((101, 101), 0, 0, (101, 101))
    angles, ratios = [], []
    for seed in range(200):
        grid = warp_grid(config, np.random.default_rng(seed), view).double().numpy()
        along, down = grid[50, 100] - grid[50, 0], grid[100, 50] - grid[0, 50]
        # Neither shears, neither changes the area.
        assert along @ down == pytest.approx(0, abs=0.1)
        assert np.linalg.norm(along) * np.linalg.norm(down) == pytest.approx(100**2, rel=1e-4)
        angles.append(np.degrees(np.arctan2(along[1], along[0])))
        ratios.append(np.linalg.norm(along) / np.linalg.norm(down))
    if kind == "turned":
        assert -30 <= min(angles) < -28 < 28 < max(angles) <= 30
        np.testing.assert_allclose(ratios, 1, rtol=1e-4)
    else:
        assert 0.2499 < min(ratios) < 0.3 < 3.5 < max(ratios) < 4.001
        np.testing.assert_allclose(angles, 0, atol=1e-3)


def test_hue_brightness_and_contrast():
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.35
    luma = torch.tensor([0.299, 0.587, 0.114])
    turned = jitter_intensity(
        image, off(colour=1, hue=0.1, brightness=0, contrast=0, saturation=0), np.random.default_rng(0)
    )
    torch.testing.assert_close(
        torch.tensordot(luma, turned, 1), torch.tensordot(luma, image, 1), atol=1e-5, rtol=0
    )
    assert (turned - image).abs().max() > 0.02
    grey = jitter_intensity(image, off(grey=1), np.random.default_rng(0))
    torch.testing.assert_close(grey, torch.tensordot(luma, image, 1).expand(3, -1, -1), atol=1e-5, rtol=0)
    sharper = jitter_intensity(
        image, off(colour=1, contrast=0.5, hue=0, brightness=0, saturation=0), np.random.default_rng(3)
    )
    assert sharper.mean().item() == pytest.approx(image.mean().item(), abs=1e-5)
    ratio = sharper.std().item() / image.std().item()
    assert 1 / 1.5 <= ratio <= 1.5
    assert abs(ratio - 1) > 0.02


def test_blur_and_noise():
    flat = torch.full((1, 32, 32), 0.5)
    torch.testing.assert_close(jitter_intensity(flat, off(blur=1), np.random.default_rng(0)), flat)
    noisy = [
        jitter_intensity(flat, off(noise=1, noise_std=0.1), np.random.default_rng(s)).std().item()
        for s in range(20)
    ]
    assert min(noisy) > 0
    assert 0.07 < max(noisy) < 0.105


@pytest.mark.parametrize("fit", ["resize", "crop"])
def test_samples_depend_on_seed_epoch_and_case_only(cases, fit):
    def make(**changes):
        return SegmentationDataset(cases, size=32, fit=fit, augmentation=STRONG, **{"seed": 7, **changes})

    undisturbed = make()
    later = make(cache_bytes=0)
    for key in (SampleKey(3, 5), SampleKey(0, 5), SampleKey(0, 5, 1), SampleKey(0, 6)):
        first = undisturbed[key]
        _ = undisturbed[1]
        np.testing.assert_array_equal(first["image"], later[key]["image"])
        np.testing.assert_array_equal(first["mask"], later[key]["mask"])
        assert first["image"].shape == (3, 32, 32)
        assert first["image"].min() >= 0
        assert first["image"].max() <= 1
    images = [undisturbed[key]["image"] for key in (SampleKey(0, 5), SampleKey(0, 5, 1), SampleKey(0, 6))]
    images.append(make(seed=8)[SampleKey(0, 5)]["image"])
    assert all(not torch.equal(a, b) for i, a in enumerate(images) for b in images[:i])
    undisturbed.set_epoch(6)
    assert torch.equal(undisturbed[0]["image"], images[2])


def test_crop_copies_pixels(cases):
    sample = SegmentationDataset(cases, size=16, fit="crop")[3]["image"]
    source = torch.from_numpy(np.array(Pillow.open(cases[3].image))).permute(2, 0, 1) / 255
    windows = source.unfold(1, 16, 1).unfold(2, 16, 1)
    assert (windows - sample[:, None, None]).abs().amax((0, 3, 4)).min() < 1e-6


@pytest.mark.parametrize("pixel", [(3, 150), (120, 100), (299, 0), (30, 199), (270, 40)])
def test_crops_can_be_asked_to_hold_foreground(tmp_path, pixel):
    mask = np.zeros((300, 200), np.uint8)
    mask[pixel] = 255
    write_pixels(tmp_path / "image.png", 255 - mask)
    write_pixels(tmp_path / "mask.png", mask)
    case = SegmentationCase("one", tmp_path / "image.png", tmp_path / "mask.png")

    def shown(share):
        data = SegmentationDataset([case], size=48, fit="crop", foreground=share)
        samples = [data[SampleKey(0, epoch)] for epoch in range(60)]
        for sample in samples:
            assert sample["image"].shape == (3, 48, 48)
            torch.testing.assert_close(sample["image"][0], 1.0 - sample["mask"])
        return sum(int(sample["mask"].sum()) for sample in samples)

    # Anywhere, at most 48 · 48 of 253 · 153 crops hold the pixel: 6 %.
    assert shown(0) <= 12
    assert 15 <= shown(0.5) <= 48
    assert shown(1) == 60


def test_multi_class_and_multi_label_types(cases, tmp_path):
    classes = MaskClasses(names=("ground", "a", "b"), values=(0, 255, 128))
    sample = SegmentationDataset(cases, size=32, classes=classes, augmentation=STRONG)[0]
    assert sample["mask"].dtype == torch.int64
    assert set(sample["mask"].unique().tolist()) == {0, 1}
    case = SegmentationCase("0", cases[0].image, label_masks=(("b", cases[0].mask),))
    classes = MaskClasses(names=("a", "b"), multi_label=True)
    sample = SegmentationDataset([case], size=32, classes=classes)[0]
    assert sample["mask"].dtype == torch.float32
    assert sample["mask"].shape == (2, 32, 32)
    assert sample["mask"].amax((1, 2)).tolist() == [0, 1]


def test_worker_processes_give_the_same_epoch(cases):
    data = SegmentationDataset(cases, size=32, augmentation=STRONG, seed=1)
    sampler = EpochSampler(data.native_sizes(), seed=1, balance=1)
    sampler.set_epoch(4)
    here = [batch["image"] for batch in DataLoader(data, batch_size=2, sampler=sampler)]
    there = [batch["image"] for batch in DataLoader(data, batch_size=2, sampler=sampler, num_workers=1)]
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


def test_sampler_balance_and_repeats():
    groups = ["a"] * 90 + ["b"] * 9 + ["c"]
    plain = EpochSampler(groups, seed=0)
    assert sorted(key.case for key in plain) == list(range(100))
    even = EpochSampler(groups, seed=0, balance=1, num_samples=90)
    drawn = [groups[key.case] for key in even]
    assert [drawn.count(name) for name in "abc"] == [30, 30, 30]
    keys = list(even)
    assert len(set(keys)) == len(keys)
    assert sorted(key.repeat for key in keys if groups[key.case] == "c") == list(range(30))
    # Square roots of 90, 9 and 1 share 100: 70.3, 22.2 and 7.4; the last has the largest remainder.
    half = [groups[key.case] for key in EpochSampler(groups, seed=0, balance=0.5)]
    assert [half.count(name) for name in "abc"] == [70, 22, 8]


def test_sampler_order_belongs_to_seed_and_epoch():
    def order(seed, epoch):
        sampler = EpochSampler(range(50), seed=seed)
        sampler.set_epoch(epoch)
        return [key.case for key in sampler]

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)


def test_sizes_that_differ_and_missing_masks(cases, tmp_path):
    Pillow.fromarray(np.zeros((48, 40), np.uint8)).save(tmp_path / "small.png")
    wrong = SegmentationCase("0", cases[0].image, tmp_path / "small.png")
    with pytest.raises(InputError, match=r"0\.png: has 48×48 pixels .* mask has 48×40"):
        SegmentationDataset([wrong], size=32)[0]
    with pytest.raises(InputError, match=r"has no mask \(1 of 5 images have none\)"):
        SegmentationDataset([*cases, SegmentationCase("n", tmp_path / "n.png")], size=32)
    with pytest.raises(InputError, match="at least one case"):
        SegmentationDataset([], size=32)


def test_intensity_must_be_chosen_where_the_file_does_not_say(tmp_path):
    tifffile.imwrite(tmp_path / "ct.tif", np.array([[-1000, 0], [40, 80]], np.int16))
    Pillow.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "m.png")
    case = SegmentationCase("ct", tmp_path / "ct.tif", tmp_path / "m.png")
    with pytest.raises(InputError, match="must be chosen"):
        SegmentationDataset([case], size=None)[0]
    image = SegmentationDataset([case], size=None, in_channels=1, intensity="window:40:80")[0]["image"]
    torch.testing.assert_close(image, torch.tensor([[[0.0, 0.0], [0.5, 1.0]]]), atol=1e-5, rtol=0)


def test_elastic_that_would_fold_is_refused():
    with pytest.raises(ValueError, match="fold"):
        AugmentationConfig(elastic_strength=0.2, elastic_points=9)
