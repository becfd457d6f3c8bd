"""Small models with random weights, and small pictures with masks or labels."""

import numpy as np
import pytest
import torch

from scalefuse.bundle import BundleInfo, load_bundle, save_bundle
from scalefuse.data import write_image
from scalefuse.data.phantom import head_phantom
from scalefuse.data.write import write_pixels
from scalefuse.export.onnx import to_onnx
from scalefuse.networks.dilran.spec import DILRANConfig
from scalefuse.networks.dilran.spec import build as build_dilran
from scalefuse.networks.hifuse.spec import HiFuseConfig
from scalefuse.networks.hifuse.spec import build as build_hifuse
from scalefuse.networks.msrf_net.spec import MSRFNetConfig
from scalefuse.networks.msrf_net.spec import build as build_msrf_net
from scalefuse.workflows.export import ExportOptions, export

onnx = pytest.importorskip("onnx", reason="exporting needs the extra `onnx`")
for package in ("onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="exporting needs the extra `onnx`")


def _saved(folder, build, **info):
    torch.manual_seed(0)
    network = build(info["network"])
    # Norms as after some training, not the identity that they begin with.
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return load_bundle(save_bundle(folder, BundleInfo(**info), network.state_dict(), "# random\n"))


@pytest.fixture(scope="session")
def fusion_bundle(tmp_path_factory):
    return _saved(
        tmp_path_factory.mktemp("bundles") / "fusion",
        build_dilran,
        name="tiny-fusion",
        task="fusion",
        network=DILRANConfig(features=8),
        strategy="local_energy_ratio",
    )


@pytest.fixture(scope="session")
def segmentation_bundle(tmp_path_factory):
    return _saved(
        tmp_path_factory.mktemp("bundles") / "segmentation",
        build_msrf_net,
        name="tiny-segmentation",
        task="segmentation",
        network=MSRFNetConfig(width=8, growth=4),
        labels=("background", "head"),
        preprocessing={"resize": None, "intensity": None, "multi_label": False},
        postprocessing={"threshold": 0.6},
    )


@pytest.fixture(scope="session")
def classification_bundle(tmp_path_factory):
    return _saved(
        tmp_path_factory.mktemp("bundles") / "classification",
        build_hifuse,
        name="tiny-classification",
        task="classification",
        network=HiFuseConfig(num_classes=3, embed_dim=16, depths=(1, 1, 1, 1)),
        labels=("a", "b", "c"),
        preprocessing={"size": [40, 48], "fit": "crop", "mean": 0.4, "std": 0.25},
        postprocessing={"temperature": 0.01},
    )


@pytest.fixture(scope="session")
def heads(tmp_path_factory):
    """``pairs/`` of CT and MRI, a ``set/`` with masks, and ``classes/`` with a folder per class."""
    folder = tmp_path_factory.mktemp("heads")
    for name in ("pairs/CT", "pairs/MRI", "set/images", "set/masks", "classes/a", "classes/b", "classes/c"):
        (folder / name).mkdir(parents=True)
    for seed in range(3):
        ct, mri = head_phantom(61, seed=seed)
        write_image(folder / f"pairs/CT/{seed}.png", np.clip((ct + 200) / 1500, 0, 1), bits=8)
        write_image(folder / f"pairs/MRI/{seed}.png", mri, bits=8)
        write_image(folder / f"set/images/{seed}.png", mri[:50], bits=8)
        write_pixels(folder / f"set/masks/{seed}.png", (ct[:50] > -500).astype(np.uint8) * 255)
        write_image(folder / f"classes/{'abc'[seed]}/{seed}.png", mri, bits=8)
    return folder


_TRACED = {}


def _traced_once(graph, metadata):
    """Tests of what happens to a traced graph trace each graph of each model once: it takes seconds."""
    key = (metadata["name"], graph.role, graph.size, graph.batch)
    if key not in _TRACED:
        _TRACED[key] = to_onnx(graph, metadata)
    copy = onnx.ModelProto()
    copy.CopyFrom(_TRACED[key])
    return copy


@pytest.fixture
def traced_once(monkeypatch):
    monkeypatch.setattr("scalefuse.workflows.export.to_onnx", _traced_once)
    return _traced_once


def _exported(bundle, folder, images):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scalefuse.workflows.export.to_onnx", _traced_once)
        return folder, export(bundle, folder, ExportOptions("onnx", images=images))


@pytest.fixture(scope="session")
def fusion(fusion_bundle, heads, tmp_path_factory):
    """The folder and record of an export."""
    return _exported(fusion_bundle, tmp_path_factory.mktemp("exports") / "fusion", heads / "pairs")


@pytest.fixture(scope="session")
def segmentation(segmentation_bundle, heads, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "segmentation"
    return _exported(segmentation_bundle, folder, heads / "set")


@pytest.fixture(scope="session")
def classification(classification_bundle, heads, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "classification"
    return _exported(classification_bundle, folder, heads / "classes")
