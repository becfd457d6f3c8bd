"""What the predictors take for a picture, and what they say of anything else."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from scalefuse.data.classification_input import ClassificationPreprocessing
from scalefuse.data.image import Image
from scalefuse.errors import InputError
from scalefuse.inference.classifier import Classifier
from scalefuse.inference.fuser import Fuser
from scalefuse.inference.segmenter import Segmenter

GREY = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def fuse():
    return Fuser(torch.nn.Identity(), strategy="baseline:average")


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(lambda images: images.mean(dim=1, keepdim=True) - 0.5)


@pytest.fixture(scope="module")
def classifier():
    def bright(images):
        level = images.mean(dim=(1, 2, 3))
        return torch.stack([-level, level], dim=1)

    preprocessing = ClassificationPreprocessing(size=(8, 8))
    return Classifier(bright, labels=("dark", "bright"), preprocessing=preprocessing)


def test_a_fuser_takes_tensors_lists_and_booleans(fuse):
    a, b = GREY / 255, COLOUR / 255
    expected = fuse(a, b)
    np.testing.assert_array_equal(fuse(torch.from_numpy(a).requires_grad_(), torch.from_numpy(b)), expected)
    np.testing.assert_array_equal(fuse(a.tolist(), b), expected)
    black = np.zeros(GREY.shape)
    np.testing.assert_allclose(fuse(GREY > 99, black), (GREY > 99) / 2)


def test_arrays_that_may_not_be_written_to_are_taken_without_a_warning(fuse):
    a = (GREY / 255).astype(np.float32)
    expected = fuse(a, a)
    a.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(fuse(a, a), expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Image(GREY), "picture as read from a file.* call fuse_images"),
        (Pillow.fromarray(GREY), r"first image holds whole numbers \(uint8\)"),
        # An almost black slice among others of 8 bits.
        (np.zeros((24, 32), np.uint8), r"first image holds whole numbers \(uint8\)"),
        ("ct.png", "but got str; read files with"),
        (None, "but got NoneType"),
    ],
)
def test_what_a_fuser_refuses(fuse, given, message):
    with pytest.raises(InputError, match=message):
        fuse(given, GREY / 255)


def test_pictures_and_ranges_of_files(fuse):
    with pytest.raises(InputError, match=r"as scalefuse\.data\.read_image gives them, but got ndarray"):
        fuse.fuse_images(GREY, Image(GREY))
    with pytest.raises(InputError, match=r"an IntensityRange, but got \(0, 255\)"):
        fuse.fuse_images(Image(GREY), Image(GREY), range_b=(0, 255))


def test_segmenters_and_classifiers_take_pictures_of_pil_and_tensors(segmenter, classifier):
    expected = segmenter.probabilities(COLOUR)
    for given in (Pillow.fromarray(COLOUR), Pillow.fromarray(COLOUR).convert("RGBA"), torch.tensor(COLOUR)):
        np.testing.assert_array_equal(segmenter.probabilities(given), expected)
        np.testing.assert_array_equal(classifier.predict([given]), classifier.predict([COLOUR]))
    palette = Pillow.fromarray(COLOUR).convert("P")
    np.testing.assert_array_equal(
        segmenter.probabilities(palette), segmenter.probabilities(np.asarray(palette.convert("RGB")))
    )


def test_classifiers_take_values_from_0_to_1_as_segmenters_do(classifier):
    np.testing.assert_allclose(classifier.predict([GREY / 255]), classifier.predict([GREY]), atol=1e-6)
    np.testing.assert_array_equal(
        classifier.predict([GREY > 99]), classifier.predict([(GREY > 99).astype(np.uint8) * 255])
    )
    with pytest.raises(InputError, match=r"real numbers in \[0, 1\], but got values from 0 to 200"):
        classifier.predict([np.linspace(0, 200, 12).reshape(3, 4)])


@pytest.mark.parametrize(
    "given",
    [
        torch.tensor(COLOUR),
        torch.tensor(COLOUR).permute(2, 0, 1),
        torch.tensor(GREY),
        Pillow.fromarray(GREY),
        Image(GREY),
        "x-ray.png",
        None,
    ],
)
def test_one_picture_is_not_taken_for_several(classifier, given):
    with pytest.raises(InputError, match="Expected several pictures, but got one"):
        classifier.predict(given)


def test_what_is_asked_of_probabilities(classifier):
    with pytest.raises(InputError, match="some are NaN"):
        classifier.decide(np.array([[0.4, np.nan]]))
    assert classifier.decide([[0.25, 0.75]]).tolist() == [1]
    for index in (1.0, "bright", 2, -1):
        with pytest.raises(InputError, match="Expected a class index from 0 to 1, but got"):
            classifier.explain(GREY, class_index=index, method="occlusion")


def test_sizes_of_segmenters_are_whole_numbers():
    for options, name in (({"resize": 64}, "size to resize to"), ({"tile": 64.0}, "tile")):
        with pytest.raises(InputError, match=rf"Expected a {name} as \(height, width\) in pixels"):
            Segmenter(lambda images: images, **options)
