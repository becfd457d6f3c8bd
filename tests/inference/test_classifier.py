import numpy as np
import pytest
import torch
from torch import nn

import scalefuse
from scalefuse.bundle import Bundle, BundleInfo, save_bundle
from scalefuse.data.classification_input import ClassificationPreprocessing
from scalefuse.data.image import Image
from scalefuse.errors import BundleError, InputError
from scalefuse.inference.classifier import ClassificationPostProcessing, Classifier
from scalefuse.inference.engines.build import bundle_engine
from scalefuse.inference.engines.choice import Job
from scalefuse.inference.operating_point import OperatingPoint
from scalefuse.networks.dilran.spec import DILRANConfig
from scalefuse.networks.hifuse.spec import HiFuseConfig, build
from scalefuse.networks.resnet.spec import ResNet18Config
from scalefuse.networks.resnet.spec import build as build_resnet

SIZE = (40, 33)
PREPROCESSING = ClassificationPreprocessing(size=SIZE)
LABELS = ("left", "right", "neither")


def pictures(number, seed=0):
    """8-bit pictures of different sizes, grey and coloured in turn."""
    generator = np.random.default_rng(seed)
    shapes = [(30 + 7 * index, 50 - 2 * index, *([3] if index % 2 else [])) for index in range(number)]
    return [generator.integers(0, 256, shape).astype(np.uint8) for shape in shapes]


def bundle(seed=0, *, labels=LABELS, preprocessing=None, postprocessing=None, **network):
    torch.manual_seed(seed)
    config = HiFuseConfig(embed_dim=16, depths=(1, 1, 1, 1), **{"num_classes": 3, **network})
    info = BundleInfo(
        name=f"tiny{seed}",
        task="classification",
        network=config,
        labels=labels,
        preprocessing=preprocessing or PREPROCESSING.model_dump(mode="json"),
        postprocessing=postprocessing,
    )
    state = build(config).state_dict()
    # Freshly initialised, all logits are nearly the same.
    state["head.weight"] = torch.randn(state["head.weight"].shape) * 0.5
    return Bundle(info=info, state=state, card="", source=f"tiny{seed}")


def test_batches_change_nothing():
    one, many = (Classifier.from_bundle(bundle(), batch_size=size) for size in (1, 4))
    found = many.logits(pictures(6))
    assert found.shape == (6, 3)
    np.testing.assert_allclose(found, one.logits(pictures(6)), atol=1e-4)
    assert found.std(axis=0).min() > 1e-3
    np.testing.assert_array_equal(many.logits([]), np.empty((0, 3)))


def test_the_network_sees_what_training_saw():
    from scalefuse.data.classification_input import prepare, standardise

    seen = []

    def engine(images):
        seen.append(images.clone())
        return torch.zeros(len(images), 2)

    classifier = Classifier(engine, labels=("a", "b"), preprocessing=PREPROCESSING, in_channels=1)
    image = pictures(1)[0]
    classifier.logits([image])
    torch.testing.assert_close(seen[0][0], standardise(prepare(image, PREPROCESSING, 1), PREPROCESSING))


def test_probabilities_follow_the_temperature():
    plain = Classifier.from_bundle(bundle())
    cooled = Classifier.from_bundle(bundle(postprocessing={"temperature": 4.0}))
    logits = torch.from_numpy(plain.logits(pictures(3)))
    np.testing.assert_allclose(plain.predict(pictures(3)), logits.softmax(1), atol=1e-6)
    np.testing.assert_array_equal(cooled.logits(pictures(3)), logits)
    np.testing.assert_allclose(cooled.predict(pictures(3)), (logits / 4).softmax(1), atol=1e-6)
    without = Classifier.from_bundle(bundle(postprocessing={"temperature": 4.0}), postprocess=False)
    np.testing.assert_allclose(without.predict(pictures(3)), logits.softmax(1), atol=1e-6)


def test_several_labels():
    preprocessing = {**PREPROCESSING.model_dump(mode="json"), "multi_label": True}
    classifier = Classifier.from_bundle(bundle(preprocessing=preprocessing))
    logits = torch.from_numpy(classifier.logits(pictures(3)))
    np.testing.assert_allclose(classifier.predict(pictures(3)), logits.sigmoid(), atol=1e-6)
    np.testing.assert_array_equal(classifier.decide(classifier.predict(pictures(3))), logits >= 0)
    assert classifier.explain(pictures(1)[0]).map.shape == (30, 50)


@pytest.mark.parametrize("multi_label", [False, True])
def test_an_ensemble_averages_calibrated_probabilities(multi_label):
    preprocessing = {**PREPROCESSING.model_dump(mode="json"), "multi_label": multi_label}
    table = [[0.5] * 20] * 3
    bundles = [
        bundle(
            seed,
            preprocessing=preprocessing,
            postprocessing={
                "temperature": temperature,
                "true_probabilities": table,
                "multi_label": multi_label,
            },
        )
        for seed, temperature in ((0, 0.5), (1, 3.0))
    ]
    both = Classifier.from_bundle(bundles)
    mean = np.mean([Classifier.from_bundle(one).predict(pictures(4)) for one in bundles], axis=0)
    np.testing.assert_allclose(both.predict(pictures(4)), mean, atol=1e-5)
    # The scores are those of single networks.
    with pytest.raises(InputError, match="no calibration scores"):
        both.prediction_sets(mean, 0.9)
    with pytest.raises(InputError, match="one network, but the ensemble has 2"):
        both.embed(pictures(1))
    assert both.explain(pictures(1)[0], stage=1).map.max() == pytest.approx(1)


def test_embeddings_are_what_the_head_sees():
    one = bundle()
    classifier = Classifier.from_bundle(one)
    vectors = classifier.embed(pictures(3))
    assert vectors.shape == (3, 128)
    head = one.state["head.weight"].numpy(), one.state["head.bias"].numpy()
    np.testing.assert_allclose(vectors @ head[0].T + head[1], classifier.logits(pictures(3)), atol=1e-4)


def test_resnet_is_explained_too():
    torch.manual_seed(0)
    network = build_resnet(ResNet18Config(width=8, num_classes=2)).eval()
    classifier = Classifier(network, labels=("a", "b"), preprocessing=PREPROCESSING)
    found = classifier.explain(pictures(1)[0], stage=3)
    assert (found.stage, found.cells, found.map.shape) == (3, (3, 3), (30, 50))
    assert classifier.embed(pictures(2)).shape == (2, 64)


def test_sets_and_decisions_come_from_the_bundle():
    table = [[0.3, 0.5, 0.9], [0.2, 0.4, 0.6, 0.8], [0.7]]
    point = OperatingPoint(sensitivity=0.5, thresholds={"neither": 0.2})
    fitted = ClassificationPostProcessing(true_probabilities=table, coverage=0.75, operating_point=point)
    classifier = Classifier.from_bundle(bundle(postprocessing=fitted.model_dump(mode="json")))
    probabilities = np.array([[0.31, 0.3, 0.39], [0.6, 0.21, 0.19]])
    # Of eight true probabilities the ⌊9 · 0.25⌋ = 2nd smallest: 0.3.
    np.testing.assert_array_equal(classifier.prediction_sets(probabilities), [[1, 1, 1], [1, 0, 0]])
    np.testing.assert_array_equal(classifier.prediction_sets(probabilities, 0.5), [[0, 0, 0], [1, 0, 0]])
    assert classifier.decide(probabilities).tolist() == [2, 0]
    assert classifier.decide(probabilities, classifier.operating_point(0.75, "right")).tolist() == [1, 1]


def test_load_gives_a_classifier(tmp_path):
    one = bundle()
    save_bundle(tmp_path / "model", one.info, one.state, "# tiny")
    classifier = scalefuse.load(tmp_path / "model", batch_size=2)
    assert isinstance(classifier, Classifier)
    assert (classifier.labels, classifier.batch_size) == (LABELS, 2)
    np.testing.assert_allclose(
        classifier.predict(pictures(2)), Classifier.from_bundle(one).predict(pictures(2)), atol=1e-6
    )


def test_intensities_can_be_chosen():
    hounsfield = Image(np.linspace(-1000, 1000, 50 * 40).reshape(50, 40), kind="dicom", unit="HU")
    with pytest.raises(InputError, match="must be chosen"):
        Classifier.from_bundle(bundle()).predict([hounsfield])
    chosen = Classifier.from_bundle(bundle(), intensity="window:0:2000")
    grey = np.linspace(0, 65535, 50 * 40).reshape(50, 40).round().astype(np.uint16)
    np.testing.assert_allclose(
        chosen.predict([hounsfield]), Classifier.from_bundle(bundle()).predict([grey]), atol=1e-4
    )


def spoilt():
    one = bundle()
    one.state["head.weight"][0, 0] = float("nan")
    return one


def fusion():
    return Bundle(
        info=BundleInfo(name="f", task="fusion", network=DILRANConfig(features=8)),
        state={},
        card="",
        source="f",
    )


@pytest.mark.parametrize(
    ("bundles", "message"),
    [
        (fusion, "a bundle for fusion, but classifying"),
        (spoilt, "head.weight hold NaN"),
        (lambda: bundle(labels=("a", "b")), r"names 2 classes \(a, b\), but its network tells 3 apart"),
        (lambda: bundle(labels=()), "names 0 classes"),
        (lambda: bundle(preprocessing={"size": [32, 32], "colour": 1}), "colour"),
        (lambda: bundle(preprocessing={"fit": "pad"}), "size"),
        (lambda: bundle(postprocessing={"temperature": -1}), "temperature"),
        (lambda: bundle(postprocessing={"true_probabilities": [[2.0], [], []]}), r"outside \[0, 1\]"),
        (lambda: bundle(postprocessing={"true_probabilities": [[0.5]]}), "calibration does not fit"),
        (lambda: bundle(postprocessing={"multi_label": True}), "calibration does not fit"),
        (
            lambda: bundle(
                postprocessing={"operating_point": {"sensitivity": 0.9, "thresholds": {"x": 0.1}}}
            ),
            "calibration does not fit",
        ),
        (lambda: [bundle(), bundle(1, labels=("left", "right", "up"))], "its labels"),
        (lambda: [bundle(), bundle(1, preprocessing={"size": [32, 32]})], "its preprocessing differs"),
        (lambda: [bundle(), bundle(1, in_channels=1)], "its in_channels differs"),
    ],
)
def test_bundles_that_are_refused(bundles, message):
    with pytest.raises(BundleError, match=message) as caught:
        Classifier.from_bundle(bundles())
    assert "\n" not in str(caught.value)


class Constant(nn.Module):
    def __init__(self, *values):
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, images):
        return self.values.expand(len(images), -1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda make: make(Constant(1.0)).predict(pictures(1)), BundleError, r"\(1, 2\)"),
        (lambda make: make(Constant(1.0, float("nan"))).predict(pictures(1)), BundleError, "NaN"),
        (lambda make: make(Constant(1.0, 2.0)).predict(pictures(1)[0]), InputError, "put it into a list"),
        # Its rows are no pictures.
        (
            lambda make: make(Constant(1.0, 2.0)).predict(np.zeros((64, 50, 3), np.uint8)),
            InputError,
            "put it into a list",
        ),
        (
            lambda make: make(Constant(1.0, 2.0)).predict([np.zeros((1, 1), np.uint8)]),
            InputError,
            "1×1 pixel",
        ),
        (lambda make: make(Constant(1.0, 2.0)).embed(pictures(1)), InputError, "plain function"),
        (lambda make: make(Constant(1.0, 2.0)).explain(pictures(1)[0]), InputError, "plain function"),
        (lambda make: make([]), InputError, "at least one network"),
        (lambda make: make(Constant(1.0, 2.0), labels=("a", "a")), InputError, "differ from one another"),
        (lambda make: make(Constant(1.0), labels=("a",)), InputError, "at least 2 labels"),
        (lambda make: make(Constant(1.0, 2.0), batch_size=0), InputError, "batch size"),
        (
            lambda make: make(Constant(1.0, 2.0), multi_label=True, postprocessing=FITTED),
            InputError,
            "several",
        ),
    ],
)
def test_bad_input(call, error, message):
    def make(engine, labels=("a", "b"), **options):
        return Classifier(engine, labels=labels, preprocessing=PREPROCESSING, **options)

    with pytest.raises(error, match=message):
        call(make)


FITTED = ClassificationPostProcessing(true_probabilities=((0.5,), (0.5,)))


def test_one_network_too_has_a_temperature():
    def engine(images):
        return torch.tensor([[1.0, 3.0]]).expand(len(images), 2)

    classifier = Classifier(
        engine, labels=("a", "b"), preprocessing=PREPROCESSING, in_channels=1, temperatures=[4.0]
    )
    expected = torch.tensor([[0.25, 0.75]]).softmax(1)
    np.testing.assert_allclose(classifier.predict(pictures(1)), expected, atol=1e-6)


def test_what_explanations_cost_decides_the_engine(monkeypatch):
    jobs = []

    def build_engine(one, *, engine, precision, job, size):
        jobs.append(job)
        return bundle_engine(one, engine="torch", precision="fp32", job=job, size=size)

    monkeypatch.setattr("scalefuse.inference.engines.build.bundle_engine", build_engine)
    Classifier.from_bundle(bundle(), job=Job(100, 0, passes=82))
    assert jobs == [Job(100, 0, passes=82)]
