"""Predictors can be copied and sent to other processes."""

import copy
import pickle

import numpy as np
import pytest

import scalefuse

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 48), dtype=np.uint8)
CALLS = {
    "dilran": lambda fuse: fuse(PICTURE / 255, PICTURE[::-1] / 255),
    "msrf-net-nuclei": lambda segmenter: segmenter.segment(PICTURE).probability,
    "hifuse-pneumoniamnist": lambda classifier: classifier.predict([PICTURE]),
}


@pytest.mark.parametrize(
    ("name", "engine"),
    [*((name, "torch") for name in CALLS), ("dilran", "openvino")],
)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_of_a_used_predictor_gives_the_same(name, engine, copied):
    pytest.importorskip(engine, reason=f"needs the extra `{engine}`")
    predictor = scalefuse.load(name, engine=engine, precision="fp32")
    expected = CALLS[name](predictor)
    np.testing.assert_array_equal(CALLS[name](copied(predictor)), expected)
    np.testing.assert_array_equal(CALLS[name](predictor), expected)
