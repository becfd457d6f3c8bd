"""Fuse two registered pictures with an exported model. Needs onnxruntime, numpy and Pillow, and no ScaleFuse.

    scalefuse export dilran --to onnx -o dilran-onnx
    python run_onnx_fusion.py dilran-onnx ct.png mri.png fused.png

The graphs encode and decode; what joins the features of the two pictures stands here, in numpy. Research
software, not a medical device.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: no usage reports
import onnxruntime


def read_grey(path):
    """The picture as (H, W), values in [0, 1]; colour becomes luma (BT.601)."""
    with Image.open(path) as opened:
        # A camera notes how it was held; pixels of a palette are indices, those of one bit neither 8 nor 16.
        picture = ImageOps.exif_transpose(opened)
        modes = {"P": "RGB", "PA": "RGB", "1": "L", "CMYK": "RGB", "YCbCr": "RGB"}
        pixels = np.asarray(picture.convert(modes[picture.mode]) if picture.mode in modes else picture)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise SystemExit(f"{path}: expected 8 or 16 bits, but got {pixels.dtype}; choose a range first.")
    if pixels.ndim == 3 and pixels.shape[2] == 2:  # grey with alpha
        pixels = pixels[..., 0]
    unit = pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
    return unit[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32) if unit.ndim == 3 else unit


def mean_of_cells(values, side, stride, padding):
    """Means of the pixels that exist in each square of a grid."""
    height, width = values.shape
    rows, columns = (-(-(length + 2 * padding - side) // stride) + 1 for length in (height, width))
    below, right = ((count - 1) * stride + side for count in (rows, columns))
    total, number = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    for source, sums in ((values, total), (np.ones_like(values), number)):
        padded = np.zeros((below, right), np.float32)
        padded[padding : padding + height, padding : padding + width] = source
        for row in range(side):
            for column in range(side):
                sums += padded[row::stride, column::stride][:rows, :columns]
    return total / number


def enlarged(cells, factor, size):
    """Bilinear between the centres of the cells, along one axis after the other."""
    for axis in (0, 1):
        place = np.clip((np.arange(cells.shape[axis] * factor) + 0.5) / factor - 0.5, 0, None)
        lower = np.minimum(place.astype(int), cells.shape[axis] - 1)
        upper = np.minimum(lower + 1, cells.shape[axis] - 1)
        part = np.expand_dims((place - lower).astype(np.float32), 1 - axis)
        cells = np.take(cells, lower, axis) * (1 - part) + np.take(cells, upper, axis) * part
    return cells[: size[0], : size[1]]


def smoothed(values, factor):
    """Means of cells, meaned with their neighbours, drawn at full size."""
    cells = mean_of_cells(values, side=factor, stride=factor, padding=0)
    return enlarged(mean_of_cells(cells, side=3, stride=1, padding=1), factor, values.shape)


def energies(features):
    """Mean over the channels of the squared gradients and of the squared features, as (2, H, W)."""
    down, right = (np.diff(features[0], axis=axis) ** 2 for axis in (1, 2))
    gradient = np.zeros(features.shape[2:], np.float32)
    for rows in (slice(None, -1), slice(1, None)):
        gradient[rows] += down.mean(axis=0)
        gradient[:, rows] += right.mean(axis=0)
    return np.stack([gradient, (features[0] ** 2).mean(axis=0)])


# Of each band (detail, structures, base): exponents of gradient energy, energy and brightness over cells of
# 2, 4, 8 and 16 pixels; and how much of the weaker picture is added where the choice is firm.
EXPONENTS = np.array(
    [
        [[1.12, 1.70, 1.82], [1.65, 0.80, 1.10], [0.21, 0.28, -0.08], [1.10, 1.04, 0.80]],
        [[0.26, 0.69, 1.21], [0.53, 0.71, 1.41], [2.24, 1.46, 1.21], [0.36, 0.77, 0.68]],
        [[0.19, 0.76, 0.81], [0.68, 0.79, 0.85], [1.03, 2.59, 0.40], [1.21, 0.72, 0.46]],
    ]
)
LIFT = (0.163, 0.215, 0.113)


def guided_bands(first, second, first_features, second_features):
    """Pictures joined band by band, the features saying how much of which: ScaleFuse's default strategy."""
    evidence = [energies(features) for features in (first_features, second_features)]
    floor = 1e-3 * (evidence[0] + evidence[1]).mean(axis=(1, 2), keepdims=True) + 1e-30
    cells = [
        np.concatenate([energy + floor, picture[None] + 0.01])
        for energy, picture in zip(evidence, (first, second), strict=True)
    ]
    logits = np.zeros((3, *first.shape), np.float32)
    for place, factor in enumerate((2, 4, 8, 16)):
        cells = [
            np.stack([mean_of_cells(one, side=2, stride=2, padding=0) for one in side]) for side in cells
        ]
        one, two = (
            np.log(np.stack([mean_of_cells(part, side=3, stride=1, padding=1) for part in side]))
            for side in cells
        )
        ratios = np.tensordot(EXPONENTS[:, place], one - two, axes=1).astype(np.float32)
        logits += np.stack([enlarged(ratio, factor, first.shape) for ratio in ratios])
    fused = np.zeros_like(first)
    for band, factor in enumerate((3, 8, None)):
        smooth = [None, None] if factor is None else [smoothed(one, factor) for one in (first, second)]
        parts = [first, second] if factor is None else [first - smooth[0], second - smooth[1]]
        share = 1 / (1 + np.exp(-logits[band].clip(-80, 80)))
        chosen, weaker = (w * parts[0] + (1 - w) * parts[1] for w in (share, 1 - share))
        fused += chosen + LIFT[band] * np.abs(2 * share - 1) * weaker
        first, second = smooth
    return fused.clip(0, 1)


def local_energy_ratio(first, second):
    """Weights from the energy of the features around each pixel."""
    energy_maps = []
    for features in (first, second):
        cells = mean_of_cells((features[0] ** 2).mean(axis=0), side=4, stride=4, padding=0)
        cells = mean_of_cells(cells, side=3, stride=1, padding=1)
        energy_maps.append(enlarged(cells, 4, features.shape[2:]))
    top = np.maximum(*energy_maps)
    one, two = ((energy / np.where(top > 0, top, 1)) ** 2 for energy in energy_maps)
    share = np.where(top > 0, one / np.maximum(one + two, 1e-12), 0.5)
    return second + (first - second) * share.astype(np.float32)


FEATURE_STRATEGIES = {
    "local_energy_ratio": local_energy_ratio,
    "average": lambda first, second: (first + second) / 2,
    "maximum": np.maximum,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path, help="folder written by `scalefuse export`")
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("fused", type=Path, help="PNG to write")
    arguments = parser.parse_args()

    record = json.loads((arguments.export / "export.json").read_text(encoding="utf-8"))
    strategy = record["strategy"] or "guided_bands"
    if strategy not in ("guided_bands", *FEATURE_STRATEGIES):
        raise SystemExit(f"The strategy {strategy!r} is not among those of this example; add it.")
    encoder, decoder = (
        onnxruntime.InferenceSession(arguments.export / graph["file"], providers=["CPUExecutionProvider"])
        for graph in record["graphs"]
    )
    first, second = read_grey(arguments.first), read_grey(arguments.second)
    if first.shape != second.shape:
        raise SystemExit(f"The sizes {first.shape} and {second.shape} differ; resample one onto the other.")
    # A graph may be fixed to a number of images: then the picture is given so many times.
    batch, _, *size = record["graphs"][0]["inputs"][0]["shape"]
    if any(isinstance(side, int) and side != found for side, found in zip(size, first.shape, strict=True)):
        raise SystemExit(f"This export takes pictures of {size[0]}×{size[1]} only; got {first.shape}.")
    copies = batch if isinstance(batch, int) else 1
    inputs = [np.repeat(image[None, None], copies, axis=0) for image in (first, second)]
    features = [encoder.run(["features"], {"image": image})[0] for image in inputs]
    if strategy == "guided_bands":
        fused = guided_bands(first, second, *features)
    else:
        joined = FEATURE_STRATEGIES[strategy](*features)
        fused = decoder.run(["fused"], {"features": joined})[0][0, 0]
    Image.fromarray(np.rint(fused * 255).astype(np.uint8)).save(arguments.fused)
    print(f"fused by {strategy}: {arguments.fused}")


if __name__ == "__main__":
    main()
