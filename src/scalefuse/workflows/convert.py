"""Turn a published checkpoint into a bundle."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from scalefuse.bundle import BundleInfo, TrainingData, read_checkpoint, save_bundle
from scalefuse.catalog import NETWORKS
from scalefuse.errors import BundleError, InputError
from scalefuse.report.model_card import model_card


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        bundle: The bundle written.
        num_parameters: Numbers kept.
        dropped: Names of tensors in the file that take no part in the network's output.
    """

    bundle: Path
    num_parameters: int
    dropped: list[str]


def convert(network: str, checkpoint: Path, output: Path, *, name: str | None = None) -> Conversion:
    """Read the authors' released weights and write them as a bundle.

    Args:
        network: Name of the network.
        checkpoint: The authors' file; it is read without running code in it.
        output: Bundle folder, or a file ending in ``.zip``.
        name: Name of the model.

    Raises:
        InputError: Unknown network, or one whose authors released no weights.
        BundleError: The file cannot be read, would run code, or holds other tensors.
    """
    spec = NETWORKS.get(network)
    if spec is None:
        raise InputError(f"Unknown network {network!r}; expected one of: {', '.join(convertible())}.")
    if spec.convert_state_dict is None:
        raise InputError(
            f"No weights were released for {network}, so there is nothing to convert; networks with released "
            f"weights: {', '.join(convertible())}. Train it with `scalefuse train`."
        )
    state, dropped = spec.convert_state_dict(read_checkpoint(checkpoint))
    config = spec.config()
    info = BundleInfo(
        name=name or f"{network}-released",
        task=spec.task,
        network=config,  # type: ignore[arg-type]
        preprocessing={"value_range": [0.0, 1.0]},
        strategy="softmax_nuclear_norm" if spec.task == "fusion" else None,
        training_data=TrainingData(
            description="as its authors describe it",
            licence=f"those of the released program: {spec.paper.released_program_licence}",
        ),
        metrics={"checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()},
    )
    with_weights = {key: value.contiguous() for key, value in state.items()}
    shapes = {key: value.shape for key, value in spec.build(config).state_dict().items()}
    if {key: value.shape for key, value in with_weights.items()} != shapes:
        raise BundleError(f"{checkpoint}: the tensors do not fit {network}; give the authors' own file.")
    card = model_card(info, origin=f"converted from the authors' released file {checkpoint.name}.")
    path = save_bundle(output, info, with_weights, card)
    return Conversion(path, sum(value.numel() for value in with_weights.values()), dropped)


def convertible() -> list[str]:
    """Networks whose authors released weights.

    Example:
        >>> "dilran" in convertible()
        True
    """
    return [name for name, spec in NETWORKS.items() if spec.convert_state_dict is not None]
