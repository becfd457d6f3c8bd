"""What other people's programs may rely on. A name that goes or changes its arguments breaks them."""

import importlib
import inspect

import pytest

PUBLIC = {
    "scalefuse": ["__version__", "load"],
    "scalefuse.fusion": ["GUIDED", "STRATEGIES", "UNNORMALISED", "GuidedStrategy", "Strategy"],
    "scalefuse.metrics": [
        "FUSION_METRICS",
        "FUSION_METRIC_DEFINITIONS",
        "FUSION_METRIC_HIGHER_IS_BETTER",
        "FusionMetric",
        "GreyImage",
        "average_gradient",
        "correlation_coefficient",
        "edge_preservation",
        "entropy",
        "feature_mutual_information",
        "fsim",
        "ms_ssim",
        "mutual_information",
        "normalised_mutual_information",
        "psnr",
        "spatial_frequency",
        "ssim",
        "standard_deviation",
        "sum_of_correlations_of_differences",
        "visual_information_fidelity",
    ],
    "scalefuse.config": [
        "ClassificationRun",
        "FusionRun",
        "RunConfig",
        "SegmentationRun",
        "config_yaml",
        "load_config",
        "shipped_configs",
    ],
}


@pytest.mark.parametrize("module", PUBLIC)
def test_exported_names(module):
    loaded = importlib.import_module(module)
    assert sorted(loaded.__all__) == sorted(PUBLIC[module])
    for name in loaded.__all__:
        assert getattr(loaded, name) is not None


def test_strategies_and_measures():
    from scalefuse.fusion import STRATEGIES
    from scalefuse.fusion.baselines import BASELINES
    from scalefuse.metrics import FUSION_METRICS

    assert {
        "softmax_nuclear_norm",
        "average",
        "addition",
        "maximum",
        "feature_energy_ratio",
        "l1_norm",
        "l1_norm_raw",
        "l1_norm_half",
        "local_energy_ratio",
    } <= set(STRATEGIES)
    assert set(BASELINES) == {"average", "maximum", "laplacian_pyramid"}
    assert list(FUSION_METRICS) == [
        "EN",
        "SD",
        "SF",
        "AG",
        "MI",
        "NMI",
        "CC",
        "SCD",
        "VIF",
        "Qabf",
        "SSIM",
        "MS-SSIM",
        "PSNR",
        "FMI",
        "FSIM",
    ]


def test_signatures():
    import scalefuse
    from scalefuse.inference.fuser import Fuser
    from scalefuse.metrics import FUSION_METRICS
    from scalefuse.networks.dilran import DILRAN

    assert next(iter(inspect.signature(scalefuse.load).parameters)) == "name_or_path"
    assert list(inspect.signature(Fuser.__call__).parameters) == ["self", "a", "b"]
    assert list(inspect.signature(Fuser.fuse_images).parameters) == ["self", "a", "b", "range_a", "range_b"]
    assert list(inspect.signature(DILRAN).parameters) == ["features", "dilations"]
    for name in ("encode", "decode", "forward"):
        assert callable(getattr(DILRAN, name))
    for function in FUSION_METRICS.values():
        assert list(inspect.signature(function).parameters)[:3] == ["fused", "a", "b"]


def test_unknown_names_are_attribute_errors():
    import scalefuse

    with pytest.raises(AttributeError, match="nothing"):
        _ = scalefuse.nothing
