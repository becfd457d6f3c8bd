"""Turn a published checkpoint into a bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalefuse.bundle import BundleInfo, TrainingData, save_bundle
from scalefuse.catalog import NETWORKS
from scalefuse.data.checkpoint import read_checkpoint
from scalefuse.errors import BundleError, InputError
from scalefuse.report.model_card import model_card
from scalefuse.workflows.names import takes_names

if TYPE_CHECKING:
    from scalefuse.networks.spec import NetworkSpec


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


@takes_names("checkpoint", "output")
def convert(
    network: str,
    checkpoint: Path,
    output: Path,
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
) -> Conversion:
    """Read the authors' released weights and write them as a bundle.

    Args:
        network: Name of the network.
        checkpoint: The authors' file; it is read without running code in it.
        output: Bundle folder, or a file ending in ``.zip``.
        name: Name of the model.
        labels: Names of a classifier's classes in the order of its outputs; numbers from 0 where None.

    Raises:
        InputError: Unknown network, one whose authors released no weights, or labels that do not fit.
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
    released = read_checkpoint(checkpoint)
    state, dropped = spec.convert_state_dict(released)
    arguments = spec.read_architecture(released) if spec.read_architecture else {}
    config = spec.config.model_validate({"name": network, **arguments})
    info = BundleInfo(
        name=name or f"{network}-released",
        task=spec.task,
        network=config,  # type: ignore[arg-type]
        preprocessing=_preprocessing(spec),
        labels=_labels(network, arguments.get("num_classes"), labels),
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


def _preprocessing(spec: NetworkSpec) -> dict[str, Any]:
    """What the released programs do to their images."""
    if spec.task != "classification":
        return {"value_range": [0.0, 1.0]}
    from scalefuse.data.classification_input import ClassificationPreprocessing

    side = spec.example_shape[-1]
    return ClassificationPreprocessing(size=(side, side), fit="crop").model_dump(mode="json")


def _labels(network: str, num_classes: int | None, labels: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the classes; numbers where none are given."""
    if num_classes is None:
        if labels is not None:
            raise InputError(f"{network} has no classes to name; leave --labels out.")
        return ()
    if labels is None:
        return tuple(str(number) for number in range(num_classes))
    names = tuple(label.strip() for label in labels)
    if len(names) != num_classes or len(set(names)) != num_classes or "" in names:
        raise InputError(
            f"The checkpoint has {num_classes} classes, but the labels are {', '.join(map(repr, names))}; "
            f"give {num_classes} different names, in the order of the outputs."
        )
    return names
