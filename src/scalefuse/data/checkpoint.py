"""Tensors from files, and never any code: safetensors, and checkpoints that hold nothing else."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from scalefuse.errors import BundleError

if TYPE_CHECKING:
    from torch import Tensor


def parse_weights(path: Path, data: bytes) -> dict[str, Tensor]:
    """Tensors by name from the bytes of a safetensors file.

    Args:
        path: for the message.
        data: the bytes.

    Raises:
        BundleError: they are no whole file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors: dict[str, Tensor] = load(data)
        return tensors
    except (SafetensorError, ValueError, KeyError, struct.error) as error:
        raise BundleError(f"{path}: no complete safetensors file ({error}); copy it again.") from error


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read tensors from somebody else's checkpoint without running any code in it.

    Args:
        path: A ``torch.save`` file (a state dict, or a dict that holds one) or a safetensors file.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        BundleError: The file is missing, damaged, would run code, or holds no state dict.
    """
    import pickle

    import torch

    path = Path(path)
    if not path.is_file():
        raise BundleError(f"{path}: no such file; give the checkpoint that the authors released.")
    if path.suffix == ".safetensors":
        return parse_weights(path, path.read_bytes())
    with path.open("rb") as handle:
        start = handle.read(2)
    if start != b"PK" and start[:1] != b"\x80":
        raise BundleError(
            f"{path}: {'is empty' if not start else 'is no checkpoint'}; give the file that the authors "
            "released, written by torch.save or as safetensors."
        )
    try:
        # Whatever is odd about the file is said in one line, by the error below.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"{path}: refused, because the file holds more than tensors and could run code when loaded; "
            "ask its author for a plain state dict or a safetensors file."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"{path}: not a readable checkpoint ({line}); download it again.") from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise BundleError(f"{path}: holds no state dict (names to tensors); give the file with the weights.")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}
