"""Segment a picture with an exported model. Needs onnxruntime, numpy and Pillow, and no ScaleFuse.

    scalefuse export msrf-net-nuclei --to onnx -o nuclei-onnx
    python run_onnx_segmentation.py nuclei-onnx picture.png mask.png

The mask holds 0 and 255, or class indices. Small objects and holes stay as they are: `postprocessing` in
export.json says what ScaleFuse would clean. Research software, not a medical device.
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
    """The picture as (1, C, H, W), values in [0, 1]; grey is repeated, colour becomes luma (BT.601)."""
    with Image.open(path) as opened:
        # A camera notes how it was held; pixels of a palette are indices, those of one bit neither 8 nor 16.
        picture = ImageOps.exif_transpose(opened)
        modes = {"P": "RGB", "PA": "RGB", "1": "L", "CMYK": "RGB", "YCbCr": "RGB"}
        pixels = np.asarray(picture.convert(modes[picture.mode]) if picture.mode in modes else picture)
    if pixels.ndim == 3:
        pixels = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., 0]
    if pixels.dtype not in (np.uint8, np.uint16):
        raise SystemExit(f"{path}: expected 8 or 16 bits, but got {pixels.dtype}; choose a range first.")
    unit = pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
    if unit.ndim == 3 and channels == 1:
        unit = unit @ np.array([0.299, 0.587, 0.114], np.float32)
    unit = unit.transpose(2, 0, 1) if unit.ndim == 3 else np.repeat(unit[None], channels, axis=0)
    return unit[None]


def resized(channels, size):
    """Channels (C, H, W) at another size; bilinear, with antialiasing where it shrinks."""
    scaled = [
        np.asarray(Image.fromarray(channel).resize(size[::-1], Image.Resampling.BILINEAR))
        for channel in channels
    ]
    return np.clip(np.stack(scaled), 0, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path, help="folder written by `scalefuse export`")
    parser.add_argument("picture", type=Path)
    parser.add_argument("mask", type=Path, help="PNG to write")
    parser.add_argument("--probability", type=Path, help="also write the probabilities, .npy (K, H, W)")
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
    batch, channels, *sides = graph["inputs"][0]["shape"]
    if any(isinstance(side, int) for side in sides):
        raise SystemExit("This export has a fixed size: resize the picture to it, and the mask back.")

    image = read_unit(arguments.picture, channels)
    source = image.shape[2:]
    # A network that was trained on whole pictures of one size sees no others.
    resize = record["preprocessing"].get("resize")
    if resize is not None:
        image = resized(image[0], resize)[None]
    height, width = image.shape[2:]
    # The network takes multiples of this only: mirror the picture at its lower and right edge, crop later.
    multiple = graph["dynamic_axes"]["height"]["multiple_of"]
    padding = ((0, 0), (0, 0), (0, -height % multiple), (0, -width % multiple))
    image = np.pad(image, padding, mode="reflect" if resize is None else "edge")
    # A graph may be fixed to a number of images: then the picture is given so many times.
    image = np.repeat(image, batch if isinstance(batch, int) else 1, axis=0)
    (probability,) = session.run(["probability"], {"image": image})
    probability = probability[0, :, :height, :width]
    if resize is not None:
        probability = resized(probability, source)

    if record["multi_label"]:
        raise SystemExit("Several labels may hold at once: write one mask per channel of `probability`.")
    if len(probability) == 1:
        threshold = (record["postprocessing"] or {}).get("threshold", 0.5)
        mask = (probability[0] >= threshold).astype(np.uint8) * 255
    else:
        mask = probability.argmax(axis=0).astype(np.uint8)
    Image.fromarray(mask).save(arguments.mask)
    if arguments.probability:
        np.save(arguments.probability, probability)
    print(f"{(mask > 0).mean():.1%} of the pixels are not background: {arguments.mask}")


if __name__ == "__main__":
    main()
