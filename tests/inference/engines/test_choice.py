import dataclasses

import pytest
import torch

from scalefuse.errors import InputError, MissingExtraError
from scalefuse.inference.engines import bf16_gain, hardware, packages
from scalefuse.inference.engines.choice import (
    SUPPORTED,
    WORTH_COMPILING,
    WORTH_SHORTENING,
    EngineChoice,
    Job,
    choose_engine,
)
from scalefuse.inference.engines.hardware import Machine, read_machine

OPENVINO = {"openvino": "2026.0"}
ALL = {**OPENVINO, "onnx": "1.18", "onnxscript": "0.5", "onnxruntime": "1.22"}
PLAIN = Machine("old", 2, 2, ("AVX2",), 8.0, (), False, {})
SHORT = dataclasses.replace(PLAIN, features=("AVX2", "AVX-512", "AVX-512 bf16"), bf16_gain=2.0)
AMX = dataclasses.replace(PLAIN, features=("AVX-512", "AMX bf16"), engines=ALL)
GPU = dataclasses.replace(AMX, cuda_devices=("some GPU",), cuda_bf16=True)


@pytest.mark.parametrize(
    ("machine", "megapixels", "expected"),
    [
        (PLAIN, None, "torch in fp32 on the CPU"),
        (SHORT, 0.1, "torch in fp32 on the CPU"),
        (SHORT, 1000.0, "torch in bf16 on the CPU"),
        (AMX, 0.1, "torch in fp32 on the CPU"),
        (AMX, 0.4, "torch in bf16 on the CPU"),
        (AMX, 1000.0, "openvino in bf16 on the CPU"),
        (AMX, None, "openvino in bf16 on the CPU"),
        (dataclasses.replace(PLAIN, engines=ALL), None, "openvino in fp32 on the CPU"),
        (GPU, 0.1, "torch in fp32 on a CUDA device"),
        (GPU, None, "torch in bf16 on a CUDA device"),
        (dataclasses.replace(GPU, cuda_bf16=False), None, "torch in fp32 on a CUDA device"),
    ],
)
@pytest.mark.parametrize("network", ["dilran", "msrf_net", "hifuse", "unet"])
def test_auto(machine, megapixels, expected, network):
    assert str(choose_engine(network=network, machine=machine, megapixels=megapixels)) == expected


def test_the_steps_are_where_the_tables_say():
    for network, worth in WORTH_COMPILING.items():
        for size, expected in ((worth, "openvino"), (worth * 0.99, "torch")):
            assert choose_engine(network=network, machine=AMX, megapixels=size).engine == expected
        for size, expected in ((WORTH_SHORTENING, "bf16"), (WORTH_SHORTENING * 0.99, "fp32")):
            assert choose_engine(network=network, machine=AMX, megapixels=size).precision == expected


def test_large_pairs_are_fused_where_they_need_less_memory():
    for each, expected in ((2.0, "openvino"), (2.1, "torch")):
        choice = choose_engine(network="dilran", machine=AMX, megapixels=100.0, megapixels_each=each)
        assert str(choice) == f"{expected} in bf16 on the CPU"
    # Who asks for an engine gets it; masks are found in windows, and classifiers see pictures at one size.
    large: dict = {"machine": AMX, "megapixels": 100.0, "megapixels_each": 50.0}
    assert choose_engine("openvino", network="dilran", **large).engine == "openvino"
    assert choose_engine(network="msrf_net", **large).engine == "openvino"
    assert choose_engine(network="hifuse", **large).engine == "openvino"


def test_one_of_the_two_may_be_given():
    def choose(engine, precision, machine):
        return str(choose_engine(engine, precision, network="dilran", machine=machine))

    assert choose("auto", "fp32", AMX) == "openvino in fp32 on the CPU"
    # OpenVINO has bf16 only where the processor has; torch computes it everywhere.
    assert choose("auto", "bf16", dataclasses.replace(PLAIN, engines=ALL)) == "torch in bf16 on the CPU"
    assert choose("torch", "auto", AMX) == "torch in bf16 on the CPU"
    assert choose("torch", "auto", PLAIN) == "torch in fp32 on the CPU"
    assert choose("compiled", "auto", GPU) == "compiled in bf16 on a CUDA device"
    assert choose("openvino", "auto", AMX) == "openvino in bf16 on the CPU"
    assert choose("onnxruntime", "auto", AMX) == "onnxruntime in fp32 on the CPU"


def test_only_auto_falls_back():
    assert choose_engine(network="dilran", machine=AMX).may_fall_back
    assert not choose_engine("openvino", network="dilran", machine=AMX).may_fall_back


@pytest.mark.parametrize(
    ("engine", "precision"),
    [(engine, one) for engine, pairs in SUPPORTED.items() for one in pairs if pairs[one] is None],
)
def test_supported_pairs_are_taken(engine, precision):
    choice = choose_engine(engine, precision, network="hifuse", machine=AMX)
    assert choice == EngineChoice(engine, precision)


def test_unsupported_pairs_are_refused_with_those_that_work():
    with pytest.raises(
        InputError, match=r"no bf16 convolution on CPUs. Pairs that work: torch with fp32, bf16"
    ):
        choose_engine("onnxruntime", "bf16", network="dilran", machine=AMX)
    with pytest.raises(InputError, match="only on processors that have it"):
        choose_engine("openvino", "bf16", network="dilran", machine=dataclasses.replace(PLAIN, engines=ALL))
    with pytest.raises(InputError, match="Unknown engine 'tensorrt'; expected one of: auto, torch"):
        choose_engine("tensorrt", network="dilran", machine=AMX)
    with pytest.raises(InputError, match="Unknown precision 'fp8'; expected one of: auto, fp32, bf16"):
        choose_engine("auto", "fp8", network="dilran", machine=AMX)


def test_the_error_names_the_extra():
    with pytest.raises(
        MissingExtraError, match=r"not installed: openvino; .*pip install 'scalefuse\[openvino\]'"
    ):
        choose_engine("openvino", network="dilran", machine=PLAIN)
    with pytest.raises(MissingExtraError, match=r"onnxscript, onnxruntime; .*'scalefuse\[onnx\]'"):
        choose_engine(
            "onnxruntime", network="dilran", machine=dataclasses.replace(PLAIN, engines={"onnx": "1.18"})
        )


def test_extras_are_those_of_the_project():
    import tomllib
    from pathlib import Path

    text = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    for engine, extra in packages.EXTRA.items():
        names = {requirement.split(">")[0] for requirement in extras[extra]}
        assert set(packages.NEEDED[engine]) <= names


def test_without_its_package_an_engine_is_not_there(monkeypatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    read_machine.cache_clear()
    try:
        assert read_machine().engines == {}
        assert choose_engine(network="dilran").engine == "torch"
    finally:
        monkeypatch.undo()
        read_machine.cache_clear()


def test_flags_of_the_processor(monkeypatch, tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(
        "processor\t: 0\nmodel name\t: Some Processor\nflags\t\t: avx2 avx512f amx_bf16\n\nprocessor\t: 1\n"
    )
    monkeypatch.setattr(hardware, "_CPU_INFO", file)
    read_machine.cache_clear()
    try:
        machine = read_machine()
    finally:
        read_machine.cache_clear()
    assert machine.processor == "Some Processor"
    assert machine.features == ("AVX2", "AVX-512", "AMX bf16")
    assert machine.fast_bf16


@pytest.fixture
def gain(monkeypatch):
    """``gain(0.5)``: what trying a convolution gives; the number of trials is in the list returned."""

    def set_to(value):
        trials = []
        monkeypatch.setattr(hardware, "measure_bf16_gain", lambda: trials.append(value) or value)
        hardware._bf16_gain.cache_clear()
        return trials

    yield set_to
    hardware._bf16_gain.cache_clear()


@pytest.mark.parametrize(
    ("flags", "found", "num_trials"),
    [
        ("avx512f", (None, False, False), 0),
        ("avx512f avx512_bf16", (0.5, True, False), 1),
        ("avx512f avx512_bf16 amx_bf16", (None, True, True), 0),
    ],
)
def test_bf16_is_tried_where_instructions_do_not_tell(gain, monkeypatch, tmp_path, flags, found, num_trials):
    trials = gain(0.5)
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(hardware, "_CPU_INFO", file)
    file.write_text(f"processor\t: 0\nmodel name\t: Some Processor\nflags\t\t: {flags}\n\n")
    read_machine.cache_clear()
    try:
        machine = read_machine()
    finally:
        read_machine.cache_clear()
    assert trials == []
    assert (machine.measured_bf16_gain, machine.computes_bf16, machine.fast_bf16) == found
    assert len(trials) == num_trials


ABLE = Machine("", 2, 2, ("AVX-512 bf16",), None, (), False, {"openvino": "2026.0"})


@pytest.mark.parametrize(("measured", "expected"), [(0.5, "fp32"), (1.0, "fp32"), (2.0, "bf16")])
@pytest.mark.parametrize("engine", ["auto", "torch", "openvino"])
def test_auto_takes_bf16_where_it_is_faster(gain, engine, measured, expected):
    gain(measured)
    assert choose_engine(engine, network="dilran", machine=ABLE).precision == expected
    # Who asks for it gets it: the processor computes it, if slowly.
    assert choose_engine(engine, "bf16", network="dilran", machine=ABLE).precision == "bf16"


def test_nothing_is_tried_where_it_decides_nothing(gain):
    trials = gain(2.0)
    assert choose_engine(network="dilran", megapixels=0.1, machine=ABLE).precision == "fp32"
    for precision in ("fp32", "bf16"):
        for engine in ("auto", "torch", "openvino"):
            assert choose_engine(engine, precision, network="dilran", machine=ABLE).precision == precision
    assert trials == []


@pytest.mark.parametrize(("fp32", "bf16"), [(4.0, 2.0), (1.0, 2.5)])
def test_the_gain_is_the_ratio_of_the_shortest_times(monkeypatch, fp32, bf16):
    """By a clock that only convolutions move; the first of each prepares, and one is disturbed."""
    now, calls = [0.0], {torch.float32: 0, torch.bfloat16: 0}

    def convolve(image, weight, padding):
        calls[image.dtype] += 1
        taken = {torch.float32: fp32, torch.bfloat16: bf16}[image.dtype]
        now[0] += taken * {1: 0.01, 3: 50.0}.get(calls[image.dtype], 1.0)

    monkeypatch.setattr(torch.nn.functional, "conv2d", convolve)
    monkeypatch.setattr(bf16_gain.time, "perf_counter", lambda: now[0])
    assert bf16_gain.measure_bf16_gain() == pytest.approx(fp32 / bf16)


def test_measuring_draws_no_random_numbers():
    state = torch.get_rng_state()
    bf16_gain.measure_bf16_gain()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_machine_without_linux_files(monkeypatch, tmp_path):
    monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "absent")
    monkeypatch.setattr(hardware, "_MEMORY_INFO", tmp_path / "absent")
    read_machine.cache_clear()
    try:
        machine = read_machine()
    finally:
        read_machine.cache_clear()
    assert machine.processor
    assert machine.memory_gib is None or machine.memory_gib > 0


@pytest.mark.parametrize(
    ("job", "size", "expected"),
    [(Job(3, 12.0), None, 12.0), (Job(3, 12.0, passes=8), None, 96.0), (Job(4, 0.0), (500, 1000), 2.0)],
)
def test_pixels_that_the_network_sees(job, size, expected):
    assert job.network_megapixels(size) == pytest.approx(expected)
