"""Small networks with weights that matter, and pictures: real ones where they are at hand."""

import copy
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scalefuse.bundle import load_bundle
from scalefuse.catalog import NETWORKS
from scalefuse.data.phantom import head_phantom
from scalefuse.inference.engines.build import build_engine, bundle_engine
from scalefuse.inference.engines.choice import EngineChoice
from scalefuse.inference.segmenter import Segmenter

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("SCALEFUSE_DATA", ROOT.parent / "shared" / "data"))
SAMPLES = ROOT / "src" / "scalefuse" / "samples" / "nuclei" / "images"

X_RAYS = ROOT / "src" / "scalefuse" / "samples" / "chest-x-rays"

PACKAGES = {"torch": (), "openvino": ("openvino",), "onnxruntime": ("onnxruntime", "onnxscript", "onnx")}


def pytest_generate_tests(metafunc):
    if "pair" in metafunc.fixturenames:
        pairs = [("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16")]
        metafunc.parametrize("pair", [*pairs, ("onnxruntime", "fp32")], ids="-".join, indirect=True)


@pytest.fixture
def pair(request):
    """An engine and a precision that this installation and this processor can compute."""
    engine, precision = request.param
    for package in PACKAGES[engine]:
        pytest.importorskip(package, reason=f"the extra of {engine} is not installed")
    if (engine, precision) == ("openvino", "bf16"):
        import openvino

        able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if "BF16" not in able:
            pytest.skip("this processor has no bf16")
    return engine, precision


@pytest.fixture(scope="session")
def tiny():
    """``tiny("hifuse")``: config and network of the catalogue's small size; its norms have statistics."""
    made = {}

    def make(name):
        if name not in made:
            torch.manual_seed(0)
            spec = NETWORKS[name]
            config = spec.config(name=name, **spec.tiny)
            network = spec.build(config).eval().requires_grad_(False)
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.running_mean.normal_(0, 0.2)
                    module.running_var.uniform_(0.5, 2)
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.normal_(0, 0.2)
            made[name] = config, network
        config, network = made[name]
        return config, copy.deepcopy(network)

    return make


@pytest.fixture(scope="session")
def engine_of():
    """``engine_of(network, config, "openvino", "bf16")``."""

    def make(network, config, engine, precision):
        return build_engine(network, config, EngineChoice(engine, precision))

    return make


@pytest.fixture(scope="session")
def tiny_engine(tiny, engine_of):
    """``tiny_engine("hifuse", pair)``: a small network, and an engine that computes it, made once."""
    made = {}

    def make(name, pair):
        if (name, pair) not in made:
            config, network = tiny(name)
            made[name, pair] = network, engine_of(network, config, *pair)
        return made[name, pair]

    return make


@pytest.fixture(scope="session")
def shipped():
    """``shipped("dilran")``: a bundle that comes with the package, loaded once."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = load_bundle(name)
        return made[name]

    return make


@pytest.fixture(scope="session")
def shipped_engine(shipped):
    """``shipped_engine("dilran", pair)``: what computes a shipped bundle, compiled once."""
    made = {}

    def make(name, pair):
        if (name, pair) not in made:
            made[name, pair], choice = bundle_engine(shipped(name), engine=pair[0], precision=pair[1])
            assert (choice.engine, choice.precision) == pair
        return made[name, pair]

    return make


@pytest.fixture(scope="session")
def ct_mri():
    """A few pairs in [0, 1]: patients where the data are at hand, else drawn heads."""
    folder = DATA / "aanlib-ct-mri" / "val"
    if folder.is_dir():
        names = sorted(file.name for file in (folder / "CT").glob("*.png"))[::9][:3]
        return [tuple(_grey(folder / kind / name) for kind in ("CT", "MRI")) for name in names]
    drawn = (head_phantom(256, seed) for seed in range(3))
    return [(((ct + 200) / 1500).clip(0, 1).astype(np.float32), mri.astype(np.float32)) for ct, mri in drawn]


@pytest.fixture(scope="session")
def nuclei():
    """A few pictures of nuclei, cut to 256×256: the package's, and some of the data where that is at hand."""
    files = sorted(SAMPLES.glob("*.png"))
    files += sorted((DATA / "dsb2018" / "val" / "images").glob("*.png"))[::6][:5]
    return [np.asarray(Image.open(file).convert("RGB"))[:256, :256] for file in files]


@pytest.fixture(scope="session")
def segmented_nuclei(shipped, nuclei):
    """What the plain network finds in them."""
    bundle = shipped("msrf-net-nuclei")
    segmenter = Segmenter.from_bundle(bundle)
    segmenter.engines = [bundle.build_network()]
    return [segmenter.segment(picture) for picture in nuclei]


@pytest.fixture(scope="session")
def chest_x_rays():
    """200 chest x-rays of validation where the data are at hand, else those of the package."""
    file = DATA / "medmnist" / "pneumoniamnist_train_val.npz"
    if file.is_file():
        with np.load(file) as arrays:
            return list(arrays["val_images"][:200])
    return [np.asarray(Image.open(one).convert("L")) for one in sorted(X_RAYS.rglob("*.png"))]


def _grey(file):
    return np.asarray(Image.open(file).convert("L"), np.float32) / 255
