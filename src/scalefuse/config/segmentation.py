"""Configuration of a segmentation training."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from scalefuse.catalog import NETWORKS
from scalefuse.config.base import DataPath, RunBase, RunName
from scalefuse.data.augmentation import AugmentationConfig
from scalefuse.data.intensity import IntensityRange
from scalefuse.data.masks import BINARY, MaskClasses
from scalefuse.networks.msrf_net.spec import MSRFNetConfig
from scalefuse.networks.unet.spec import UNetConfig
from scalefuse.schema import Schema

SegmentationNetwork = Annotated[MSRFNetConfig | UNetConfig, Field(discriminator="name")]
"""A network that segments, told apart by its ``name``."""


class SegmentationData(Schema):
    """Images with masks.

    Attributes:
        folder: Holds ``train/`` and ``val/`` (or ``valid/``), each with ``images/`` and ``masks/``, or these
            two themselves; masks have the names of their images.
        classes: What the mask values mean; None for binary masks.
        intensity: Values that become 0 and 1; needed for DICOM, NIfTI and floating-point images.
        size: Height and width that the network is trained at.
        fit: ``resize`` shows whole images at that size; ``crop`` shows parts of that size at full resolution,
            and is validated on whole images, those above a million pixels in overlapping windows.
        foreground: Part of the crops that hold a pixel of the foreground, for small objects on a large
            background; the others lie anywhere.
        val_fraction: Part held out for validation where the folder has no ``val``.
        folds: Number of parts for cross-validation, or None; the folder's own val is then trained on too.
        fold: Which part is validated on, from 1.
        groups_csv: Table that says which images belong together, such as those of one patient.
        group_column: Its column with the group; no group is on both sides of a split.
        balance: From 0, every image once an epoch, to 1, every image size equally often.
        check: Look for faults (missing partners, leaks between splits, empty masks, …) before training.
    """

    folder: DataPath | None = None
    classes: MaskClasses | None = None
    intensity: IntensityRange | None = None
    size: Annotated[int, Field(ge=32)] | tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] = (
        256
    )
    fit: Literal["resize", "crop"] = "resize"
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.0
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15
    folds: Annotated[int, Field(ge=2)] | None = None
    fold: Annotated[int, Field(ge=1)] = 1
    groups_csv: DataPath | None = None
    group_column: str | None = None
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    check: bool = True


class SegmentationRun(RunBase):
    """A segmentation training.

    Attributes:
        task: Always ``segmentation``.
        network: The network and its arguments; MSRF-Net where it has no name.
        new_head: Take the weights of ``init`` but for the last layer or layers, which give the classes and
            start anew; the classes may then be others.
        tta: Average over the eight flips and rotations by 90° when the post-processing is fitted and, where
            nothing else is asked for, when the bundle predicts: eight times the work. Training itself, and
            the validation after an epoch, look at each image once.
        data: Images with masks.
        augmentation: Random changes of image and mask together; None for none.
    """

    name: RunName = "msrf_net"
    task: Literal["segmentation"] = "segmentation"
    network: SegmentationNetwork = MSRFNetConfig()
    new_head: bool = False
    tta: bool = False
    data: SegmentationData = SegmentationData()
    augmentation: AugmentationConfig | None = AugmentationConfig()

    @model_validator(mode="before")
    @classmethod
    def _name_network(cls, values: Any) -> Any:
        network = values.get("network") if isinstance(values, dict) else None
        if isinstance(network, dict) and "name" not in network:
            return {**values, "network": {"name": "msrf_net", **network}}
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.new_head and self.init is None:
            raise ValueError(
                "new_head is true, but there is no init to take the other weights from; give one"
            )
        classes = self.data.classes or BINARY
        if self.network.num_classes != classes.num_logits:
            raise ValueError(
                f"network.num_classes is {self.network.num_classes}, but data.classes names "
                f"{len(classes.names)} ({', '.join(classes.names)}), which need {classes.num_logits}"
            )
        if self.data.foreground > 0 and self.data.fit != "crop":
            raise ValueError("data.foreground places crops, but data.fit is 'resize'; set it to crop")
        if self.data.folds is not None and self.data.fold > self.data.folds:
            raise ValueError(f"data.fold is {self.data.fold}, but there are {self.data.folds} folds")
        if self.data.folds is None and self.data.fold > 1:
            raise ValueError(f"data.fold is {self.data.fold}, but there are no folds; set data.folds too")
        sides = (self.data.size, self.data.size) if isinstance(self.data.size, int) else self.data.size
        multiple = NETWORKS[self.network.name].size_multiple
        if any(side % multiple for side in sides):
            raise ValueError(
                f"data.size is {sides[0]}×{sides[1]}; {self.network.name} needs multiples of {multiple}"
            )
        return self
