import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn
from torch.nn import functional as F

from scalefuse.bundle import Bundle, BundleInfo
from scalefuse.data.image import Image
from scalefuse.data.intensity import IntensityRange
from scalefuse.errors import BundleError, InputError
from scalefuse.inference.postprocessing import PostProcessing
from scalefuse.inference.segmenter import SegmentationPreprocessing, Segmenter
from scalefuse.networks.msrf_net import MSRFNet
from scalefuse.networks.msrf_net.spec import MSRFNetConfig


def pixelwise(images):
    """Sees single pixels only, so that padding and windows must not matter; wants multiples of 8."""
    assert images.shape[2] % 8 == images.shape[3] % 8 == 0
    return (images[:, :1] - images[:, 1:2] + 0.3) * 5


class Contextual(nn.Module):
    """Sees neighbours and the window's border, in no symmetric way."""

    def __init__(self, outputs=1, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Conv2d(3, 4, 5, padding=2), nn.Conv2d(4, outputs, 5, padding=2)
        for parameter in self.parameters():
            parameter.requires_grad_(False)
            parameter.mul_(6)

    def forward(self, images):
        return self.second(torch.tanh(self.first(images)))


def colour(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def by_hand(image):
    return 1 / (1 + np.exp(-(image[..., 0] - image[..., 1] + 0.3) * 5))


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (8, 16), (33, 70), (150, 5)])
@pytest.mark.parametrize("limit", [10**6, 1])
def test_any_size_whole_and_in_windows(size, limit):
    image = colour(*size)
    segmenter = Segmenter(pixelwise, size_multiple=8, tile=32, whole_image_limit=limit)
    np.testing.assert_allclose(segmenter.probabilities(image)[0], by_hand(image), atol=2e-6)


@pytest.mark.parametrize(("size", "overlap"), [((150, 203), 0.25), ((96, 130), 0.5), ((64, 161), 0.0)])
def test_windows_equal_those_of_monai(size, overlap):
    image, engine = colour(*size), Contextual(2)
    segmenter = Segmenter(
        engine, labels=("a", "b"), multi_label=True, tile=64, overlap=overlap, whole_image_limit=1
    )
    theirs = sliding_window_inference(
        torch.from_numpy(image).permute(2, 0, 1)[None],
        (64, 64),
        1,
        lambda window: engine(window).sigmoid(),
        overlap=overlap,
        mode="gaussian",
    )
    np.testing.assert_allclose(segmenter.probabilities(image), theirs[0].numpy(), atol=1e-5)


def test_mirrored_at_the_lower_and_right_edge():
    image, engine = colour(13, 22), Contextual()
    padded = np.pad(image, ((0, 3), (0, 2), (0, 0)), mode="reflect")
    tensor = torch.from_numpy(padded).permute(2, 0, 1)[None]
    expected = engine(tensor).sigmoid()[0, :, :13, :22].numpy()
    ours = Segmenter(engine, size_multiple=8).probabilities(image)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_rotations_and_flips_are_averaged():
    image = colour(24, 40)
    plain, averaged = (Segmenter(Contextual(), size_multiple=8, tta=tta) for tta in (False, True))
    expected = []
    for flip in (False, True):
        for turns in range(4):
            turned = np.rot90(image[:, ::-1] if flip else image, turns)
            back = np.rot90(plain.probabilities(np.ascontiguousarray(turned))[0], -turns)
            expected.append(back[:, ::-1] if flip else back)
    np.testing.assert_allclose(averaged.probabilities(image)[0], np.mean(expected, axis=0), atol=1e-6)
    assert np.abs(averaged.probabilities(image)[0] - expected[0]).max() > 0.05


def test_without_quarter_turns_four_views_are_averaged():
    image = colour(24, 40)
    plain, averaged = (
        Segmenter(Contextual(), size_multiple=8, tta=tta, quarter_turns=False) for tta in (False, True)
    )
    expected = []
    for rows in (1, -1):
        for columns in (1, -1):
            turned = np.ascontiguousarray(image[::rows, ::columns])
            expected.append(plain.probabilities(turned)[0][::rows, ::columns])
    np.testing.assert_allclose(averaged.probabilities(image)[0], np.mean(expected, axis=0), atol=1e-6)


def test_windows_of_two_sides():
    seen = set()

    def engine(images):
        seen.add(tuple(images.shape[2:]))
        return pixelwise(images)

    image = colour(100, 120)
    segmenter = Segmenter(engine, size_multiple=8, tile=(32, 64), whole_image_limit=1)
    np.testing.assert_allclose(segmenter.probabilities(image)[0], by_hand(image), atol=2e-6)
    assert seen == {(32, 64)}


def test_an_ensemble_averages_probabilities():
    image, engines = colour(20, 20), [Contextual(3, seed) for seed in (1, 2)]
    labels = ("background", "one", "two")
    single = [Segmenter(engine, labels=labels).probabilities(image) for engine in engines]
    together = Segmenter(engines, labels=labels).probabilities(image)
    np.testing.assert_allclose(together, np.mean(single, axis=0), atol=1e-6)
    np.testing.assert_allclose(together.sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("limit", [10**6, 1])
def test_masks_by_kind_of_task(limit):
    image = colour(70, 90)
    options = {"tile": 48, "whole_image_limit": limit}
    several = Segmenter(Contextual(3), labels=("background", "one", "two"), **options)
    result = several.segment(image)
    assert result.mask.dtype == np.uint8
    np.testing.assert_array_equal(result.mask, several.probabilities(image).argmax(axis=0))
    cleaning = PostProcessing(threshold=0.6, smallest_object=20, fill_holes=5)
    labels = Segmenter(Contextual(3), labels="abc", multi_label=True, postprocessing=cleaning, **options)
    maps, mask = labels.probabilities(image), labels.segment(image, keep_probability=False).mask
    np.testing.assert_array_equal(mask, [cleaning.apply(one) for one in maps])
    binary = Segmenter(Contextual(), postprocessing=cleaning, **options)
    result = binary.segment(image)
    np.testing.assert_array_equal(result.mask, cleaning.apply(binary.probabilities(image)[0]))
    np.testing.assert_allclose(result.probability / 65535, binary.probabilities(image), atol=1 / 131000)
    assert result.probability.dtype == np.uint16


@pytest.mark.parametrize("size", [(90, 70), (20, 50), (700, 33), (32, 48)])
def test_resized_as_in_training(size):
    image, engine = colour(*size), Contextual()
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    small = F.interpolate(tensor, size=(32, 48), mode="bilinear", antialias=True)
    probability = engine(small.clamp(0, 1)).sigmoid()
    expected = F.interpolate(probability, size=size, mode="bilinear", antialias=True)[0]
    ours = Segmenter(engine, resize=(32, 48), whole_image_limit=1).probabilities(image)
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-5)


def test_a_training_size_that_is_no_multiple_is_padded_with_its_edge():
    image, engine = colour(72, 90), Contextual()
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    small = F.interpolate(tensor, size=(36, 44), mode="bilinear", antialias=True).clamp(0, 1)
    probability = engine(F.pad(small, (0, 4, 0, 4), mode="replicate")).sigmoid()[..., :36, :44]
    expected = F.interpolate(probability, size=(72, 90), mode="bilinear", antialias=True)[0]
    ours = Segmenter(engine, resize=(36, 44), size_multiple=8).probabilities(image)
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-5)


def test_number_types_and_channels():
    eight = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    segmenter = Segmenter(pixelwise, size_multiple=8)
    expected = by_hand(eight / 255)
    for image in (eight, eight * np.uint16(257), eight / 255, Image(eight)):
        np.testing.assert_allclose(segmenter.probabilities(image)[0], expected, atol=1e-6)
    grey = segmenter.probabilities(eight[..., 0])
    np.testing.assert_allclose(grey, 1 / (1 + np.exp(-1.5)), atol=1e-6)
    luma = Segmenter(lambda images: images, in_channels=1).probabilities(eight)[0]
    weighted = eight @ [0.299, 0.587, 0.114] / 255
    np.testing.assert_allclose(luma, 1 / (1 + np.exp(-weighted)), atol=1e-6)
    resized = Segmenter(lambda images: images, in_channels=1, resize=(8, 8))
    np.testing.assert_allclose(
        resized.probabilities(eight), resized.probabilities(weighted.astype(np.float32)), atol=1e-6
    )


def test_the_chosen_intensities():
    window = Segmenter(lambda images: images, in_channels=1, intensity="window:40:80")
    ct = Image(np.array([[-10.0, 0.0, 40.0, 80.0, 900.0]]), kind="dicom", unit="HU")
    expected = 1 / (1 + np.exp(-np.array([0, 0, 0.5, 1, 1])))
    np.testing.assert_allclose(window.probabilities(ct)[0, 0], expected, atol=1e-6)
    with pytest.raises(InputError, match="HU"):
        Segmenter(lambda images: images, in_channels=1).segment(ct)


def bundle(seed=0, **info):
    arguments = {"width": 8, "growth": 4, "num_classes": 1}
    torch.manual_seed(seed)
    state = MSRFNet(**arguments).state_dict()
    details = BundleInfo(name="m", task="segmentation", network=MSRFNetConfig(**arguments), **info)
    return Bundle(details, state, "", Path(f"b{seed}"))


def test_from_a_bundle():
    preprocessing = SegmentationPreprocessing(resize=(24, 32), intensity=IntensityRange.parse("minmax"))
    stored = {
        "labels": ("background", "nucleus"),
        "preprocessing": preprocessing.model_dump(mode="json"),
        "postprocessing": PostProcessing(threshold=0.3, smallest_object=4).model_dump(mode="json"),
    }
    one, two = bundle(0, **stored), bundle(1, **stored)
    segmenter = Segmenter.from_bundle(one)
    assert segmenter.postprocessing == PostProcessing(threshold=0.3, smallest_object=4)
    assert (segmenter.labels, segmenter.resize) == (("background", "nucleus"), (24, 32))
    assert (segmenter.size_multiple, str(segmenter.intensity)) == (8, "minmax")
    assert Segmenter.from_bundle(one, postprocess=False).postprocessing == PostProcessing()
    image = colour(24, 32)
    image[0, 0], image[0, 1] = 0, 1
    with torch.inference_mode():
        output = one.build_network()(torch.from_numpy(image).permute(2, 0, 1)[None])
    np.testing.assert_allclose(segmenter.probabilities(image), output.mask.sigmoid()[0].numpy(), atol=1e-5)
    both = Segmenter.from_bundle([one, two], tta=True)
    assert (len(both.engines), both.tta) == (2, True)
    averaging = stored["preprocessing"] | {"tta": True}
    other = bundle(0, **(stored | {"preprocessing": averaging}))
    found = {tta: Segmenter.from_bundle(other, tta=tta).probabilities(image) for tta in (None, True, False)}
    np.testing.assert_array_equal(found[None], found[True])
    np.testing.assert_allclose(found[False], output.mask.sigmoid()[0].numpy(), atol=1e-5)
    assert np.abs(found[True] - found[False]).max() > 1e-3
    assert (Segmenter.from_bundle([other, two]).tta, Segmenter.from_bundle([two, other]).tta) == (True, False)
    with pytest.raises(BundleError, match="labels"):
        Segmenter.from_bundle([one, bundle(2)])
    with pytest.raises(BundleError, match="threshold"):
        Segmenter.from_bundle(bundle(0, postprocessing={"threshold": 7}))
    with pytest.raises(InputError, match="at least one bundle"):
        Segmenter.from_bundle([])


@pytest.mark.parametrize("channels", [2, 5])
def test_arrays_of_any_number_of_channels(channels):
    arguments = {"in_channels": channels, "num_classes": 1, "width": 8, "growth": 4}
    torch.manual_seed(0)
    network = MSRFNet(**arguments).eval()
    info = BundleInfo(name="m", task="segmentation", network=MSRFNetConfig(**arguments))
    segmenter = Segmenter.from_bundle(Bundle(info, network.state_dict(), "", Path("many")))
    image = np.random.default_rng(0).random((24, 32, channels), np.float32)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(image).permute(2, 0, 1)[None]).mask.sigmoid()[0].numpy()
    np.testing.assert_allclose(segmenter.probabilities(image), wanted, atol=1e-5)
    assert segmenter.segment(image).mask.shape == (24, 32)
    bright = Segmenter(lambda images: images[:, :1] * 20 - 10, in_channels=channels, resize=(8, 8))
    image[..., 0] = 0.9
    np.testing.assert_allclose(bright.probabilities(image), 1 / (1 + np.exp(-8)), atol=1e-5)
    for other in (image[..., 0], image[..., :1], np.repeat(image, 3, axis=2), image[:0]):
        with pytest.raises(InputError, match=rf"Expected an array \(H, W, {channels}\)"):
            segmenter.segment(other)
    picture = Image(np.zeros((8, 8, 3), np.uint8), source=Path("tissue.png"))
    with pytest.raises(InputError, match=rf"tissue.png has 3 channel.*expects {channels}; use another model"):
        segmenter.segment(picture)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engines": []}, "at least one network"),
        ({"labels": ()}, "at least one label"),
        ({"tile": 100}, "use 96"),
        ({"overlap": 1.0}, "overlap"),
        ({"resize": (0, 8)}, "resize"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        Segmenter(**{"engines": pixelwise, "size_multiple": 8, **arguments})


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 2)), "shape"),
        (np.zeros((0, 4)), "shape"),
        (np.full((4, 4), 2.0), r"in \[0, 1\]"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.zeros((4, 4), np.int32), "full"),
    ],
)
def test_bad_pictures(image, message):
    with pytest.raises(InputError, match=message):
        Segmenter(pixelwise, size_multiple=8).segment(image)


def test_bad_networks():
    image = colour(8, 8)
    with pytest.raises(BundleError, match="does not fit its labels"):
        Segmenter(Contextual(2)).segment(image)
    with pytest.raises(BundleError, match="NaN"):
        Segmenter(lambda images: images[:, :1] * torch.nan).segment(image)
    with pytest.raises(InputError, match="4 channels"):
        Segmenter(Contextual(), in_channels=4).segment(image)


HUGE = """
import pathlib, numpy as np, torch
from scalefuse.inference.instances import label_instances
from scalefuse.inference.postprocessing import PostProcessing
from scalefuse.inference.regions import regions_table
from scalefuse.inference.segmenter import Segmenter
import monai.data.utils
small = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
image = np.tile(np.kron(small, np.ones((16, 16, 1), np.uint8)), (8, 8, 1))
result = Segmenter(
    lambda images: (images.mean(1, keepdim=True) - 0.6) * 20,
    postprocessing=PostProcessing(smallest_object=300, fill_holes=600),
).segment(image)
assert result.mask.shape == result.probability.shape[1:] == (8192, 8192)
labels, number = label_instances(result.mask)
table = regions_table(labels, intensity=image)
assert len(table) == number > 1000
# On Linux getrusage's peak begins with that of the process that started this one; the memory's own does not.
status = pathlib.Path("/proc/self/status")
peaks = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
print(*peaks)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from Linux's /proc")
def test_a_huge_picture_stays_within_three_gibibytes():
    run = subprocess.run([sys.executable, "-c", HUGE], capture_output=True, text=True, check=True)
    print(f"peak: {int(run.stdout) / 2**20:.2f} GiB")
    assert int(run.stdout) < 3 * 2**20
