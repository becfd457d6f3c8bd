"""Words for skin lesions, to train a classifier on before it learns diagnoses. Needs numpy, SciPy and Pillow.

    python lesion_attributes.py isic2017/ -o lesion-attributes.csv
    scalefuse train hifuse_lesion_attributes
    scalefuse train hifuse_melanoma

The folder holds `labels.csv` (path, label, split, and if known age and sex) and, beside the `images/` that it
names, `masks/` of the same stems. Every image gets the words that hold for it: whether a number measured in
its mask and colours (after dermatologists' ABCD rule: asymmetry, border, colour, diameter) lies above the
training images' median or another quantile, whether the patient is above 50 or male, and its own diagnosis.
A few hundred melanomas alone teach a network little; twenty words an image teach it where to look. Research
software, not a medical device.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

SIDE = 128  # pixels at which all is measured
# The number that a word is about, and the percentage of training images that lie below its threshold.
WORDS = {
    "large": ("area", 50),
    "very_large": ("area", 80),
    "uneven_border": ("border", 50),
    "round": ("roundness", 50),
    "asymmetric": ("asymmetry", 50),
    "asymmetric_colour": ("colour_asymmetry", 50),
    "bright": ("brightness", 50),
    "many_colours": ("colours", 50),
    "very_many_colours": ("colours", 80),
    "hue_varies": ("hue_deviation", 50),
    "saturated": ("saturation", 50),
    "contrast_to_skin": ("contrast", 50),
    "textured": ("texture", 50),
    "red": ("redness", 50),
    "bluish": ("blueness", 70),
    "dark_parts": ("darkness", 50),
    "pale_skin": ("skin", 50),
}


def measure(picture: Image.Image, mask: Image.Image) -> dict[str, float]:
    """Numbers of one lesion: lengths in pixels of `SIDE`, colours in [0, 1]."""
    small = picture.convert("RGB").resize((SIDE, SIDE))
    colours = np.asarray(small, float) / 255
    inside = np.asarray(mask.convert("L").resize((SIDE, SIDE), Image.Resampling.NEAREST)) > 0
    if inside.sum() < 20:  # no lesion to speak of: the whole picture
        inside = np.ones_like(inside)
    outside = ~inside if (~inside).sum() > 20 else inside
    lesion, skin = colours[inside], colours[outside]
    places = np.argwhere(inside)
    centre = places.mean(axis=0)
    short, long = np.linalg.eigvalsh(np.cov((places - centre).T))
    shift = (SIDE - 1) / 2 - centre
    centred = ndimage.shift(inside.astype(float), shift, order=0) > 0.5
    turned = (centred[::-1], centred[:, ::-1], centred[::-1, ::-1])
    grey = colours.mean(axis=2)
    centred_grey = ndimage.shift(grey * inside, shift, order=1)
    hue, saturation, value = (np.asarray(small.convert("HSV"), float)[inside] / 255).T
    return {
        "area": inside.mean(),
        "border": (inside ^ ndimage.binary_erosion(inside)).sum() ** 2 / inside.sum(),
        "roundness": short / long,
        "asymmetry": sum((centred ^ other).sum() / centred.sum() for other in turned),
        "colour_asymmetry": np.abs(centred_grey - centred_grey[::-1, ::-1]).sum() / inside.sum(),
        "brightness": value.mean(),
        "colours": lesion.std(axis=0).sum(),
        "hue_deviation": hue.std(),
        "saturation": saturation.mean(),
        "contrast": (skin.mean(axis=0) - lesion.mean(axis=0)).sum(),
        "texture": (grey - ndimage.gaussian_filter(grey, 2))[inside].std(),
        "redness": (lesion[:, 0] - lesion[:, 1]).mean(),
        "blueness": (lesion[:, 2] > 0.95 * lesion[:, 0]).mean(),
        "darkness": -np.percentile(lesion.mean(axis=1), 5),
        "skin": skin.mean(axis=0).sum(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Words for skin lesions, as a multi-label CSV file.")
    parser.add_argument("folder", type=Path, help="holds labels.csv, images and masks")
    parser.add_argument("-o", "--output", type=Path, default=Path("lesion-attributes.csv"))
    parser.add_argument("--positive", default="melanoma", help="the label that becomes a word too")
    options = parser.parse_args()
    with (options.folder / "labels.csv").open(newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    numbers = []
    for row in rows:
        path = options.folder / row["path"]
        masks = sorted(path.parent.with_name("masks").glob(f"{path.stem}.*"))
        if not masks:
            raise SystemExit(f"{path}: expected a mask of this stem in {path.parent.with_name('masks')}.")
        with Image.open(path) as picture, Image.open(masks[0]) as mask:
            numbers.append(measure(picture, mask))
    training = [number for number, row in zip(numbers, rows, strict=True) if row["split"] == "train"]
    if not training:
        raise SystemExit(f"{options.folder / 'labels.csv'}: expected rows whose split is train.")
    limits = {
        word: np.percentile([number[key] for number in training], percentage)
        for word, (key, percentage) in WORDS.items()
    }
    with options.output.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["path", "label", "split"])
        for row, number in zip(rows, numbers, strict=True):
            words = [word for word, (key, _) in WORDS.items() if number[key] > limits[word]]
            age = row.get("age") or ""
            words += ["above_50"] * (age.replace(".", "", 1).isdigit() and float(age) > 50)
            words += ["male"] * (row.get("sex") == "male")
            words += [options.positive] * (row["label"] == options.positive)
            writer.writerow([(options.folder / row["path"]).resolve(), ";".join(words), row["split"]])
    print(f"{len(rows)} images, {len(training)} of them for training: {options.output}")


if __name__ == "__main__":
    main()
