"""The comparisons on a CUDA device: eager fp32, tf32 and bf16, compiled, and as a CUDA graph.

``make bench`` runs this where it finds a device: ``python -m benchmarks.gpu``. The rows ``package`` are what
users get, with inputs on the device and results in main memory; the others keep both on the device.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import inputs
from benchmarks.agreement import classes_agree, mask_logits, masks_agree, pictures_agree
from benchmarks.ceilings import allow_tf32
from benchmarks.compare import Comparison, Compute, Contender, compare
from benchmarks.inference import PLAIN, QUICK, Sizes, gflop, plain_dilran_gflop
from benchmarks.jobs import Job, run_jobs
from benchmarks.measuring import Clock
from benchmarks.page import RESULTS, write_page, write_results
from benchmarks.paths import Pair, predictor
from benchmarks.reference.dilran import PlainDILRAN
from benchmarks.reference.hifuse import with_explicit_attention
from benchmarks.reference.msrf_net import plain_msrf_net
from benchmarks.training import compare_steps, trainings
from scalefuse.bundle import Bundle, load_bundle
from scalefuse.fusion import GUIDED
from scalefuse.inference.fuser import DEFAULT_STRATEGY

MODES: tuple[tuple[str, str, str], ...] = (
    ("eager fp32", "fp32", "eager"),
    ("eager tf32", "tf32", "eager"),
    ("eager bf16", "bf16", "eager"),
    ("compiled bf16", "bf16", "compiled"),
    ("CUDA graph bf16", "bf16", "graph"),
)
"""Name, number type and how it is launched."""


class _FusePair(nn.Module):
    """Two pictures in one batch ``(2, 1, H, W)``, so that a pair is one input as a graph needs it."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pair: Tensor) -> Tensor:
        f1, f2 = self.network.encode(pair).chunk(2)
        return GUIDED[DEFAULT_STRATEGY](*pair.chunk(2), f1, f2)


class _MaskOnly(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return mask_logits(self.network(image))


def gpu_comparisons(
    sizes: Sizes, folder: Path, *, device: str = "cuda", hifuse: str | None = None
) -> dict[str, Callable[[], Comparison]]:
    """Name to what makes the comparison. On ``cpu``, which is for tests, only the eager modes but tf32."""
    made: dict[str, Callable[[], Comparison]] = {"gpu_dilran": partial(_fusion, sizes, device)}
    for batch in (1, sizes.batch):
        made[f"gpu_msrf_net_{batch}"] = partial(_segmentation, sizes, folder, device, batch)
        made[f"gpu_hifuse_{batch}"] = partial(_classification, sizes, folder, device, batch, hifuse)
    return made


def _contenders(
    plain: nn.Module,
    network: nn.Module,
    operations: float,
    device: str,
    package: Callable[[Pair], Compute],
    plain_operations: float | None = None,
) -> list[Contender]:
    def make_plain() -> Compute:
        moved = plain.eval().to(device)
        return partial(_call, moved, "fp32")

    contenders = [Contender(PLAIN, "fp32", make_plain, plain_operations or operations)]
    for name, precision, launch in MODES:
        if device == "cpu" and (precision == "tf32" or launch != "eager"):
            continue
        make = partial(_make, network, precision, launch, device)
        contenders.append(Contender(name, precision, make, operations))
    for precision in ("fp32", "bf16"):
        make_package = partial(package, Pair("torch", precision))
        contenders.append(Contender(f"package, {precision}", precision, make_package, operations))
    return contenders


def _package_engine(bundle: Bundle, pair: Pair) -> Compute:
    engine = predictor(bundle, pair).engines[0]
    return lambda images: mask_logits(engine(images))


def _package_fuser(bundle: Bundle, pair: Pair) -> Compute:
    fuser = predictor(bundle, pair, strategy=DEFAULT_STRATEGY)

    def fuse(images: Tensor) -> Tensor:
        # As for a user: pictures come from main memory and go back there.
        pictures = images.cpu()
        return fuser.fuse_tensors(pictures[:1], pictures[1:])

    return fuse


def _make(network: nn.Module, precision: str, launch: str, device: str) -> Compute:
    module: Any = copy.deepcopy(network).eval().requires_grad_(False).to(device)
    if precision == "bf16":
        module = module.to(memory_format=torch.channels_last)
    if launch == "compiled":
        module = torch.compile(module)
    if launch == "graph":
        return _Graph(module, precision)
    return partial(_call, module, precision)


def _call(module: Any, precision: str, images: Tensor) -> Tensor:
    allow_tf32(precision == "tf32")
    if precision != "bf16":
        output: Tensor = module(images)
        return output
    # A cast's copy must not be kept between calls: in a captured graph it would be of no use.
    with torch.autocast(images.device.type, torch.bfloat16, cache_enabled=False):
        half: Tensor = module(images.contiguous(memory_format=torch.channels_last))
    return half.float()


class _Graph:
    """A module recorded once for inputs of one shape, and replayed without the launches' cost."""

    def __init__(self, module: nn.Module, precision: str) -> None:
        self.module, self.precision = module, precision
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, images: Tensor) -> Tensor:
        if self.graph is None:
            self._record(images)
        assert self.graph is not None
        self.input.copy_(images)
        self.graph.replay()
        return self.output.clone()

    def _record(self, images: Tensor) -> None:
        self.input = images.clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                _call(self.module, self.precision, self.input)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.output = _call(self.module, self.precision, self.input)


def _batches(source: inputs.Inputs, batch: int, device: str) -> inputs.Inputs:
    tensors = source.tensors
    if len(tensors) < batch:
        tensors = [tensors[index % len(tensors)] for index in range(batch)]
    starts = range(0, len(tensors) - batch + 1, batch)
    return inputs.Inputs(
        source.source, [torch.cat(tensors[start : start + batch]).to(device) for start in starts]
    )


def _fusion(sizes: Sizes, device: str) -> Comparison:
    bundle = load_bundle("dilran")
    network: Any = bundle.build_network()
    found = inputs.pairs(sizes.checked[0], sizes.fusion)
    checked = inputs.Inputs(found.source, [torch.cat(pair).to(device) for pair in found.tensors])
    shape = (sizes.fusion, sizes.fusion)
    operations = gflop("dilran", shape) + gflop("dilran", shape, ("encoder",))
    contenders = _contenders(
        _FusePair(PlainDILRAN(network)),
        _FusePair(network),
        operations,
        device,
        partial(_package_fuser, bundle),
        plain_dilran_gflop(shape, encodings=2, decodings=1),
    )
    title = f"DILRAN: a pair of {shape[0]}×{shape[1]}, {DEFAULT_STRATEGY}"
    return Comparison(
        "gpu_dilran",
        title,
        contenders,
        checked.tensors[0],
        1,
        checked,
        _on_cpu(pictures_agree),
    )


def _segmentation(sizes: Sizes, folder: Path, device: str, batch: int) -> Comparison:
    bundles = inputs.msrf_bundles(folder / f"batch-{batch}")
    label, bundle = list(bundles.items())[0 if sizes.embed_dim == Sizes.embed_dim else 1]
    network: Any = bundle.build_network()
    config = bundle.info.network.model_dump(exclude={"name"})
    operations = batch * gflop("msrf_net", (sizes.segmentation,) * 2, **config)
    checked = _batches(inputs.cells(sizes.checked[1], sizes.segmentation), batch, device)
    contenders = _contenders(
        _MaskOnly(plain_msrf_net(network)),
        _MaskOnly(network),
        operations,
        device,
        partial(_package_engine, bundle),
    )
    title = f"MSRF-Net ({label}): {sizes.segmentation}×{sizes.segmentation}, batch {batch}"
    return Comparison(
        f"gpu_msrf_net_{batch}", title, contenders, checked.tensors[0], batch, checked, _on_cpu(masks_agree)
    )


def _classification(sizes: Sizes, folder: Path, device: str, batch: int, named: str | None) -> Comparison:
    bundle, weights = inputs.hifuse_bundle(folder / f"hifuse-{batch}", named, sizes.embed_dim)
    network: Any = bundle.build_network()
    config = bundle.info.network.model_dump(exclude={"name"})
    operations = batch * gflop("hifuse", (sizes.classification,) * 2, **config)
    checked = _batches(inputs.slices(sizes.checked[2], sizes.classification), batch, device)
    plain = with_explicit_attention(network)
    contenders = _contenders(plain, network, operations, device, partial(_package_engine, bundle))
    title = f"HiFuse-Tiny ({weights}): {sizes.classification}×{sizes.classification}, batch {batch}"
    return Comparison(
        f"gpu_hifuse_{batch}", title, contenders, checked.tensors[0], batch, checked, _on_cpu(classes_agree)
    )


def _on_cpu(agree: Callable[[list[Any], list[Any]], Any]) -> Callable[[list[Any], list[Any]], Any]:
    return lambda one, other: agree([a.cpu() for a in one], [b.cpu() for b in other])


def jobs(
    folder: Path, clock: Clock, *, device: str = "cuda", quick: bool = False, hifuse: str | None = None
) -> list[Job]:
    """All measurements on a device."""
    sizes = QUICK if quick else Sizes()

    def run(make: Callable[[], Comparison], seconds: float) -> dict[str, Any]:
        return compare(make(), clock, seconds, quick=quick, device=device)

    def train(make: Any, seconds: float) -> dict[str, Any]:
        return compare_steps(make(), clock, seconds, quick=quick, device=device)

    found = gpu_comparisons(sizes, folder, device=device, hifuse=hifuse)
    made = [Job(name, "comparisons", 1.0, partial(run, make)) for name, make in found.items()]
    steps = trainings(sizes, quick=quick).items()
    return made + [Job(name, "training", 1.0, partial(train, make)) for name, make in steps]


def main(words: list[str] | None = None) -> int:
    """Measure and write; without a device, say so."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=400.0, help="time to aim at")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--hifuse", help="bundle of a HiFuse-Tiny to measure instead of random weights")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, help="folder for the results")
    arguments = parser.parse_args(words)
    if not torch.cuda.is_available():
        sys.exit("No CUDA device was found.")
    clock = Clock(arguments.seconds)
    with tempfile.TemporaryDirectory(prefix="scalefuse-bench-") as folder:
        todo = jobs(Path(folder), clock, quick=arguments.quick, hifuse=arguments.hifuse)
        files = write_results(arguments.output, run_jobs("bench-gpu", todo, clock))
    if arguments.output == RESULTS:
        write_page()
    print(f"written: {', '.join(str(file) for file in files)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
