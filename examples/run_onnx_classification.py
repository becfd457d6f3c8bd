"""Classify a picture with an exported model. Needs onnxruntime, numpy and Pillow, and no ScaleFuse.

    scalefuse export runs/mine/bundle --to onnx -o mine-onnx
    python run_onnx_classification.py mine-onnx picture.png

The graph takes values in [0, 1]: mean, standard deviation and temperature are inside. Research software, not
a medical device.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: no usage reports
import onnxruntime


def read_unit(path, channels):
    """The picture as (C, H, W), values in [0, 1]; grey is repeated, colour becomes luma (BT.601)."""
    with Image.open(path) as opened:
        # A camera notes how it was held; pixels of a palette are indices, those of one bit neither 8 nor 16.
        picture = ImageOps.exif_transpose(opened)
        modes = {"P": "RGB", "PA": "RGB", "1": "L", "CMYK": "RGB", "YCbCr": "RGB"}
        pixels = np.asarray(picture.convert(modes[picture.mode]) if picture.mode in modes else picture)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise SystemExit(f"{path}: expected 8 or 16 bits, but got {pixels.dtype}; choose a range first.")
    if pixels.ndim == 3:
        pixels = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., 0]
    unit = pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
    if unit.ndim == 3 and channels == 1:
        unit = unit @ np.array([0.299, 0.587, 0.114], np.float32)
    return unit.transpose(2, 0, 1) if unit.ndim == 3 else np.repeat(unit[None], channels, axis=0)


def resized(image, size):
    """Bilinear, with antialiasing where it shrinks; channel by channel in floating point."""
    channels = [
        np.asarray(Image.fromarray(channel).resize(size[::-1], Image.Resampling.BILINEAR))
        for channel in image
    ]
    return np.clip(np.stack(channels), 0, 1)


def fitted(image, size, fit):
    """The picture at the size of the input: stretched, padded with black, or cut from the middle."""
    sides = image.shape[1:]
    if fit == "resize":
        return resized(image, size)
    if fit == "pad":
        factor = min(size[0] / sides[0], size[1] / sides[1])
        scaled = resized(image, [max(1, round(side * factor)) for side in sides])
        missing = [side - have for side, have in zip(size, scaled.shape[1:], strict=True)]
        return np.pad(scaled, [(0, 0), *((one // 2, one - one // 2) for one in missing)])
    factor = max(size[0] / sides[0], size[1] / sides[1]) * 8 / 7
    scaled = resized(image, [max(to, round(side * factor)) for to, side in zip(size, sides, strict=True)])
    top, left = ((have - side) // 2 for side, have in zip(size, scaled.shape[1:], strict=True))
    return scaled[:, top : top + size[0], left : left + size[1]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path, help="folder written by `scalefuse export`")
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()

    record = json.loads((arguments.export / "export.json").read_text(encoding="utf-8"))
    if record["preprocessing"].get("intensity") is not None:
        raise SystemExit(
            f"The model takes {record['preprocessing']['intensity']} for black to white, which this example "
            "does not do; bring pictures to that range before, or use `scalefuse predict`."
        )
    graph = record["graphs"][0]
    session = onnxruntime.InferenceSession(
        arguments.export / graph["file"], providers=["CPUExecutionProvider"]
    )
    batch, channels, *size = graph["inputs"][0]["shape"]
    image = fitted(read_unit(arguments.picture, channels), size, record["preprocessing"]["fit"])
    # A graph may be fixed to a number of images: then the picture is given so many times.
    images = np.repeat(image[None], batch if isinstance(batch, int) else 1, axis=0)
    (probability,) = session.run(["probability"], {"image": images})
    labels = record["labels"] or [str(index) for index in range(probability.shape[1])]
    for label, value in zip(labels, probability[0], strict=True):
        print(f"{label}\t{value:.6f}")


if __name__ == "__main__":
    main()
