"""ResNet-18 with the same steps as the other classifiers: features, embedding, head.

Reference:
    He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, arXiv 1512.03385.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from scalefuse.errors import InputError

MIN_SIZE = 32
"""Smallest height and width, in pixels, that :class:`ResNet18` takes."""


class ResNet18(nn.Module):
    """Baseline classifier around a residual network.

    Args:
        body: A network with MONAI's names: ``conv1``, ``bn1``, ``act``, ``maxpool``, ``no_max_pool``,
            ``layer1`` … ``layer4``, ``avgpool``, ``fc``.
        in_channels: Channels of the image.

    Reference:
        arXiv 1512.03385, table 1, 18 layers. The layers are MONAI's, so that the baseline is nobody's own;
        see :func:`scalefuse.networks.resnet.spec.build`.

    Example:
        >>> import torch
        >>> from scalefuse.networks.resnet.spec import ResNet18Config, build
        >>> network = build(ResNet18Config(width=8, num_classes=3)).eval()
        >>> network(torch.rand(2, 3, 33, 70)).shape
        torch.Size([2, 3])
    """

    def __init__(self, body: nn.Module, in_channels: int) -> None:
        super().__init__()
        self.body: Any = body
        self.in_channels = in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Classify images.

        Args:
            x: Images, ``(N, in_channels, H, W)``, H and W at least 32.

        Returns:
            Logits, ``(N, num_classes)``.

        Raises:
            InputError: If the shape is not one that the network takes.
        """
        return self.forward_head(self.forward_features(x)[-1])

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Features of the four stages.

        Args:
            x: Images, ``(N, in_channels, H, W)``, H and W at least 32.

        Returns:
            For the stages s = 0…3, ``(N, width·2^s, ⌈H/2^(s+2)⌉, ⌈W/2^(s+2)⌉)``; four times as high and wide
            with the small stem.

        Raises:
            InputError: If the shape is not one that the network takes.

        Example:
            >>> import torch
            >>> from scalefuse.networks.resnet.spec import ResNet18Config, build
            >>> network = build(ResNet18Config(width=8)).eval()
            >>> [tuple(stage.shape[1:]) for stage in network.forward_features(torch.rand(1, 3, 64, 33))]
            [(8, 16, 9), (16, 8, 5), (32, 4, 3), (64, 2, 2)]
        """
        self._check_input(x)
        body = self.body
        x = body.act(body.bn1(body.conv1(x)))
        if not body.no_max_pool:
            x = body.maxpool(x)
        features = []
        for stage in (body.layer1, body.layer2, body.layer3, body.layer4):
            x = stage(x)
            features.append(x)
        return features

    def stage_grid(self, stage: int) -> tuple[int, int]:
        """Where in the image the cells of a stage lie.

        Args:
            stage: Counted from 1.

        Returns:
            Height and width of a cell in pixels, and the first pixel of the first cell: convolutions with a
            stride begin with their middle on the first pixel, so that half of the first cell lies outside.

        Example:
            >>> from scalefuse.networks.resnet.spec import ResNet18Config, build
            >>> build(ResNet18Config(width=8)).stage_grid(2)
            (8, -3)
        """
        cell = 2 ** (stage - 1) * (1 if self.body.no_max_pool else 4)
        return cell, -((cell - 1) // 2)

    def forward_embedding(self, features: Tensor) -> Tensor:
        """Pool the last features into one vector per image.

        Args:
            features: Last stage of :meth:`forward_features`, ``(N, C, h, w)``.

        Returns:
            ``(N, C)``.

        Example:
            >>> import torch
            >>> from scalefuse.networks.resnet.spec import ResNet18Config, build
            >>> build(ResNet18Config(width=8)).forward_embedding(torch.rand(5, 64, 2, 2)).shape
            torch.Size([5, 64])
        """
        pooled: Tensor = self.body.avgpool(features)
        return pooled.flatten(1)

    def forward_head(self, features: Tensor) -> Tensor:
        """Classify from the last features.

        Args:
            features: Last stage of :meth:`forward_features`, ``(N, C, h, w)``.

        Returns:
            Logits, ``(N, num_classes)``.

        Example:
            >>> import torch
            >>> from scalefuse.networks.resnet.spec import ResNet18Config, build
            >>> build(ResNet18Config(width=8)).forward_head(torch.rand(5, 64, 2, 2)).shape
            torch.Size([5, 2])
        """
        logits: Tensor = self.body.fc(self.forward_embedding(features))
        return logits

    def _check_input(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise InputError(
                f"ResNet-18 expected images of shape (N, {self.in_channels}, H, W), but got "
                f"{tuple(x.shape)}. Give a batch of images with {self.in_channels} channel(s), or set "
                "in_channels."
            )
        height, width = x.shape[-2:]
        if min(height, width) < MIN_SIZE:
            raise InputError(
                f"ResNet-18 expected images of at least {MIN_SIZE}×{MIN_SIZE} pixels, but got "
                f"{height}×{width}. Resize or pad them."
            )
        if self.training and x.shape[0] == 1 and max(height, width) <= MIN_SIZE and not self.body.no_max_pool:
            raise InputError(
                f"ResNet-18 cannot train on one image of {height}×{width} pixels: the batch normalisation of "
                "its last stage would see a single value per channel. Use a batch of at least 2 or a larger "
                "image."
            )
