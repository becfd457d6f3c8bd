"""Classifying pictures of any size with a trained network, or with several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scalefuse.data.classification_input import ClassificationPreprocessing, is_single, prepare, standardise
from scalefuse.data.image import Image
from scalefuse.data.intensity import IntensityRange
from scalefuse.data.pixels import as_pixels
from scalefuse.errors import BundleError, InputError
from scalefuse.inference.classification_postprocessing import (
    ClassificationPostProcessing as ClassificationPostProcessing,
)
from scalefuse.inference.classifier_views import AS_IT_STANDS, View, mean_logits, see
from scalefuse.inference.conformal import SetMethod, prediction_sets
from scalefuse.inference.explanation import (
    Explanation,
    ExplanationMethod,
    check_class_index,
    class_to_explain,
    grad_cam,
    over_input,
    sum_of_maps,
    to_picture,
    unit,
)
from scalefuse.inference.occlusion import log_odds, occlusion_sensitivity
from scalefuse.inference.operating_point import OperatingPoint, choose_operating_point, decide

if TYPE_CHECKING:
    from scalefuse.bundle import Bundle
    from scalefuse.inference.engines.choice import EngineChoice, EnsembleChoice, Job

Engine = Callable[[Tensor], Tensor]
"""Maps standardised images ``(N, C, H, W)`` to logits ``(N, K)``."""


class Classifier:
    """Classifies pictures: probabilities, prediction sets, a decision, embeddings, explanations.

    Every picture is brought to the size of training, so that any sizes may be mixed.

    Args:
        engines: a network, an exported model or any other :data:`Engine`; of several, probabilities are
            averaged.
        labels: names of the classes, in the order of the logits.
        preprocessing: how a picture becomes network input.
        multi_label: whether a picture may carry several labels.
        in_channels: channels that the network expects; 3 (grey is repeated) or 1 (colour becomes luma).
        postprocessing: temperature, calibration scores and operating point; None for none of them.
        temperatures: what each engine's logits are divided by; 1 where None.
        intensity: which values become 0 and 1, instead of the preprocessing's choice.
        batch_size: pictures that go through the network at once.
        views: mirrored and turned views whose logits are averaged; see
            :mod:`scalefuse.inference.classifier_views`. Embeddings and explanations are of the picture as it
            stands.

    Attributes:
        computed_by: what computes the networks, where the classifier was made from bundles.

    Raises:
        InputError: an argument is out of its range.

    Example:
        >>> def bright(images):
        ...     level = images.mean(dim=(1, 2, 3))
        ...     return torch.stack([-level, level], dim=1)
        >>> preprocessing = ClassificationPreprocessing(size=(8, 8))
        >>> classifier = Classifier(bright, labels=("dark", "bright"), preprocessing=preprocessing)
        >>> probabilities = classifier.predict([np.full((20, 30), 255, np.uint8), np.zeros((9, 9), np.uint8)])
        >>> probabilities.round(2)
        array([[0.12, 0.88],
               [0.88, 0.12]], dtype=float32)
        >>> [classifier.labels[index] for index in classifier.decide(probabilities)]
        ['bright', 'dark']
    """

    def __init__(
        self,
        engines: Engine | Sequence[Engine],
        *,
        labels: Sequence[str],
        preprocessing: ClassificationPreprocessing,
        multi_label: bool = False,
        in_channels: int = 3,
        postprocessing: ClassificationPostProcessing | None = None,
        temperatures: Sequence[float] | None = None,
        intensity: IntensityRange | str | None = None,
        batch_size: int = 32,
        views: Sequence[View] = (AS_IT_STANDS,),
    ) -> None:
        self.engines: list[Engine] = list(engines) if isinstance(engines, Sequence) else [engines]
        self.labels, self.multi_label, self.in_channels = tuple(labels), multi_label, in_channels
        if intensity is not None:
            choice = IntensityRange.parse(intensity) if isinstance(intensity, str) else intensity
            preprocessing = preprocessing.model_copy(update={"intensity": choice})
        self.preprocessing, self.batch_size = preprocessing, batch_size
        self.postprocessing = postprocessing or ClassificationPostProcessing(multi_label=multi_label)
        self.temperatures = tuple(temperatures or [1.0] * len(self.engines))
        self.views = tuple(views)
        self.computed_by: EngineChoice | EnsembleChoice | None = None
        self._check()

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle | Sequence[Bundle],
        *,
        postprocess: bool = True,
        tta: bool = False,
        engine: str | None = None,
        precision: str | None = None,
        job: Job | None = None,
        **options: Any,
    ) -> Classifier:
        """A classifier from a bundle, or an ensemble from several.

        Args:
            bundle: one or several; labels and preprocessing must agree. Each keeps its temperature, but an
                ensemble has neither calibration scores nor an operating point: those are of single networks.
            postprocess: whether to use what was fitted on validation data; without it, the temperature is 1.
            tta: whether to average over the mirrored and turned views that training showed. The temperature
                stays, calibration scores and operating point are left out: those are of single views.
            engine: what computes the networks; see
                :func:`~scalefuse.inference.engines.choice.choose_engine`; None for ``torch``, or that of an
                export. Embeddings and Grad-CAM are computed by torch in float32 always.
            precision: ``fp32``, ``bf16`` or ``auto``; None for ``fp32``, or that of an export.
            job: how much there is to classify, for ``auto``; None for unknown.
            **options: arguments of :class:`Classifier` that override the bundle's.

        Raises:
            BundleError: a bundle is for another task, damaged, or does not fit the others.
            InputError: no bundle, an option is out of its range, an engine and precision that do not work, or
                ``tta`` of a bundle that was trained on pictures as they stand.
            MissingExtraError: the engine is not installed.
        """
        from scalefuse.inference.classifier_ensemble import classifier_arguments
        from scalefuse.inference.engines.build import bundle_engine
        from scalefuse.inference.engines.choice import of_networks

        bundles, arguments = classifier_arguments(bundle, postprocess=postprocess, tta=tta)
        arguments |= options
        size = arguments["preprocessing"].size
        if job is not None:
            # What else the job asks of a picture, such as an explanation, is of the picture as it stands.
            job = replace(job, passes=job.passes - 1 + len(arguments.get("views", (AS_IT_STANDS,))))
        built = [
            bundle_engine(one, engine=engine, precision=precision, job=job, size=size) for one in bundles
        ]
        classifier = cls([one for one, _ in built], **arguments)
        classifier.computed_by = of_networks([choice for _, choice in built])
        return classifier

    def prepare(self, image: Image | NDArray[Any]) -> Tensor:
        """Network input ``(C, H, W)`` of one picture, standardised.

        Raises:
            InputError: no such picture, or its intensities need a choice.
        """
        return standardise(prepare(image, self.preprocessing, self.in_channels), self.preprocessing)

    def logits(self, images: Iterable[Image | NDArray[Any]]) -> NDArray[np.float32]:
        """Uncalibrated outputs; of several engines, the logarithm (of one label, the logit) of the mean.

        Args:
            images: pictures, read one batch at a time; as for :func:`~scalefuse.data.prepare`, or of PIL.

        Returns:
            ``(N, K)``.

        Raises:
            InputError: no such pictures.
            BundleError: the network gives another number of classes, or no numbers.
        """
        batches = [self.batch_logits(batch) for batch in self._batches(images)]
        return np.concatenate(batches) if batches else np.empty((0, len(self.labels)), np.float32)

    def predict(self, images: Iterable[Image | NDArray[Any]]) -> NDArray[np.float32]:
        """Probabilities ``(N, K)`` in [0, 1], after the temperature; arguments as :meth:`logits`."""
        return self.postprocessing.activate(self.logits(images))

    def embed(self, images: Iterable[Image | NDArray[Any]]) -> NDArray[np.float32]:
        """Feature vectors ``(N, D)``, as the network's last layer sees them; arguments as :meth:`logits`.

        Raises:
            InputError: several engines, or one that shows no embedding.
        """
        batches = [self.batch_embeddings(batch) for batch in self._batches(images)]
        if not batches:
            raise InputError("Expected pictures to embed, but got none.")
        return np.concatenate(batches)

    def prediction_sets(
        self, probabilities: NDArray[Any], coverage: float | None = None, *, method: SetMethod = "lac"
    ) -> NDArray[np.bool_]:
        """Classes that cannot be ruled out; see :func:`scalefuse.inference.conformal.prediction_sets`.

        Raises:
            InputError: no calibration scores, as with an ensemble, or a coverage outside (0, 1).
        """
        return prediction_sets(probabilities, self.postprocessing, coverage, method=method)

    def operating_point(self, sensitivity: float, positive: str | None = None) -> OperatingPoint:
        """The threshold for a sensitivity.

        Args:
            sensitivity: required, in (0, 1).
            positive: the class that is meant, by default that of the stored operating point (of classes that
                exclude one another); see
                :func:`scalefuse.inference.operating_point.choose_operating_point`.

        Raises:
            InputError: no calibration scores, too few cases, or no such class.
        """
        stored = self.postprocessing.operating_point
        if positive is None and stored is not None and not self.multi_label:
            positive = next(iter(stored.thresholds))
        return choose_operating_point(
            self.postprocessing.true_probabilities,
            self.labels,
            sensitivity,
            multi_label=self.multi_label,
            positive=positive,
        )

    def decide(
        self, probabilities: NDArray[Any], operating_point: OperatingPoint | None = None
    ) -> NDArray[Any]:
        """Class indices ``(N,)``, or for labels Boolean ``(N, K)``; at the stored operating point if None."""
        return decide(
            probabilities,
            self.labels,
            multi_label=self.multi_label,
            operating_point=operating_point or self.postprocessing.operating_point,
        )

    def explain(
        self,
        image: Image | NDArray[Any],
        *,
        stage: int | None = None,
        class_index: int | None = None,
        method: ExplanationMethod = "grad-cam",
    ) -> Explanation:
        """Where in a picture the evidence for a class lies; of several networks the mean of their maps.

        Args:
            image: as for :meth:`logits`.
            stage: of the network, counted from 1; None for the last one with at least 7×7 cells.
            class_index: the class; None for what the picture is called, of several labels the most probable.
            method: ``grad-cam`` (:func:`~scalefuse.inference.explanation.grad_cam`), or ``occlusion``
                (:func:`~scalefuse.inference.occlusion.occlusion_sensitivity` of the class's log odds): some
                eighty times the work, any engine, no stages.

        Raises:
            InputError: no such picture, stage, class or method, or an engine that shows no stages.
        """
        if class_index is not None:
            check_class_index(class_index, len(self.labels))
        if method == "occlusion" and stage is not None:
            raise InputError("Occlusion covers the picture itself; leave the stage out, or use grad-cam.")
        if method not in get_args(ExplanationMethod):
            raise InputError(f"Expected {' or '.join(get_args(ExplanationMethod))}, but got {method!r}.")
        size = image.size if isinstance(image, Image) else as_pixels(image).shape[:2]
        batch = self.prepare(image)[None]
        if class_index is None:
            probabilities = self.postprocessing.activate(self.batch_logits(batch))
            class_index = class_to_explain(probabilities[0], self.decide(probabilities)[0])
        maps: list[Tensor] = []
        number: int | None = None
        side, cells = self.preprocessing.size, (0, 0)
        for engine in self.engines:
            seen = batch.to(_device(engine))
            if method == "occlusion":
                score = partial(self._log_odds, engine, class_index)
                cam = occlusion_sensitivity(score, seen, batch_size=self.batch_size)
            else:
                chosen = torch.tensor([class_index], device=seen.device)
                found, number = grad_cam(engine, seen, chosen, stage=stage, multi_label=self.multi_label)
                cam = found[0].float().cpu()
            cells = (len(cam), len(cam[0]))
            maps.append(unit(cam if number is None else over_input(cam, side, engine, number)))
        whole = to_picture(sum_of_maps(maps, side), (size[0], size[1]), side, self.preprocessing.fit)
        return Explanation(unit(whole).numpy(), class_index, self.labels[class_index], number, cells)

    def _log_odds(self, engine: Engine, class_index: int, images: Tensor) -> Tensor:
        logits = self._checked(engine(images), len(images))
        return log_odds(logits, class_index, multi_label=self.multi_label)

    def batch_logits(self, batch: Tensor) -> NDArray[np.float32]:
        """Logits ``(N, K)`` of prepared pictures ``(N, C, H, W)``; see :meth:`logits`."""
        with torch.inference_mode():
            outputs = [self._averaged(engine, batch) for engine in self.engines]
            if len(outputs) == 1:
                return (outputs[0] / self.temperatures[0]).numpy()
            return mean_logits(outputs, self.temperatures, multi_label=self.multi_label).numpy()

    def batch_embeddings(self, batch: Tensor) -> NDArray[np.float32]:
        """Feature vectors ``(N, D)`` of prepared pictures ``(N, C, H, W)``; see :meth:`embed`."""
        self.check_embeddings()
        network: Any = self.engines[0]
        with torch.inference_mode():
            features = network.forward_features(batch.to(_device(network)))
            embedding: Tensor = network.forward_embedding(features[-1]).float().cpu()
        return embedding.numpy()

    def check_embeddings(self) -> None:
        """Refuse embeddings of several networks, or of a function that shows none.

        Raises:
            InputError: one of these.
        """
        if len(self.engines) > 1:
            raise InputError(
                f"Embeddings come from one network, but the ensemble has {len(self.engines)}; leave the "
                "others out."
            )
        self.check_stages()

    def check_stages(self, stage: int | None = None) -> None:
        """Refuse, before any picture is read, what :meth:`explain` would refuse.

        Raises:
            InputError: no such stage, or an engine that shows none.
        """
        blank = torch.zeros(1, self.in_channels, *self.preprocessing.size)
        for engine in self.engines:
            device = _device(engine)
            chosen = torch.zeros(1, dtype=torch.long, device=device)
            grad_cam(engine, blank.to(device), chosen, stage=stage, steps=1)

    def _batches(self, images: Iterable[Image | NDArray[Any]]) -> Iterator[Tensor]:
        if is_single(images):
            raise InputError("Expected several pictures, but got one; put it into a list.")
        batch: list[Tensor] = []
        for image in images:
            batch.append(self.prepare(image))
            if len(batch) == self.batch_size:
                yield torch.stack(batch)
                batch = []
        if batch:
            yield torch.stack(batch)

    def _averaged(self, engine: Engine, batch: Tensor) -> Tensor:
        """Mean of the logits over the views."""
        seen = batch.to(_device(engine))
        views = [self._checked(engine(see(seen, view)), len(batch)) for view in self.views]
        return views[0] if len(views) == 1 else torch.stack(views).mean(dim=0)

    def _checked(self, logits: Tensor, num_images: int) -> Tensor:
        expected = (num_images, len(self.labels))
        if tuple(logits.shape) != expected:
            raise BundleError(
                f"Expected logits of shape {expected} for {len(self.labels)} labels, but the network gave "
                f"{tuple(logits.shape)}; the model does not fit its labels."
            )
        logits = logits.float().cpu()
        if not torch.isfinite(logits).all():
            raise BundleError(
                "The network gave NaN or infinite values; the model is damaged, train it again."
            )
        return logits

    def _check(self) -> None:
        if not self.engines or len(self.temperatures) != len(self.engines):
            raise InputError(
                f"Expected at least one network and a temperature for each, but got {len(self.engines)} and "
                f"{len(self.temperatures)}."
            )
        fewest = 1 if self.multi_label else 2
        if len(self.labels) < fewest or len(set(self.labels)) < len(self.labels):
            raise InputError(
                f"Expected at least {fewest} labels that differ from one another, but got "
                f"{', '.join(self.labels) or 'none'}."
            )
        if self.postprocessing.multi_label != self.multi_label:
            raise InputError(
                "Post-processing for one label per picture does not fit several, nor the reverse."
            )
        if not self.views:
            raise InputError("Expected at least one view of a picture, but got none.")
        if self.batch_size < 1:
            raise InputError(f"Expected a batch size of at least 1, but got {self.batch_size}.")


def _device(engine: Engine) -> torch.device:
    """Where a network's weights lie; exported models take their input from main memory."""
    parameter = next(engine.parameters(), None) if isinstance(engine, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device
