"""Perceptual loss on VGG-16-BN features, with weights from a local file."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalefuse.errors import BundleError

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256))
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PerceptualLoss(nn.Module):
    """Mean squared difference of the features after the first three blocks of VGG-16 with batch norm.

    Args:
        weights: State dict of VGG-16-BN with the usual names (``features.0.weight``, …), trained on ImageNet;
            a ``torch.save`` file, read without running code in it. Nothing is downloaded.

    Raises:
        BundleError: The file cannot be read or lacks tensors.

    Reference:
        Perceptual term of arXiv 2212.04661, section 3.3.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        names: list[tuple[int, int, int]] = []
        channels, position = 3, 0
        for widths in _BLOCKS:
            layers: list[nn.Module] = [] if not blocks else [nn.MaxPool2d(2)]
            position += len(layers)
            for width in widths:
                names.append((len(blocks), len(layers), position))
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                channels, position = width, position + 3
            blocks.append(nn.Sequential(*layers))
        self.blocks = nn.ModuleList(blocks)
        self._load(Path(weights), names)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def _load(self, path: Path, names: list[tuple[int, int, int]]) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                state = torch.load(path, map_location="cpu", weights_only=True)
        except (
            OSError,
            RuntimeError,
            EOFError,
            ValueError,
            KeyError,
            TypeError,
            pickle.UnpicklingError,
        ) as error:
            raise BundleError(f"{path}: no readable VGG-16-BN weights; give a plain state dict.") from error
        if not isinstance(state, dict):
            raise BundleError(f"{path}: holds no state dict (names to tensors); give one of VGG-16-BN.")
        ours = {}
        for block, layer, position in names:
            for offset, kinds in (
                (0, ("weight", "bias")),
                (1, ("weight", "bias", "running_mean", "running_var")),
            ):
                for kind in kinds:
                    ours[f"blocks.{block}.{layer + offset}.{kind}"] = f"features.{position + offset}.{kind}"
        missing = [theirs for theirs in ours.values() if theirs not in state]
        if missing:
            raise BundleError(f"{path}: lacks {missing[0]}; give the weights of VGG-16 with batch norm.")
        expected = {name: tensor.shape for name, tensor in self.state_dict().items()}
        for name, theirs in ours.items():
            got = tuple(getattr(state[theirs], "shape", ()))
            if got != tuple(expected[name]):
                raise BundleError(
                    f"{path}: {theirs} has shape {got}, but VGG-16 with batch norm has "
                    f"{tuple(expected[name])}; give its weights."
                )
        problems = self.load_state_dict({name: state[theirs] for name, theirs in ours.items()}, strict=False)
        assert not problems.unexpected_keys
        assert all(key.endswith("num_batches_tracked") for key in problems.missing_keys)

    def train(self, mode: bool = True) -> PerceptualLoss:
        """Stay in evaluation mode: the features are fixed."""
        return super().train(False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Loss of grey images ``(N, 1, H, W)`` in [0, 1]."""
        x = (torch.cat([output, target]).float().expand(-1, 3, -1, -1) - self.mean) / self.std
        losses = []
        for block in self.blocks:
            x = block(x)
            losses.append(F.mse_loss(*x.chunk(2)))
        return torch.stack(losses).sum()
