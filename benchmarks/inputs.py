"""What the benchmarks compute on: real pictures where ``SCALEFUSE_DATA`` has them, drawn ones elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.figures import data_folder
from benchmarks.memory import SHIPPED, draw_cells, full_width_bundle
from scalefuse.bundle import SHIPPED as SHIPPED_FOLDER
from scalefuse.bundle import Bundle, BundleInfo, load_bundle, save_bundle
from scalefuse.data.classification_input import ClassificationPreprocessing, prepare, standardise
from scalefuse.data.phantom import head_phantom
from scalefuse.data.read import list_images, read_image

SAMPLES = SHIPPED_FOLDER.parent / "samples"


@dataclass(frozen=True)
class Inputs:
    """Network inputs, one ``(1, C, H, W)`` in [0, 1] per picture, and where they come from."""

    source: str
    tensors: list[Any]


def pairs(count: int, side: int) -> Inputs:
    """CT and MR slices, each ``(1, 1, side, side)``."""
    folder = (data_folder() or Path()) / "aanlib-ct-mri" / "val"
    if (folder / "CT").is_dir():
        files = _some(list_images(folder / "CT"), count)
        found = [
            tuple(_read(folder / modality / file.name, side)[:, :1] for modality in ("CT", "MRI"))
            for file in files
        ]
        return Inputs("CT/MR slices of validation subjects (Whole Brain Atlas)", found)
    found = []
    for seed in range(count):
        ct, mri = head_phantom(max(side, 32), seed)
        both = (((ct + 200) / 1500).clip(0, 1), mri)
        found.append(tuple(torch.from_numpy(one)[None, None, :side, :side].contiguous() for one in both))
    return Inputs("drawn heads", found)


def cells(count: int, side: int) -> Inputs:
    """Microscopy pictures with nuclei, each ``(1, 3, side, side)``."""
    folder = (data_folder() or Path()) / "dsb2018" / "val" / "images"
    if folder.is_dir():
        files = _some(list_images(folder), count)
        return Inputs("nuclei of the validation split (DSB 2018)", [_read(file, side) for file in files])
    found = [_unit(draw_cells(side, seed)) for seed in range(count)]
    return Inputs("drawn cells", found)


def slices(count: int, side: int) -> Inputs:
    """Pictures to classify, each ``(1, 3, side, side)``, standardised to [-1, 1]."""
    folder = (data_folder() or Path()) / "covid-ct"
    if folder.is_dir():
        parts = sorted(part for split in folder.iterdir() for part in split.iterdir())
        files = [file for part in parts for file in list_images(part)]
        found = [_read(file, side) for file in _some(files, count)]
        return Inputs("lung CT slices (COVID-CT)", [2 * image - 1 for image in found])
    found = [_unit(draw_cells(side, seed)) for seed in range(count)]
    return Inputs("drawn cells", [2 * image - 1 for image in found])


def x_rays(count: int, bundle: Bundle) -> Inputs:
    """Chest x-rays, each as the shipped classifier takes it; else those of the package."""
    preprocessing = ClassificationPreprocessing.model_validate(bundle.info.preprocessing)
    channels: int = bundle.info.network.in_channels  # type: ignore[union-attr]
    file = (data_folder() or Path()) / "medmnist" / "pneumoniamnist_train_val.npz"
    if file.is_file():
        with np.load(file, allow_pickle=False) as arrays:
            found = arrays["val_images"]
        pictures = [found[index * len(found) // count] for index in range(min(count, len(found)))]
        source = "validation split of PneumoniaMNIST"
    else:
        folders = (SAMPLES / "chest-x-rays" / name for name in ("normal", "pneumonia"))
        pictures = [read_image(one).pixels for folder in folders for one in list_images(folder)][:count]
        source = "chest x-rays of the package"
    prepared = (standardise(prepare(one, preprocessing, channels), preprocessing) for one in pictures)
    return Inputs(source, [tensor[None] for tensor in prepared])


def hifuse_bundle(folder: Path, named: str | None = None, embed_dim: int = 96) -> tuple[Bundle, str]:
    """A HiFuse-Tiny bundle and what its weights are: the one named, a shipped one, or seeded random ones."""
    if named is not None:
        return load_bundle(named), f"weights of {Path(named).name}"
    for path in sorted(SHIPPED_FOLDER.iterdir()):
        bundle = load_bundle(path) if path.is_dir() else None
        network: Any = bundle and bundle.info.network
        if (
            bundle
            and network.name == "hifuse"
            and (network.embed_dim, network.depths) == (embed_dim, (2, 2, 2, 2))
        ):
            return bundle, f"weights of {path.name}"
    from scalefuse.networks.hifuse.spec import HiFuseConfig, build

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    config = HiFuseConfig(num_classes=2, embed_dim=embed_dim)
    info = BundleInfo(
        name="hifuse-random",
        task="classification",
        network=config,
        labels=("first", "second"),
        preprocessing={"size": (224, 224)},
    )
    path = save_bundle(folder / "hifuse-random", info, build(config).state_dict(), "# random weights\n")
    return load_bundle(path), "random weights"


def msrf_bundles(folder: Path) -> dict[str, Bundle]:
    """MSRF-Net as published, with random weights, and the shipped trained one of half its width."""
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "full width, random weights": load_bundle(full_width_bundle(folder)),
        f"{SHIPPED}, half width": load_bundle(SHIPPED),
    }


def _some(files: list[Path], count: int) -> list[Path]:
    """Spread over the whole list, so that neighbouring slices of one subject do not fill it."""
    if len(files) <= count:
        return files
    return [files[index * len(files) // count] for index in range(count)]


def _read(file: Path, side: int) -> Tensor:
    pixels = read_image(file).pixels
    pixels = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels[..., :3]
    tensor = _unit(np.ascontiguousarray(pixels))
    if tensor.shape[2:] != (side, side):
        tensor = F.interpolate(tensor, size=(side, side), mode="bilinear", antialias=True).clamp(0, 1)
    return tensor


def _unit(pixels: np.ndarray) -> Tensor:
    scale = float(np.iinfo(pixels.dtype).max)
    return torch.from_numpy(pixels.astype(np.float32) / scale).permute(2, 0, 1)[None].contiguous()
