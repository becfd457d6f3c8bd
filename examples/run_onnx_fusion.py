"""Fuse two registered pictures with an exported model. Needs onnxruntime, numpy and Pillow, and no ScaleFuse.

    scalefuse export dilran --to onnx -o dilran-onnx
    python run_onnx_fusion.py dilran-onnx ct.png mri.png fused.png

The graphs encode and decode; what joins the features of the two pictures stands here, in numpy. Research
software, not a medical device.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image


def read_grey(path):
    """The picture as (H, W), values in [0, 1]; colour becomes luma (BT.601)."""
    with Image.open(path) as picture:
        # Pixels of a palette are indices.
        pixels = np.asarray(picture.convert("RGB") if picture.mode == "P" else picture)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise SystemExit(f"{path}: expected 8 or 16 bits, but got {pixels.dtype}; choose a range first.")
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


def local_energy_ratio(first, second):
    """Weights from the energy of the features around each pixel, as ScaleFuse's default strategy."""
    energies = []
    for features in (first, second):
        cells = mean_of_cells((features[0] ** 2).mean(axis=0), side=4, stride=4, padding=0)
        cells = mean_of_cells(cells, side=3, stride=1, padding=1)
        energies.append(enlarged(cells, 4, features.shape[2:]))
    top = np.maximum(*energies)
    one, two = ((energy / np.where(top > 0, top, 1)) ** 2 for energy in energies)
    share = np.where(top > 0, one / np.maximum(one + two, 1e-12), 0.5)
    return second + (first - second) * share.astype(np.float32)


STRATEGIES = {
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
    strategy = STRATEGIES[record["strategy"] or "local_energy_ratio"]
    encoder, decoder = (
        onnxruntime.InferenceSession(arguments.export / graph["file"], providers=["CPUExecutionProvider"])
        for graph in record["graphs"]
    )
    first, second = read_grey(arguments.first), read_grey(arguments.second)
    if first.shape != second.shape:
        raise SystemExit(f"The sizes {first.shape} and {second.shape} differ; resample one onto the other.")
    features = [encoder.run(["features"], {"image": image[None, None]})[0] for image in (first, second)]
    (fused,) = decoder.run(["fused"], {"features": strategy(*features)})
    Image.fromarray(np.rint(fused[0, 0] * 255).astype(np.uint8)).save(arguments.fused)
    print(f"fused by {record['strategy']}: {arguments.fused}")


if __name__ == "__main__":
    main()
