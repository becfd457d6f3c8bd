"""Configuration of a classification training."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from scalefuse.catalog import NETWORKS
from scalefuse.config.base import DataPath, OptimizerConfig, RunBase, RunName, TrainingConfig
from scalefuse.data.augmentation_classification import ClassificationAugmentation
from scalefuse.data.batch_mixing import MixConfig
from scalefuse.data.class_names import composed, split_names
from scalefuse.data.classification import TableColumns
from scalefuse.data.classification_input import ClassificationPreprocessing, Fit
from scalefuse.data.intensity import IntensityRange
from scalefuse.errors import ConfigError
from scalefuse.networks.hifuse.spec import HiFuseConfig
from scalefuse.networks.resnet.spec import ResNet18Config
from scalefuse.schema import Schema

ClassificationNetwork = Annotated[HiFuseConfig | ResNet18Config, Field(discriminator="name")]
"""A network that classifies, told apart by its ``name``."""

Monitor = Literal[
    "loss",
    "accuracy",
    "balanced_accuracy",
    "precision",
    "sensitivity",
    "specificity",
    "f1",
    "auroc",
    "auprc",
    "mcc",
    "kappa",
    "brier",
    "ece",
]
"""A measure of the validation images that says which weights are best."""

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
Side = Annotated[int, Field(ge=1)]


class ClassificationData(Schema):
    """Images with labels.

    Attributes:
        source: A folder with a folder per class, or with ``train/`` and ``val/`` that hold these; a CSV file
            of images and labels; or a MedMNIST ``.npz`` file.
        classes: Names of the classes in the order of the outputs, in a list or between commas; those found in
            the source where None. With two classes, the second is the positive one.
        multi_label: Whether an image may carry several labels; found from the source where None.
        columns: Which columns of a CSV file mean what; the usual names are tried where None.
        images: Folder that the paths of a CSV file start from; its own where None.
        intensity: Values that become 0 and 1; needed for DICOM, NIfTI and floating-point images.
        size: Height and width that the network sees.
        fit: ``resize`` stretches to that size, ``pad`` keeps proportions and fills with black, ``crop`` keeps
            them and takes the middle, with the short side at 8/7 of the size.
        mean: Taken from all values, which lie in [0, 1] before.
        std: What is left is divided by it.
        val_fraction: Part held out for validation, by class and by group, where the source has no ``val``.
        folds: Number of parts for cross-validation, or None; the source's own val is then trained on too.
        fold: Which part is validated on, from 1.
        groups_csv: For folders, a table of which images belong together, such as those of one patient.
        group_column: Its column with the group; no group is on both sides of a split.
        balance: From 0, every image once an epoch, to 1, every class equally often; of several labels, an
            image counts to its rarest.
        check: Look for faults (leaks between splits, unreadable files, …) before training.
    """

    source: DataPath | None = None
    classes: tuple[str, ...] | None = None
    multi_label: bool | None = None
    columns: TableColumns = TableColumns()
    images: DataPath | None = None
    intensity: IntensityRange | None = None
    size: Side | tuple[Side, Side] = 224
    fit: Fit = "resize"
    mean: Annotated[float, Field(allow_inf_nan=False)] = 0.5
    std: Weight = 0.5
    val_fraction: Share = 0.15
    folds: Annotated[int, Field(ge=2)] | None = None
    fold: Annotated[int, Field(ge=1)] = 1
    groups_csv: DataPath | None = None
    group_column: str | None = None
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    check: bool = True

    @field_validator("classes", mode="before")
    @classmethod
    def _as_text(cls, given: Any) -> Any:
        if isinstance(given, str):
            return split_names(given)
        if not isinstance(given, list | tuple):
            return given
        # YAML reads 0 and 1 as numbers.
        return tuple(str(one) if type(one) is int else one for one in given)

    def preprocessing(self, *, multi_label: bool) -> ClassificationPreprocessing:
        """What a predictor must do to its images.

        Example:
            >>> ClassificationData(size=64).preprocessing(multi_label=False).size
            (64, 64)
        """
        return ClassificationPreprocessing(
            size=(self.size, self.size) if isinstance(self.size, int) else self.size,
            fit=self.fit,
            intensity=self.intensity,
            mean=self.mean,
            std=self.std,
            multi_label=multi_label,
        )


class ClassificationLoss(Schema):
    """What is minimised. The weights of a CSV file's weight column count in every one.

    Attributes:
        name: ``cross_entropy`` (binary for each label where there may be several), or ``focal``, which counts
            what is known already less.
        focal_gamma: How much less; 0 is cross entropy.
        label_smoothing: Part of the certainty of each target that is spread over all classes, in [0, 1).
        class_weights: ``none``; ``balanced``, which makes every class count the same where images are drawn
            as they are (``data.balance`` draws rare ones more often already); or one number for each class.
    """

    name: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["none", "balanced"] | tuple[Weight, ...] = "none"

    @model_validator(mode="after")
    def _check_gamma(self) -> Self:
        if 0 < self.focal_gamma < 1:
            raise ValueError(
                f"focal_gamma is {self.focal_gamma}, but a case that is known for sure has a gradient for 0 "
                "and from 1 on only; choose one of these"
            )
        return self


class LayerwiseOptimizer(OptimizerConfig):
    """Optimiser, schedule, and what differs between layers.

    Attributes:
        layer_decay: Learning rate of a layer over that of the next one towards the output, in (0, 1]; below 1
            the first layers change least, for going on from weights that are good already.
        decay_vectors: Let weight decay act on biases and norms too.
    """

    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    decay_vectors: bool = False


class ClassificationTraining(TrainingConfig):
    """Length, precision and bookkeeping, and which epoch counts as the best.

    Attributes:
        batch_size: Samples per step, 2 or more.
        monitor: Measure of the validation images that chooses the weights and ends training early.
    """

    batch_size: Annotated[int, Field(ge=2)] = 32
    monitor: Monitor = "auroc"


class DecisionConfig(Schema):
    """What is chosen on the validation images for deciding.

    Attributes:
        sensitivity: Required of the operating point, in (0, 1); None for the most probable class.
        positive: Class that the sensitivity is of; the second of two where None.
        coverage: Of prediction sets where none is asked for, in (0, 1).
    """

    sensitivity: Share | None = None
    positive: str | None = None
    coverage: Share = 0.9

    @field_validator("positive", mode="before")
    @classmethod
    def _as_text(cls, given: Any) -> Any:
        # YAML reads 0 and 1 as numbers.
        return composed(str(given)) if type(given) in (int, str) else given


class ClassificationRun(RunBase):
    """A classification training.

    Attributes:
        task: Always ``classification``.
        network: The network and its arguments; HiFuse where it has no name. ``num_classes`` is taken from the
            data where it is not given.
        new_head: Take the weights of ``init`` but for the last layer or layers, which give the classes and
            start anew; the classes may then be others.
        data: Images with labels.
        augmentation: Random changes of training images; None for none.
        mix: Mixing of training images with one another (mixup, cutmix); None for none.
        loss: What is minimised.
        optimizer: Optimiser, schedule, and what differs between layers.
        training: Length, precision and bookkeeping.
        decision: What is chosen on the validation images for deciding.
    """

    name: RunName = "hifuse"
    task: Literal["classification"] = "classification"
    network: ClassificationNetwork = HiFuseConfig()
    new_head: bool = False
    data: ClassificationData = ClassificationData()
    augmentation: ClassificationAugmentation | None = ClassificationAugmentation()
    mix: MixConfig | None = None
    loss: ClassificationLoss = ClassificationLoss()
    optimizer: LayerwiseOptimizer = LayerwiseOptimizer()
    training: ClassificationTraining = ClassificationTraining()
    decision: DecisionConfig = DecisionConfig()

    @property
    def positive(self) -> int:
        """Of two classes, the index of the one that binary measures are of.

        Example:
            >>> data = ClassificationData(classes=("covid", "other"))
            >>> decision = DecisionConfig(sensitivity=0.9, positive="covid")
            >>> ClassificationRun(data=data, decision=decision).positive
            0
        """
        classes, name = self.data.classes or (), self.decision.positive
        return classes.index(name) if len(classes) == 2 and name is not None else 1

    @model_validator(mode="before")
    @classmethod
    def _name_network(cls, values: Any) -> Any:
        network = values.get("network") if isinstance(values, dict) else None
        if isinstance(network, dict) and "name" not in network:
            return {**values, "network": {"name": "hifuse", **network}}
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.new_head and self.init is None:
            raise ValueError(
                "new_head is true, but there is no init to take the other weights from; give one"
            )
        if self.network.in_channels not in (1, 3):
            raise ValueError(
                f"network.in_channels is {self.network.in_channels}; training reads 1 or 3 channels"
            )
        sides = (self.data.size, self.data.size) if isinstance(self.data.size, int) else self.data.size
        least = NETWORKS[self.network.name].min_size
        if min(sides) < least:
            raise ValueError(
                f"data.size is {sides[0]}×{sides[1]}; {self.network.name} needs at least {least}×{least}"
            )
        if self.data.folds is not None and self.data.fold > self.data.folds:
            raise ValueError(f"data.fold is {self.data.fold}, but there are {self.data.folds} folds")
        if self.data.folds is None and self.data.fold > 1:
            raise ValueError(f"data.fold is {self.data.fold}, but there are no folds; set data.folds too")
        if self.decision.positive is not None and self.decision.sensitivity is None:
            raise ValueError(
                "decision.positive says whose sensitivity is meant; give decision.sensitivity too"
            )
        classes = self.data.classes
        if classes is not None:
            self._check_classes(classes)
        return self

    def _check_classes(self, classes: tuple[str, ...]) -> None:
        if len(set(classes)) < len(classes) or any(not name.strip() for name in classes):
            raise ValueError(
                f"data.classes must be names that differ, but are {', '.join(map(repr, classes))}"
            )
        positive = self.decision.positive
        if positive is not None and positive not in classes:
            raise ValueError(f"decision.positive is {positive!r}, but the classes are {', '.join(classes)}")
        weights = self.loss.class_weights
        if not isinstance(weights, str) and len(weights) != len(classes):
            raise ValueError(
                f"loss.class_weights has {len(weights)} numbers, but there are {len(classes)} classes "
                f"({', '.join(classes)})"
            )
        if "num_classes" in self.network.model_fields_set and self.network.num_classes != len(classes):
            raise ValueError(
                f"network.num_classes is {self.network.num_classes}, but there are {len(classes)} classes "
                f"({', '.join(classes)}); leave it out, and it is taken from the data"
            )

    def with_classes(self, classes: tuple[str, ...], *, multi_label: bool) -> ClassificationRun:
        """The same run with the classes of its data written down.

        Raises:
            ConfigError: Classes, weights per class or the number of outputs do not fit together.

        Example:
            >>> ClassificationRun().with_classes(("a", "b", "c"), multi_label=False).network.num_classes
            3
        """
        network = self.network
        if "num_classes" not in network.model_fields_set:
            network = network.model_copy(update={"num_classes": len(classes)})
        data = self.data.model_copy(update={"classes": tuple(classes), "multi_label": multi_label})
        run = self.model_copy(update={"network": network, "data": data})
        try:
            run._check_classes(run.data.classes or ())
        except ValueError as error:
            raise ConfigError(f"{self.name}: {error}.") from error
        return run
