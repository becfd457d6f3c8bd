"""One clear error for input that a measure cannot work on."""

import numpy as np
import pytest
import torch

from scalefuse import metrics
from scalefuse.errors import InputError
from scalefuse.metrics import FUSION_METRICS

GOOD = np.full((180, 180), 9.0)
GOOD[50:90, 60:100] = 200

BAD = {
    "three dimensions": (GOOD[None], r"\(1, 180, 180\)"),
    "four dimensions": (torch.zeros(1, 1, 180, 180), r"\(1, 1, 180, 180\)"),
    "a row": (GOOD[0], r"\(180,\)"),
    "another size": (GOOD[:, :179], r"180×179.*180×180|180×180.*180×179"),
    "NaN": (np.where(GOOD > 100, np.nan, GOOD), "1600 of 32400 are NaN"),
    "infinity": (np.where(GOOD > 100, np.inf, GOOD), "infinite"),
    "negative": (GOOD - 10, "got -1 to 190"),
    "sixteen bit": (GOOD.astype(np.uint16) * 256, "got 2304 to 51200"),
    "complex": (GOOD.astype(complex), "complex"),
    "complex tensor": (torch.zeros(180, 180, dtype=torch.complex64), "complex"),
    "mask": (GOOD > 100, "bool"),
    "mask tensor": (torch.zeros(180, 180, dtype=torch.bool), "bool"),
    "text": (np.full((180, 180), "7"), "<U1"),
    "nothing": (np.zeros((0, 0)), "0×0"),
}


@pytest.mark.parametrize("name", FUSION_METRICS)
@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("position", range(3))
def test_bad_images_are_named(name, case, position):
    image, message = BAD[case]
    images = [GOOD, GOOD, GOOD]
    images[position] = image
    with pytest.raises(InputError, match=message):
        FUSION_METRICS[name](*images)


def test_the_message_says_which_image_it_was():
    with pytest.raises(InputError, match="source b"):
        metrics.psnr(GOOD, GOOD, GOOD - 10)
    with pytest.raises(InputError, match="the fused image"):
        metrics.psnr(GOOD - 10, GOOD, GOOD)


SMALLEST = {"SF": 2, "AG": 2, "VIF": 41, "SSIM": 7, "MS-SSIM": 176, "FMI": 3, "FSIM": 8}


@pytest.mark.parametrize("name", FUSION_METRICS)
def test_the_smallest_size_works_and_one_pixel_less_is_refused(name):
    size = SMALLEST.get(name, 1)
    image = np.random.default_rng(0).integers(0, 256, (size, size + 3))
    assert np.isfinite(FUSION_METRICS[name](image, image // 2, 255 - image))
    if size > 1:
        smaller = image[1:]
        with pytest.raises(
            InputError, match=rf"at least {size}×{size} pixels for {name} but got {size - 1}×"
        ):
            FUSION_METRICS[name](smaller, smaller, smaller)


def test_unknown_options_list_what_exists():
    with pytest.raises(InputError, match="'nats' or 'bits'"):
        metrics.mutual_information(GOOD, GOOD, GOOD, unit="bans")
    with pytest.raises(InputError, match="'edge', 'dct', 'wavelet' but got 'wavelets'"):
        metrics.feature_mutual_information(GOOD, GOOD, GOOD, feature="wavelets")
    for window in (2, 4, 1, -3, 3.0):
        with pytest.raises(InputError, match="odd number"):
            metrics.feature_mutual_information(GOOD, GOOD, GOOD, window=window)
