"""The comparisons of ``make bench`` for inference: the three networks against their plain formulations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import inputs
from benchmarks.agreement import (
    NUM_MEASURED,
    classes_agree,
    mask_logits,
    masks_agree,
    measures_change,
    pictures_agree,
)
from benchmarks.compare import Comparison, Compute, Contender
from benchmarks.paths import Pair, predictor
from benchmarks.reference.dilran import PlainDILRAN, plain_softmax_nuclear_norm
from benchmarks.reference.hifuse import with_explicit_attention
from benchmarks.reference.msrf_net import plain_msrf_net
from scalefuse.bundle import Bundle, load_bundle
from scalefuse.fusion import GUIDED, STRATEGIES, GuidedStrategy
from scalefuse.inference.fuser import DEFAULT_STRATEGY, Fuser, FusionEngine
from scalefuse.networks.dilran import DILRAN
from scalefuse.workflows.networks import describe

PAPER_STRATEGY, CHEAP_STRATEGY = "softmax_nuclear_norm", "feature_energy_ratio"
STRATEGIES_COMPARED = (PAPER_STRATEGY, DEFAULT_STRATEGY, CHEAP_STRATEGY)
PLAIN = "plain fp32"
SHIPPED_CLASSIFIER = "hifuse-pneumoniamnist"


@dataclass(frozen=True)
class Sizes:
    """How much is computed.

    Attributes:
        fusion: Side of a pair.
        segmentation: Side of a picture to segment.
        classification: Side of a picture to classify.
        batch: Pictures of the larger batch to classify.
        checked: Inputs to compare outputs on: pairs, pictures to segment, pictures to classify.
        embed_dim: Width of HiFuse where its weights are random.
    """

    fusion: int = 256
    segmentation: int = 256
    classification: int = 224
    batch: int = 16
    checked: tuple[int, int, int] = (20, 50, 200)
    embed_dim: int = 96


QUICK = Sizes(fusion=48, segmentation=32, classification=32, batch=2, checked=(2, 2, 4), embed_dim=16)


def comparisons(
    pairs: list[Pair], sizes: Sizes, folder: Path, hifuse: str | None = None
) -> dict[str, Callable[[], Comparison]]:
    """Name to what makes the comparison, so that only one network's pictures and weights are held at a time.

    Args:
        pairs: Engines and number types to compare.
        sizes: How much is computed.
        folder: Where bundles with random weights are written.
        hifuse: A HiFuse bundle to take instead of random weights.
    """
    made: dict[str, Callable[[], Comparison]] = {"dilran": partial(_fusion, pairs, sizes)}
    for key, label in (("msrf_net", "full width"), ("msrf_net_half", "half width")):
        made[key] = partial(_segmentation, key, label, pairs, sizes, folder)
    for key, batch in (("hifuse_1", 1), (f"hifuse_{sizes.batch}", sizes.batch)):
        made[key] = partial(_tiny, key, batch, pairs, sizes, folder, hifuse)
    made["hifuse_shipped"] = partial(_shipped, "hifuse_shipped", min(8, sizes.batch), pairs, sizes)
    return made


def gflop(network: str, shape: tuple[int, int], parts: tuple[str, ...] = (), **arguments: Any) -> float:
    """Operations of one image in thousands of millions, two for each multiply-accumulate.

    Args:
        network: Name in the catalogue.
        shape: Height and width. The catalogue counts at one size; the count grows with the pixels.
        parts: Parts to add up; the whole network where empty.
        **arguments: The network's arguments.
    """
    from scalefuse.catalog import NETWORKS

    _, height, width = NETWORKS[network].example_shape
    # The catalogue counts on its example's channels; the first layer is next to nothing.
    arguments.pop("in_channels", None)
    sizes = {size.name: size.macs for size in describe(network, **arguments)}
    macs = sum(sizes[part] for part in parts or ("total",))
    return 2e-9 * macs * shape[0] * shape[1] / (height * width)


def plain_dilran_gflop(shape: tuple[int, int], *, encodings: int, decodings: int) -> float:
    """Operations of DILRAN layer by layer, in thousands of millions; composed layers need fewer.

    Args:
        shape: Height and width, even.
        encodings: Images encoded.
        decodings: Pictures decoded.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = PlainDILRAN(DILRAN())
        image, features = torch.empty(1, 1, *shape), torch.empty(1, network.features, *shape)
    flops = []
    for compute in (partial(network.encode, image), partial(network.decode, features)):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            compute()
        flops.append(counter.get_total_flops())
    return 1e-9 * (encodings * flops[0] + decodings * flops[1])


def _gib(network: torch.nn.Module) -> float:
    return sum(p.numel() * p.element_size() for p in network.parameters()) / 2**30


def _fusion(pairs: list[Pair], sizes: Sizes) -> Comparison:
    bundle = load_bundle("dilran")
    network: Any = bundle.build_network()
    plain = PlainDILRAN(network).eval()
    checked = inputs.pairs(sizes.checked[0], sizes.fusion)
    operations = gflop("dilran", (sizes.fusion,) * 2) + gflop("dilran", (sizes.fusion,) * 2, ("encoder",))
    layer_by_layer = plain_dilran_gflop((sizes.fusion,) * 2, encodings=2, decodings=1)

    def reference(strategy: Callable[[Tensor, Tensor], Tensor], pair: tuple[Tensor, Tensor]) -> Tensor:
        return plain.decode(strategy(*map(plain.encode, pair))).clamp(0, 1)

    def guided(strategy: GuidedStrategy, pair: tuple[Tensor, Tensor]) -> Tensor:
        return strategy(*pair, *map(plain.encode, pair))

    expected = {
        name: partial(guided, GUIDED[name]) if name in GUIDED else partial(reference, STRATEGIES[name])
        for name in STRATEGIES_COMPARED
    }
    expected[PAPER_STRATEGY] = right = partial(reference, plain_softmax_nuclear_norm)
    contenders = [
        Contender(f"{PLAIN}, {PAPER_STRATEGY}", "fp32", lambda: right, layer_by_layer, held_gib=_gib(plain))
    ]

    @cache
    def engine(pair: Pair) -> FusionEngine:
        made: FusionEngine = predictor(bundle, pair).engine
        return made

    def make(pair: Pair, strategy: str) -> Compute:
        fuser = Fuser(engine(pair), strategy=strategy)
        return lambda images: fuser.fuse_tensors(*images)

    for pair in pairs:
        contenders += [
            Contender(
                f"{pair.name}, {name}",
                pair.precision,
                partial(make, pair, name),
                operations,
                expected[name],
                prepared=place > 0,
            )
            for place, name in enumerate(STRATEGIES_COMPARED)
        ]

    def agree(one: list[Any], other: list[Any]) -> dict[str, float]:
        few = checked.tensors[: min(len(one), NUM_MEASURED)]
        change = measures_change(few, one[: len(few)], other[: len(few)])
        return {**pictures_agree(one, other), **change}

    title = f"DILRAN: a pair of {sizes.fusion}×{sizes.fusion}, from pictures to picture"
    return Comparison("dilran", title, contenders, checked.tensors[0], 1, checked, agree)


def _segmentation(key: str, label: str, pairs: list[Pair], sizes: Sizes, folder: Path) -> Comparison:
    found = inputs.msrf_bundles(folder)
    name, bundle = next((name, bundle) for name, bundle in found.items() if label in name)
    network: Any = bundle.build_network()
    plain = plain_msrf_net(network).eval()
    config = bundle.info.network.model_dump(exclude={"name"})
    operations = gflop("msrf_net", (sizes.segmentation,) * 2, **config)
    checked = inputs.cells(sizes.checked[1], sizes.segmentation)

    def make(pair: Pair) -> Compute:
        engine = predictor(bundle, pair).engines[0]
        return lambda image: mask_logits(engine(image))

    contenders = [
        Contender(PLAIN, "fp32", lambda: lambda image: plain(image).mask, operations, held_gib=_gib(plain))
    ]
    contenders += [Contender(pair.name, pair.precision, partial(make, pair), operations) for pair in pairs]
    title = f"MSRF-Net ({name}): one picture of {sizes.segmentation}×{sizes.segmentation}"
    return Comparison(key, title, contenders, checked.tensors[0], 1, checked, masks_agree)


def _tiny(
    key: str, batch: int, pairs: list[Pair], sizes: Sizes, folder: Path, named: str | None
) -> Comparison:
    """HiFuse-Tiny at the paper's width and size."""
    bundle, weights = inputs.hifuse_bundle(folder, named, sizes.embed_dim)
    channels = bundle.info.network.in_channels  # type: ignore[union-attr]
    found = inputs.slices(max(batch, sizes.checked[2]), sizes.classification)
    singles = inputs.Inputs(found.source, [image[:, :channels] for image in found.tensors])
    return _classification(key, f"HiFuse-Tiny ({weights})", batch, pairs, bundle, singles)


def _shipped(key: str, batch: int, pairs: list[Pair], sizes: Sizes) -> Comparison:
    """The trained classifier of the package, on whose decisions agreement means most."""
    bundle = load_bundle(SHIPPED_CLASSIFIER)
    singles = inputs.x_rays(max(batch, sizes.checked[2]), bundle)
    return _classification(
        key, f"HiFuse ({SHIPPED_CLASSIFIER}, a third of the width)", batch, pairs, bundle, singles
    )


def _classification(
    key: str, what: str, batch: int, pairs: list[Pair], bundle: Bundle, singles: inputs.Inputs
) -> Comparison:
    network: Any = bundle.build_network()
    plain = with_explicit_attention(network).eval()
    config = bundle.info.network.model_dump(exclude={"name"})
    images = singles.tensors
    height, width = images[0].shape[2:]
    operations = batch * gflop("hifuse", (height, width), **config)
    batches = [torch.cat(images[start : start + batch]) for start in range(0, len(images) - batch + 1, batch)]
    checked = inputs.Inputs(singles.source, batches)

    def make(pair: Pair) -> Compute:
        engine = predictor(bundle, pair).engines[0]
        return lambda image: engine(image)

    contenders = [Contender(PLAIN, "fp32", lambda: plain, operations, held_gib=_gib(plain))]
    contenders += [Contender(pair.name, pair.precision, partial(make, pair), operations) for pair in pairs]
    title = f"{what}: {height}×{width}, batch {batch}"
    return Comparison(key, title, contenders, batches[0], batch, checked, classes_agree)
