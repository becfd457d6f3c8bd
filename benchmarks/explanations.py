"""Do maps of explanations mark what a classifier uses? What it loses when the marked fifth is blurred.

``python -m benchmarks.explanations hifuse-pneumoniamnist pneumoniamnist.npz --split val`` explains each
picture's most probable class by Grad-CAM and by occlusion, blurs the fifth of its pixels that the map marks
most, and prints the mean fall of the class's log odds; beside them the same number of pixels in squares drawn
at random, and of the pixels nearest to the centre. A map that falls no further than these explains nothing.
Occlusion covers parts by their mean and is judged by blurring, but both take parts away: it has an advantage
over gradients here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from scipy import ndimage

from scalefuse.bundle import load_bundle
from scalefuse.data.classification import read_classification
from scalefuse.data.image import Image
from scalefuse.inference.classifier import Classifier
from scalefuse.inference.occlusion import CELLS, log_odds
from scalefuse.report.tables import markdown_table

SHARE = 0.2


def fall(classifier: Classifier, image: Image, marked: np.ndarray, class_index: int) -> float:
    """How far the class's log odds fall when the most marked fifth of the pixels is blurred."""
    pixels = image.pixels.astype(np.float32)
    sigma = max(image.size) / 6
    blurred = ndimage.gaussian_filter(pixels, (sigma, sigma, 0)[: pixels.ndim])
    chosen = marked >= np.quantile(marked, 1 - SHARE)
    if pixels.ndim == 3:
        chosen = chosen[..., None]
    changed = np.where(chosen, blurred, pixels).round().astype(image.pixels.dtype)
    logits = torch.from_numpy(classifier.logits([image, Image(changed, source=image.source)]))
    before, after = log_odds(logits, class_index, multi_label=classifier.multi_label).tolist()
    return float(before - after)


def maps(
    classifier: Classifier, image: Image, generator: np.random.Generator
) -> Iterator[tuple[str, np.ndarray, int]]:
    """What each method marks in one picture, and the class that it explains."""
    height, width = image.size
    found = classifier.explain(image)
    yield "Grad-CAM-like", found.map, found.class_index
    yield "occlusion", classifier.explain(image, method="occlusion").map, found.class_index
    squares = generator.random((CELLS, CELLS))
    rows, columns = np.arange(height) * CELLS // height, np.arange(width) * CELLS // width
    # A little of the pixel's place, that no two pixels tie.
    grid = np.arange(height * width).reshape(height, width) * 1e-9
    yield "random squares", squares[rows][:, columns] + grid, found.class_index
    vertical, horizontal = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    yield "the centre", grid - np.hypot(vertical[:, None], horizontal), found.class_index


def main(arguments: list[str] | None = None) -> int:
    """Measure one bundle on one data set and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", help="a classifier: a shipped name, a folder or a zip file")
    parser.add_argument("data", help="class folders, a CSV file or a MedMNIST file")
    parser.add_argument("--split", default="val", help="part of the data (val)")
    parser.add_argument("--number", type=int, default=100, help="pictures at most (100)")
    options = parser.parse_args(arguments)
    classifier = Classifier.from_bundle(load_bundle(options.bundle))
    cases = [
        case for case in read_classification(options.data, strict=False).cases if case.split == options.split
    ]
    falls: dict[str, list[float]] = {}
    generator = np.random.default_rng(0)
    chosen = cases[:: max(1, len(cases) // options.number)][: options.number]
    for case in chosen:
        image = case.read()
        for name, marked, class_index in maps(classifier, image, generator):
            falls.setdefault(name, []).append(fall(classifier, image, marked, class_index))
    rows = [
        [name, f"{np.mean(one):.2f}", f"{np.std(one) / len(one) ** 0.5:.2f}"] for name, one in falls.items()
    ]
    print(f"{classifier.labels}, {len(chosen)} pictures")
    print(markdown_table(["marked by", "mean fall of the log odds", "standard error"], rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
