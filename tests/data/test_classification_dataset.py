"""Samples for training: determinism, random changes that do what they say, mixing."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch.utils.data import DataLoader

from scalefuse.data.augmentation_classification import ClassificationAugmentation, augment_image
from scalefuse.data.batch_mixing import MixConfig, _paste, mix_batch
from scalefuse.data.classification import ClassificationCase
from scalefuse.data.classification_dataset import ClassificationDataset
from scalefuse.data.classification_input import ClassificationPreprocessing, prepare, standardise
from scalefuse.data.sampling import EpochSampler, SampleKey
from scalefuse.errors import InputError

STRONG = ClassificationAugmentation(flip_vertical=0.5, quarter_turns=0.5, affine=1.0, num_values=5, erase=0.5)


def smooth(height, width, channels=1):
    yy, xx = np.mgrid[:height, :width]
    planes = [
        np.sin(2 * np.pi * (k + 1) * xx / width) * np.cos(2 * np.pi * yy / height) for k in range(channels)
    ]
    return torch.tensor(np.stack(planes) / 2 + 0.5, dtype=torch.float32)


def case(pixels, name="0", label=0, **options):
    return ClassificationCase(name, "train", label, pixels=pixels, **options)


@pytest.fixture
def cases():
    rng = np.random.default_rng(0)
    shapes = [(40, 60), (28, 28, 3), (70, 30), (33, 41, 3)]
    return [
        case(rng.integers(0, 256, shape, dtype=np.uint8), str(n), n % 2, weight=0.5 + n)
        for n, shape in enumerate(shapes)
    ]


def only(**options):
    return ClassificationAugmentation.off().model_copy(update=options)


@pytest.mark.parametrize("fit", ["resize", "pad", "crop"])
@pytest.mark.parametrize("channels", [1, 3])
def test_without_changes_a_sample_is_what_prediction_sees(cases, fit, channels):
    preprocessing = ClassificationPreprocessing(size=(24, 20), fit=fit, mean=0.3, std=0.2)
    data = ClassificationDataset(cases, preprocessing, channels)
    for index, one in enumerate(cases):
        expected = standardise(prepare(one.read(), preprocessing, channels), preprocessing)
        for _ in range(2):  # read, and from memory
            sample = data[index]
            assert torch.equal(sample["image"], expected)
            assert sample["target"].dtype == torch.int64
            assert (int(sample["target"]), float(sample["weight"])) == (index % 2, 0.5 + index)


@pytest.mark.parametrize("fit", ["resize", "pad", "crop"])
def test_a_sample_depends_on_seed_epoch_case_and_repeat_only(cases, fit):
    preprocessing = ClassificationPreprocessing(size=(24, 24), fit=fit)

    def make(seed=1, **options):
        return ClassificationDataset(cases, preprocessing, 3, augmentation=STRONG, seed=seed, **options)

    keys = [SampleKey(c, e, r) for c, e, r in itertools.product(range(4), (0, 1), (0, 1))]
    first = {key: make()[key]["image"] for key in keys}
    again = make(cache_bytes=0)
    for key in reversed(keys):
        assert torch.equal(again[key]["image"], first[key])
    assert len({tuple(image[:, 0].flatten().tolist()) for image in first.values()}) == len(keys)
    assert not torch.equal(make(seed=2)[keys[0]]["image"], first[keys[0]])
    assert all(image.min() >= -1 and image.max() <= 1 for image in first.values())


def test_loading_by_workers_and_an_epoch_sampler_is_the_same(cases):
    data = ClassificationDataset(
        cases, ClassificationPreprocessing(size=(16, 16)), 1, augmentation=STRONG, seed=3
    )
    sampler = EpochSampler([0, 1, 0, 1], seed=3)
    sampler.set_epoch(2)
    batches = [
        torch.cat([batch["image"] for batch in DataLoader(data, 2, sampler=sampler, num_workers=workers)])
        for workers in (0, 1)
    ]
    assert torch.equal(*batches)


def test_grey_pictures_stay_grey_in_three_channels(cases):
    data = ClassificationDataset(
        cases[:1], ClassificationPreprocessing(size=(24, 24)), 3, augmentation=STRONG
    )
    image = data[0]["image"]
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[0], image[2])


def test_multi_label_targets():
    pixels = np.zeros((8, 8), np.uint8)
    several = [case(pixels, "0", (0, 2)), case(pixels, "1", ())]
    preprocessing = ClassificationPreprocessing(size=(8, 8), multi_label=True)
    data = ClassificationDataset(several, preprocessing, 1, num_classes=3)
    assert [data[n]["target"].tolist() for n in range(2)] == [[1, 0, 1], [0, 0, 0]]
    with pytest.raises(InputError, match="give num_classes"):
        ClassificationDataset(several, preprocessing, 1)


@pytest.mark.parametrize(
    ("fit", "source", "side"), [("resize", (40, 44), 48), ("pad", (40, 80), 48), ("crop", (64, 80), 56)]
)
def test_all_changes_off_shows_what_prediction_shows(fit, source, side):
    image, off = smooth(*source, 3), ClassificationAugmentation.off()
    shown = augment_image(image, off, np.random.default_rng(0), size=(side, side), fit=fit)
    pixels = (image.permute(1, 2, 0).numpy() * 65535).round().astype(np.uint16)
    expected = prepare(pixels, ClassificationPreprocessing(size=(side, side), fit=fit), 3)
    if fit == "pad":
        assert shown[:, :11].abs().max() == 0
        assert shown[:, 37:].abs().max() == 0
        shown, expected = shown[:, 13:35], expected[:, 13:35]  # without rows that border on nothing
    torch.testing.assert_close(shown, expected, atol=0.03 if fit == "pad" else 1e-3, rtol=0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"flip_horizontal": 1.0}, lambda image: image.flip(-1)),
        ({"flip_vertical": 1.0}, lambda image: image.flip(-2)),
        ({"flip_horizontal": 1.0, "flip_vertical": 1.0}, lambda image: image.flip(-1, -2)),
    ],
)
def test_flips_are_exact(options, expected):
    image = torch.rand(2, 12, 15, generator=torch.Generator().manual_seed(0))
    moved = augment_image(image, only(**options), np.random.default_rng(0), size=(12, 15))
    torch.testing.assert_close(moved, expected(image), atol=1e-5, rtol=0)


def test_quarter_turns_are_turns():
    image = torch.rand(1, 9, 9, generator=torch.Generator().manual_seed(0))
    turned = [torch.rot90(image, k, (-2, -1)) for k in range(4)]
    seen = set()
    for seed in range(20):
        moved = augment_image(image, only(quarter_turns=1.0), np.random.default_rng(seed), size=(9, 9))
        fits = [k for k in range(4) if torch.allclose(moved, turned[k], atol=1e-5)]
        assert len(fits) == 1
        seen.add(fits[0])
    assert seen == {0, 1, 2, 3}


def test_oblong_pictures_are_turned_by_halves_only():
    image = torch.rand(1, 8, 14, generator=torch.Generator().manual_seed(0))
    seen = set()
    for seed in range(20):
        moved = augment_image(image, only(quarter_turns=1.0), np.random.default_rng(seed), size=(8, 14))
        fits = [k for k in (0, 2) if torch.allclose(moved, torch.rot90(image, k, (-2, -1)), atol=1e-5)]
        assert len(fits) == 1
        seen.add(fits[0])
    assert seen == {0, 2}


@pytest.mark.parametrize("fit", ["resize", "crop"])
def test_a_part_has_the_share_of_the_area_that_was_asked_for(fit):
    # The value is the place, so that the ends of the result tell where the part lies.
    yy, xx = np.mgrid[:100, :200]
    image = torch.tensor(np.stack([(yy + 0.5) / 100, (xx + 0.5) / 200]), dtype=torch.float32)
    config = only(crop=1.0, crop_scale=(0.2, 0.3), crop_ratio=1.2)
    shares, lefts = [], []
    for seed in range(60):
        moved = augment_image(image, config, np.random.default_rng(seed), size=(50, 50), fit=fit)
        height = float(moved[0, -1, 0] - moved[0, 0, 0]) * 50 / 49
        width = float(moved[1, 0, -1] - moved[1, 0, 0]) * 50 / 49
        shares.append(height * width)
        lefts.append(float(moved[1, 0, 0]))
        proportion = height / width if fit == "resize" else height * 100 / (width * 200)
        assert 1 / 1.21 <= proportion <= 1.21
    assert min(shares) >= 0.195
    assert max(shares) <= 0.305
    assert max(lefts) - min(lefts) > 0.3


def test_rotation_turns_by_no_more_than_the_angle():
    yy, xx = np.mgrid[:41, :41] - 20.0
    bar = torch.tensor(np.exp(-(yy**2) / 18), dtype=torch.float32)[None]
    config = only(affine=1.0, rotation_degrees=20.0, shear_degrees=0.0, shift=0.0)
    angles = []
    for seed in range(40):
        moved = augment_image(bar, config, np.random.default_rng(seed), size=(41, 41))[0].numpy()
        weight = moved * (xx**2 + yy**2 < 225)
        second = np.array([(weight * xx * xx).sum(), (weight * xx * yy).sum(), (weight * yy * yy).sum()])
        angles.append(np.degrees(0.5 * np.arctan2(2 * second[1], second[0] - second[2])))
    assert 15 < max(np.abs(angles)) < 20.5
    assert min(angles) < -5
    assert max(angles) > 5


def test_as_many_changes_of_values_as_asked_for():
    image = torch.full((1, 32, 32), 0.25)
    kinds = {"brightness": 0.5, "gamma": 0.5, "noise_std": 0.3}
    for count in range(4):
        config = only(num_values=count, contrast=0.0, saturation=0.0, hue=0.0, blur_sigma=0.0, **kinds)
        for seed in range(10):
            moved = augment_image(image, config, np.random.default_rng(seed), size=(32, 32))
            changed = not torch.allclose(moved, image, atol=1e-4)
            assert changed == (count > 0)
            if count == 3:
                assert moved.std() > 0


def test_erasing_paints_one_rectangle_of_the_asked_area():
    image = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0))
    config = only(erase=1.0, erase_scale=(0.1, 0.2))
    for seed in range(10):
        moved = augment_image(image, config, np.random.default_rng(seed), size=(64, 64))
        erased = (moved - image).abs()[0] > 1e-3
        rows, columns = erased.any(1).nonzero().flatten(), erased.any(0).nonzero().flatten()
        area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1) / 64**2
        assert 0.09 <= area <= 0.21
        part = moved[0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert float(part.std()) < 1e-5


def test_an_epoch_needs_each_file_once_only(tmp_path):
    file = tmp_path / "a.png"
    Pillow.fromarray(np.zeros((20, 20), np.uint8)).save(file)
    data = ClassificationDataset(
        [ClassificationCase("a", "train", 0, file)], ClassificationPreprocessing(size=(16, 16)), 1
    )
    data.preload()
    file.unlink()
    assert data[0]["image"].shape == (1, 16, 16)


def test_bad_data_sets(cases):
    preprocessing = ClassificationPreprocessing(size=(8, 8))
    with pytest.raises(InputError, match="at least one case"):
        ClassificationDataset([], preprocessing, 1)
    with pytest.raises(InputError, match="1 or 3 channels"):
        ClassificationDataset(cases, preprocessing, 2)
    with pytest.raises(InputError, match=r"train/0: has 1×1 pixel"):
        ClassificationDataset([case(np.zeros((1, 1), np.uint8))], preprocessing, 1)[0]
    with pytest.raises(IndexError):
        ClassificationDataset(cases, preprocessing, 1)[4]


@pytest.mark.parametrize("options", [{"crop_scale": (0.9, 0.5)}, {"crop_scale": (0, 1)}, {"erase": 2}])
def test_bad_augmentation(options):
    with pytest.raises(ValueError):
        ClassificationAugmentation(**options)


class TestMixing:
    def batch(self):
        generator = torch.Generator().manual_seed(7)
        labels = torch.arange(8) % 3
        # The picture says what it shows, so that the mixed picture must agree with the mixed target.
        image = torch.nn.functional.one_hot(labels, 3).float()[:, :, None, None].expand(8, 3, 20, 20).clone()
        return {
            "image": image,
            "target": labels,
            "weight": torch.rand(8, generator=generator),
            "index": labels,
        }

    @pytest.mark.parametrize(
        "config", [MixConfig(mixup=0.4), MixConfig(cutmix=1.0), MixConfig(mixup=1, cutmix=1)]
    )
    def test_targets_say_how_much_of_each_class_is_there(self, config):
        batch = self.batch()
        del batch["weight"]
        changed = 0
        for seed in range(20):
            mixed = mix_batch(batch, config, torch.Generator().manual_seed(seed), num_classes=3)
            torch.testing.assert_close(mixed["image"].mean(dim=(2, 3)), mixed["target"], atol=1e-5, rtol=0)
            torch.testing.assert_close(mixed["target"].sum(1), torch.ones(8))
            changed += not torch.equal(mixed["image"], batch["image"])
        assert changed > 10
        assert torch.equal(batch["target"], torch.arange(8) % 3)

    @pytest.mark.parametrize("config", [MixConfig(mixup=0.4), MixConfig(cutmix=1.0)])
    def test_a_share_of_the_target_counts_as_its_own_image_does(self, config):
        batch = self.batch()
        batch["weight"][:3] = 0
        # The image of every class times what the case counts: mixed as weight times target should be.
        batch["image"] = batch["image"] * batch["weight"][:, None, None, None]
        for seed in range(20):
            mixed = mix_batch(batch, config, torch.Generator().manual_seed(seed), num_classes=3)
            counted = mixed["weight"][:, None] * mixed["target"]
            torch.testing.assert_close(counted, mixed["image"].mean(dim=(2, 3)), atol=1e-5, rtol=0)
            torch.testing.assert_close(mixed["target"].sum(1), torch.ones(8))
            assert batch["weight"].min() - 1e-6 <= mixed["weight"].min()
            assert mixed["weight"].max() <= batch["weight"].max() + 1e-6

    def test_cutmix_keeps_the_share_that_was_drawn(self):
        # In the middle of a large picture nothing of the rectangle is lost beyond an edge.
        rng = SimpleNamespace(uniform=lambda low, high, size: np.full(size, 0.5))
        for share in (0.19, 0.51, 0.75, 0.96):
            pasted, left = _paste(torch.zeros(1, 400, 300), torch.ones(1, 400, 300), share, rng)
            assert left == pytest.approx(share, abs=0.01)
            assert 1 - pasted.mean().item() == pytest.approx(left, abs=1e-6)

    def test_both_kinds_occur_where_both_are_on(self):
        whole = []
        for seed in range(30):
            mixed = mix_batch(
                self.batch(), MixConfig(mixup=1, cutmix=1), torch.Generator().manual_seed(seed), num_classes=3
            )
            whole.append(bool(((mixed["image"] == 0) | (mixed["image"] == 1)).all()))
        assert {True, False} == set(whole)

    def test_the_same_generator_gives_the_same_batch(self):
        one, two = (
            mix_batch(self.batch(), MixConfig(mixup=1), torch.Generator().manual_seed(5), num_classes=3)
            for _ in range(2)
        )
        assert torch.equal(one["image"], two["image"])

    def test_off_only_softens_the_target(self):
        batch = self.batch()
        for config in (MixConfig(), MixConfig(mixup=1, probability=0)):
            mixed = mix_batch(batch, config, torch.Generator().manual_seed(0), num_classes=3)
            assert torch.equal(mixed["image"], batch["image"])
            assert torch.equal(mixed["target"].argmax(1), batch["target"])

    def test_multi_label_targets_are_mixed_as_they_are(self):
        batch = self.batch() | {"target": torch.eye(8)[:, :5], "weight": torch.ones(8)}
        mixed = mix_batch(batch, MixConfig(mixup=1), torch.Generator().manual_seed(1), num_classes=5)
        assert mixed["target"].shape == (8, 5)
        torch.testing.assert_close(mixed["target"].sum(), torch.tensor(5.0))
