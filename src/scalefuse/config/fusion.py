"""Configuration of a fusion training."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from scalefuse.config.base import DataPath, RunBase, RunName
from scalefuse.data.intensity import IntensityRange
from scalefuse.fusion import GUIDED, STRATEGIES
from scalefuse.fusion.table import DECODED_DEFAULT
from scalefuse.networks.dilran.spec import DILRANConfig
from scalefuse.schema import Schema

Weight = Annotated[float, Field(ge=0)]
SumOfCorrelations = Annotated[float, Field(gt=0, le=2)]


class PairFolders(Schema):
    """Two folders of registered images with the same names.

    Attributes:
        a: Folder of the first modality.
        b: Folder of the second modality.
        range_a: Values of ``a`` that become 0 and 1; needed for DICOM, NIfTI and floating-point images.
        range_b: The same for ``b``.
        scd_enough: ``loss.fusion.scd_enough`` for these pairs; None is the loss's own.
    """

    a: DataPath
    b: DataPath
    range_a: IntensityRange | None = None
    range_b: IntensityRange | None = None
    scd_enough: SumOfCorrelations | None = None


class FusionData(Schema):
    """Training and validation images.

    Attributes:
        train: Paired folders to train on.
        val: Paired folders to validate on; where there are none, ``val_fraction`` of ``train`` is held out.
        val_fraction: Part of the training *subjects* to hold out where ``val`` is empty.
        subject_pattern: Regular expression whose first group is the subject in a file name, so that no
            subject is in both; where None every pair counts as its own subject.
        exclude: Regular expression; training pairs in whose name it is found are left out, such as those of
            a subject that the result is to be measured on.
        crop: Side of the random square crops in pixels, or None for whole images (all of one size).
        min_foreground: Smallest part of a crop above 8 % brightness in both modalities; others are redrawn.
        flips: Mirror crops at random, left-right and up-down.
        balance: From 0, every pair once an epoch, to 1, every entry of ``train`` equally often.
    """

    train: tuple[PairFolders, ...] = ()
    val: tuple[PairFolders, ...] = ()
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    subject_pattern: str | None = None
    exclude: str | None = None
    crop: Annotated[int, Field(ge=48)] | None = 128
    min_foreground: Annotated[float, Field(ge=0, lt=1)] = 0.2
    flips: bool = True
    balance: Annotated[float, Field(ge=0, le=1)] = 0.5

    @field_validator("exclude")
    @classmethod
    def _check_exclude(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"no regular expression ({error})") from error
        return value


class FusionObjective(Schema):
    """Weights of the differentiable measures that the fused picture is trained for.

    All but ``intensity`` are maximised. See :func:`scalefuse.losses.fusion.fusion_terms`.

    Attributes:
        ssim: SSIM summed over both sources.
        vif: Visual information fidelity summed over both sources.
        qabf: Edges kept.
        scd: Sum of the correlations of differences.
        scd_enough: SCD of a pair, at most 2, above which more of it counts for nothing: it is highest for the
            plain sum of both images, where the other measures are low.
        intensity: Mean absolute difference from the pixel-wise maximum.
        strategy: What joins the features that the decoder is trained on; None is the strategy that the bundle
            fuses with, or ``two_scale_energy_ratio`` where that one needs no decoder.
    """

    ssim: Weight = 1.0
    vif: Weight = 1.0
    qabf: Weight = 2.0
    scd: Weight = 0.3
    scd_enough: SumOfCorrelations = 2.0
    intensity: Weight = 2.0
    strategy: str | None = None

    @field_validator("strategy")
    @classmethod
    def _check_strategy(cls, value: str | None) -> str | None:
        if value is not None and value not in STRATEGIES:
            raise ValueError(f"unknown strategy {value!r}; expected one of {', '.join(STRATEGIES)}")
        return value


class FusionLoss(Schema):
    """Loss of a fusion training.

    Attributes:
        mse: Weight of the reconstruction's mean squared error.
        gradient: Weight of the gradient term, the paper's λ1.
        perceptual: Weight of the perceptual term, the paper's λ2; needs ``perceptual_weights``.
        perceptual_weights: Local file with VGG-16-BN weights; nothing is downloaded.
        fusion: Train for fused pictures too, with these weights; None is the paper's auto-encoding alone.
    """

    mse: Weight = 1.0
    gradient: Weight = 0.2
    perceptual: Weight = 0.0
    perceptual_weights: DataPath | None = None
    fusion: FusionObjective | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.perceptual > 0 and self.perceptual_weights is None:
            raise ValueError(
                "the perceptual term needs perceptual_weights, a local file with VGG-16-BN weights; "
                "give one, or set perceptual to 0"
            )
        if self.mse == 0 and self.fusion is None:
            raise ValueError(
                "mse is 0 and fusion is off, but the other terms alone leave open how bright a picture is; "
                "raise mse"
            )
        if self.mse == self.gradient == self.perceptual == 0 and self.fusion is not None:
            fused = self.fusion
            if not any((fused.ssim, fused.vif, fused.qabf, fused.scd, fused.intensity)):
                raise ValueError("every weight of the loss is 0, so that nothing would be learned; raise one")
        return self


class FusionRun(RunBase):
    """A fusion training.

    Attributes:
        task: Always ``fusion``.
        network: DILRAN and its arguments.
        strategy: Strategy that the bundle fuses with.
        data: Training and validation images.
        loss: What is minimised.
    """

    name: RunName = "dilran"
    task: Literal["fusion"] = "fusion"
    network: DILRANConfig = DILRANConfig()
    strategy: str = "guided_bands"
    data: FusionData = FusionData()
    loss: FusionLoss = FusionLoss()

    @model_validator(mode="after")
    def _check_strategy(self) -> Self:
        known = [*STRATEGIES, *GUIDED]
        if self.strategy not in known:
            raise ValueError(f"unknown strategy {self.strategy!r}; expected one of {', '.join(known)}")
        return self

    @property
    def decoded_strategy(self) -> str | None:
        """Strategy that the decoder is trained for, if any; see :class:`FusionObjective`."""
        if self.loss.fusion is None:
            return None
        if self.loss.fusion.strategy is not None:
            return self.loss.fusion.strategy
        return self.strategy if self.strategy in STRATEGIES else DECODED_DEFAULT
