"""Plots and page of a classification."""

import numpy as np
import pytest

from scalefuse.evaluation.classification import evaluate_classification
from scalefuse.evaluation.classification_promises import measure_operating_point, measure_sets
from scalefuse.inference.operating_point import OperatingPoint
from scalefuse.report.classification_plots import (
    classification_figures,
    confusion_figure,
    figure_pixels,
)
from scalefuse.report.classification_report import write_classification_report
from scalefuse.report.curves import calibration_figure
from scalefuse.report.html import Figure
from scalefuse.report.thumbnails import thumbnail

CLASSES = ["normal", "cost $5 | a_b", "<i>lesion</i>"]


@pytest.fixture(scope="module")
def evaluation():
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 3, 60)
    weights = generator.random((60, 3)) + np.eye(3)[targets]
    return evaluate_classification(weights / weights.sum(1, keepdims=True), targets, CLASSES)


def test_curves_run_through_the_points_of_the_cases(evaluation):
    figures = classification_figures(evaluation, evaluation.summary(num_resamples=2))
    roc = figures["roc"].axes[0].lines[1:]
    assert len(roc) == 3
    for index, line in enumerate(roc):
        false, true = line.get_data()
        area = np.trapezoid(true, false)
        entry = evaluation.summary(num_resamples=2)["per_class"][CLASSES[index]]["auroc"]
        assert area == pytest.approx(entry["value"])
        assert f"{area:.3f}" in line.get_label()
    steps = [line for line in figures["precision-recall"].axes[0].lines if len(line.get_xdata()) > 2]
    for index, line in enumerate(steps):
        recall, precision = line.get_data()
        area = -np.sum(np.diff(recall) * precision[:-1])
        assert area == pytest.approx(
            evaluation.summary(num_resamples=2)["per_class"][CLASSES[index]]["auprc"]["value"]
        )


def test_the_matrix_shows_every_count(evaluation):
    axis = confusion_figure(evaluation.confusion, CLASSES).axes[0]
    shown = np.array([int(text.get_text()) for text in axis.texts]).reshape(3, 3)
    np.testing.assert_array_equal(shown, evaluation.confusion)
    assert axis.get_xlabel() == "predicted"
    many = confusion_figure(np.ones((40, 40), int), [str(i) for i in range(40)])
    assert not many.axes[0].texts


def test_classes_without_a_curve_are_left_out():
    only = evaluate_classification(np.tile([0.8, 0.2], (4, 1)), np.zeros(4, int), ["no", "yes"])
    assert set(classification_figures(only, only.summary(num_resamples=2))) == {"confusion", "reliability"}
    labels = evaluate_classification(
        np.full((4, 3), 0.4), np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0]]), "abc", multi_label=True
    )
    figures = classification_figures(labels, labels.summary(num_resamples=2))
    assert len(figures["roc"].axes[0].lines) == 1 + 2
    assert len(figures["confusion"].axes) == 3


def test_plots_are_pictures(evaluation):
    for figure in classification_figures(evaluation, evaluation.summary(num_resamples=2)).values():
        pixels = figure_pixels(figure)
        assert min(pixels.shape[:2]) > 200
        # Not a blank page.
        assert np.unique(pixels.reshape(-1, 3), axis=0).shape[0] > 10


def test_the_page_holds_everything_and_needs_nothing(evaluation, tmp_path):
    point = OperatingPoint(sensitivity=0.9, thresholds={"normal": 0.25})
    sets = np.ones((60, 3), bool)
    summary = {
        "source": "data.csv", "split": "test", "decision": "the most probable class",
        **evaluation.summary(num_resamples=20),
        "prediction_sets": measure_sets(sets, evaluation.indicators, CLASSES, 0.9),
        "operating_points": [
            {"origin": "asked for"}
            | measure_operating_point(evaluation.probabilities, evaluation.indicators, CLASSES, point)
        ],
    }  # fmt: skip
    write_classification_report(
        tmp_path / "report.html",
        summary,
        {name: figure_pixels(figure) for name, figure in classification_figures(evaluation, summary).items()},
        title="A & B",
        cases=[Figure("case <7>", thumbnail(np.zeros((300, 100), np.uint8)))],
        cases_title="Most confident errors",
    )
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for said in (
        "A &amp; B", "case &lt;7&gt;", "Most confident errors", "Prediction sets", "sensitivity of 0.9",
        "asked for", "Mean size 3.00", "3: 60", "&lt;i&gt;lesion&lt;/i&gt;", "cost $5 ∣ a_b",
        "the most probable class", "not a medical device",
    ):  # fmt: skip
        assert said in page, said
    assert page.count("data:image/png;base64,") == 5
    assert "http" not in page
    assert f"{summary['overall']['accuracy']['value']:.3f}" in page


def test_thumbnails_keep_their_shape():
    assert thumbnail(np.zeros((300, 100), np.uint8)).shape == (160, 53, 3)
    small = thumbnail(np.arange(12, dtype=np.uint8).reshape(3, 4))
    np.testing.assert_array_equal(small[..., 1], np.arange(12).reshape(3, 4))
    deep = thumbnail(np.linspace(0, 4000, 10000).reshape(100, 100).astype(np.uint16))
    assert (deep.min(), deep.max()) == (0, 255)


def test_names_are_drawn_to_the_letter():
    """Not as formulas, and not left out of legends."""
    names = ["_under", "a$x^$", "plain"]
    generator = np.random.default_rng(1)
    found = evaluate_classification(generator.dirichlet(np.ones(3), 40), generator.integers(0, 3, 40), names)
    figures = classification_figures(found, found.summary(num_resamples=2))
    curve = {"predicted": [0.2, 0.8], "observed": [0.1, 0.9], "expected_calibration_error": 0.1}
    figures["reliability"] = calibration_figure(dict.fromkeys(names, curve))
    for name in ("roc", "precision-recall", "reliability"):
        figures[name].canvas.draw()
        said = [text.get_text() for text in figures[name].axes[0].get_legend().get_texts()][-3:]
        starts = [" _under (", r"a\$x^\$ (", "plain ("]
        assert all(text.startswith(start) for text, start in zip(said, starts, strict=True))


def test_curves_that_are_left_out_are_told():
    names = [f"class {number}" for number in range(26)]
    generator = np.random.default_rng(1)
    targets = np.arange(104) % 26
    found = evaluate_classification(generator.dirichlet(np.ones(26), 104), targets, names)
    figures = classification_figures(found, found.summary(num_resamples=2))
    for name in ("roc", "precision-recall"):
        legend = figures[name].axes[0].get_legend()
        assert len(legend.get_texts()) == 20
        assert legend.get_title().get_text().startswith("first 20 of 26 classes")
