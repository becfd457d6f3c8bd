"""DILRAN for prediction: composed weights are found once, in float64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from scalefuse.networks.dilran.decoder import Decoder, DecoderWeights
from scalefuse.networks.dilran.encoder import Encoder, EncoderWeights
from scalefuse.networks.dilran.network import DILRAN


def _keep(module: nn.Module, weights: EncoderWeights | DecoderWeights, dtype: torch.dtype) -> None:
    for name, value in weights._asdict().items():
        module.register_buffer(name, value.to(dtype).detach().contiguous())


class ComposedEncoder(nn.Module):
    """An encoder with fixed weights: the same features.

    Args:
        encoder: The encoder; it stays as it is.

    Example:
        >>> encoder, image = Encoder(4, (1, 3)), torch.rand(1, 1, 20, 17)
        >>> torch.allclose(ComposedEncoder(encoder)(image), encoder(image), atol=1e-5)
        True
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        dtype = encoder.input_conv.weight.dtype
        _keep(self, copy.deepcopy(encoder).double().composed(), dtype)
        # The layers that are not composed, with the encoder's own way through them.
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        del self.encoder.input_conv, self.encoder.dilated_convs, self.encoder.reduce_conv

    def forward(self, image: Tensor) -> Tensor:
        """Map images ``(N, 1, H, W)`` to features ``(N, C, H, W)``."""
        weights = EncoderWeights(*(self.get_buffer(name) for name in EncoderWeights._fields))
        return self.encoder.encode(image, weights)


class ComposedDecoder(nn.Module):
    """A decoder with fixed weights: the same picture.

    Args:
        decoder: The decoder; it stays as it is.

    Example:
        >>> decoder, features = Decoder(4), torch.rand(1, 4, 20, 17)
        >>> torch.allclose(ComposedDecoder(decoder)(features), decoder(features), atol=1e-5)
        True
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        dtype = next(decoder.parameters()).dtype
        _keep(self, copy.deepcopy(decoder).double().composed(), dtype)
        self.decoder = copy.deepcopy(decoder).requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(N, C, H, W)`` to pictures ``(N, 1, H, W)``."""
        weights = DecoderWeights(*(self.get_buffer(name) for name in DecoderWeights._fields))
        return self.decoder.decode(features, weights)


class ComposedDILRAN(nn.Module):
    """Encoder and decoder with fixed weights; ``encode`` and ``decode`` as those of :class:`DILRAN`.

    Args:
        network: The network; it stays as it is.

    Example:
        >>> network, image = DILRAN(features=4), torch.rand(1, 1, 20, 17)
        >>> torch.allclose(ComposedDILRAN(network)(image), network(image), atol=1e-5)
        True
    """

    def __init__(self, network: DILRAN) -> None:
        super().__init__()
        self.encoder, self.decoder = ComposedEncoder(network.encoder), ComposedDecoder(network.decoder)

    def encode(self, x: Tensor) -> Tensor:
        """Map images ``(N, 1, H, W)`` to features ``(N, C, H, W)``."""
        features: Tensor = self.encoder(x)
        return features

    def decode(self, features: Tensor) -> Tensor:
        """Map features ``(N, C, H, W)`` to pictures ``(N, 1, H, W)``."""
        picture: Tensor = self.decoder(features)
        return picture

    def forward(self, x: Tensor) -> Tensor:
        """Reproduce images."""
        return self.decode(self.encode(x))
