import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.inference.test_classifier import bundle, pictures

from scalefuse.data.classification_input import ClassificationPreprocessing
from scalefuse.errors import InputError
from scalefuse.inference.classifier import Classifier
from scalefuse.inference.classifier_views import bundle_views, see, trained_views

CHANGES = {
    "flip_horizontal": lambda image: image.flip(3),
    "flip_vertical": lambda image: image.flip(2),
    "quarter_turns": lambda image: torch.rot90(image, 1, (2, 3)),
}
SQUARE = ClassificationPreprocessing(size=(40, 40)).model_dump(mode="json")


def reached(image, names):
    """All that the changes make of an image, by trying."""
    found = [image]
    for one in found:
        for name in names:
            changed = CHANGES[name](one)
            if changed.shape == image.shape and not any(torch.equal(changed, other) for other in found):
                found.append(changed)
    return found


@pytest.mark.parametrize("names", [c for n in range(4) for c in itertools.combinations(CHANGES, n)])
def test_views_are_all_that_training_could_show(names):
    image = torch.arange(2 * 36.0).reshape(1, 2, 6, 6)
    views = trained_views(dict.fromkeys(names, 0.5), (6, 6))
    assert torch.equal(see(image, views[0]), image)
    expected = {tuple(one.flatten().tolist()) for one in reached(image, names)}
    assert len(views) == len(expected)
    assert {tuple(see(image, view).flatten().tolist()) for view in views} == expected


def test_views_keep_the_size():
    views = trained_views({"flip_horizontal": 0.5, "quarter_turns": 1.0}, (40, 33))
    assert len(views) == 4
    assert {see(torch.zeros(1, 1, 40, 33), view).shape for view in views} == {(1, 1, 40, 33)}


def trained(seed=0, *, table=(), preprocessing=SQUARE, **chances):
    one = bundle(
        seed,
        preprocessing=preprocessing,
        postprocessing={"temperature": 2.0, "true_probabilities": table},
    )
    config = {"augmentation": {"flip_horizontal": 0.0, **chances}}
    return replace(one, info=one.info.model_copy(update={"config": config}))


def test_logits_are_the_mean_over_the_views():
    one = trained(flip_horizontal=0.5, flip_vertical=0.5)
    plain = Classifier.from_bundle(one)
    averaged = Classifier.from_bundle(one, tta=True)
    squares = [picture[:30, :30] for picture in pictures(3)]
    seen = [
        plain.logits([np.ascontiguousarray(np.flip(square, axes)) for square in squares])
        for axes in ((), (0,), (1,), (0, 1))
    ]
    np.testing.assert_allclose(averaged.logits(squares), np.mean(seen, axis=0), atol=1e-4)
    assert np.abs(averaged.logits(squares) - seen[0]).max() > 1e-2
    # A mirrored picture says the same, and the temperature is kept.
    mirrored = [np.ascontiguousarray(square[:, ::-1]) for square in squares]
    np.testing.assert_allclose(averaged.logits(mirrored), averaged.logits(squares), atol=1e-4)
    expected = torch.from_numpy(averaged.logits(squares) / 2).softmax(1)
    np.testing.assert_allclose(averaged.predict(squares), expected, atol=1e-6)


def test_an_average_has_no_calibration_of_its_own():
    one = trained(flip_horizontal=0.5, table=[[0.5] * 20] * 3)
    probabilities = Classifier.from_bundle(one).predict(pictures(2))
    assert Classifier.from_bundle(one).prediction_sets(probabilities, 0.9).shape == (2, 3)
    with pytest.raises(InputError, match="no calibration scores"):
        Classifier.from_bundle(one, tta=True).prediction_sets(probabilities, 0.9)


def test_an_ensemble_takes_the_views_of_all():
    mirrored, turned = trained(flip_horizontal=0.5), trained(1, flip_horizontal=0.5, quarter_turns=0.5)
    both = Classifier.from_bundle([mirrored, turned], tta=True)
    assert len(both.views) == 2
    alone = [Classifier.from_bundle(one, views=both.views) for one in (mirrored, turned)]
    mean = np.mean([one.predict(pictures(3)) for one in alone], axis=0)
    np.testing.assert_allclose(both.predict(pictures(3)), mean, atol=1e-5)
    with pytest.raises(InputError, match="here there are none; leave"):
        bundle_views([mirrored, trained(2, flip_vertical=0.5)], (40, 40))


def test_a_model_of_pictures_as_they_stand_is_refused():
    for one in (bundle(), trained()):
        with pytest.raises(InputError, match=r"tiny0: averaging .* here there are none; leave .*--tta"):
            Classifier.from_bundle(one, tta=True)
    with pytest.raises(InputError, match="at least one view"):
        Classifier.from_bundle(bundle(), views=())
