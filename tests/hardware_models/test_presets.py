import re
import time

import numpy as np
import pytest

from hetgym.hardware_models import (
    Device,
    Platform,
    list_platforms,
    load_platform,
    operation_time,
    roofline_time,
    transfer_time,
)
from hetgym.hardware_models.platform import PRESETS

MEBIBYTE = 2**20
EXPERT = 336 * MEBIBYTE  # one expert of Mixtral 8x7B: 3 x 4096 x 14336 numbers of fp16
EXAMPLES = {"four-workers", "heft-paper", "mixed-nics", "peft-paper", "readys-2c2g", "readys-4c4g"}
"""Machines of papers, without rates of their own."""
MACHINES = [name for name in list_platforms() if name not in EXAMPLES]


def device(platform: Platform, name: str) -> Device:
    return next(each for each in platform.devices if each.name == name)


def bandwidth(platform: Platform, source: str, target: str) -> float:
    return min(link.bandwidth for link in platform.route(source, target))


def test_all_presets_are_there() -> None:
    assert list_platforms() == [
        "cloudmatrix384",
        "desktop-rtx3090",
        "desktop-rtx4090",
        "dgx-a100",
        "dgx-h100",
        "edge-server",
        "four-workers",
        "heft-paper",
        "jetson-orin",
        "mixed-nics",
        "peft-paper",
        "phone-soc",
        "raspberry-pi-4",
        "readys-2c2g",
        "readys-4c4g",
        "sn40l-node",
        "soc-ds3",
    ]


@pytest.mark.parametrize("name", sorted(set(MACHINES) - {"soc-ds3"}))
def test_devices_of_machines_have_rates_efficiencies_and_powers(name: str) -> None:
    platform = load_platform(name)
    for each in platform.devices:
        assert each.peak_flops
        assert each.memory_bandwidth
        assert "memory" in each.efficiency
        assert 0 < each.idle_power < each.busy_power
    assert platform.memories
    rates = [memory.bandwidth for memory in platform.memories]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("name", MACHINES)
def test_memories_can_be_reached(name: str) -> None:
    platform = load_platform(name)
    joined = {end for link in platform.links for end in link.between}
    assert {memory.name for memory in platform.memories} <= joined
    first = platform.devices[0].name
    for memory in platform.memories[:: max(1, len(platform.memories) // 24)]:
        assert bandwidth(platform, first, memory.name) <= memory.bandwidth


@pytest.mark.parametrize("name", MACHINES)
def test_lines_with_numbers_are_explained(name: str) -> None:
    """Every number has its source in a comment on its line, or in the nearest comment before it."""
    lines = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    body = lines[lines.index("devices:") :]
    explained = False
    for line in body:
        explained = "#" in line or (explained and not re.match(r"\w+:", line))
        has_quantity = re.search(r"\d\.\d", line.split("#")[0])
        assert explained or not has_quantity, line


@pytest.mark.parametrize("name", MACHINES)
def test_speed_of_processors_is_their_clock_over_the_readers(name: str) -> None:
    for each in load_platform(name).devices:
        if each.kind == "cpu":
            assert 1.0e9 < each.speed * 2.4e9 < 6.0e9
        else:
            assert each.speed == 1.0


@pytest.mark.parametrize(("name", "each"), [("readys-2c2g", 2), ("readys-4c4g", 4)])
def test_readys_has_as_many_cpus_as_gpus_and_no_communication(name: str, each: int) -> None:
    platform = load_platform(name)
    assert platform.kinds == ("cpu",) * each + ("gpu",) * each
    assert not platform.latency.any()
    assert (platform.seconds_per_byte * 1e15 < 1e-12).all()


def test_mixed_nics_join_clusters_by_ethernet() -> None:
    platform = load_platform("mixed-nics")
    rate = 1.0 / (platform.seconds_per_byte + np.eye(8))
    same = ~np.eye(4, dtype=bool)
    (infiniband,) = set(rate[:4, :4][same])
    (roce,) = set(rate[4:, 4:][same])
    (ethernet,) = set(rate[:4, 4:].ravel())
    assert infiniband > roce > 3 * ethernet


@pytest.mark.parametrize(("dgx", "ratio"), [("dgx-a100", 31), ("dgx-h100", 15)])
def test_sn40l_switches_models_faster_than_a_dgx(dgx: str, ratio: int) -> None:
    node, host = load_platform("sn40l-node"), load_platform(dgx)
    of_node = sum(bandwidth(node, f"ddr-{socket}", f"hbm-{socket}") for socket in range(1, 9))
    assert of_node == 1e12
    assert int(of_node / bandwidth(host, "dram", "hbm-1")) == ratio


def test_sn40l_has_three_tiers_a_socket() -> None:
    node = load_platform("sn40l-node")
    assert node.num_devices == 8
    assert sorted({memory.name.split("-")[0] for memory in node.memories}) == ["ddr", "hbm", "sram"]
    assert len(node.memories) == 24


@pytest.mark.parametrize(("name", "milliseconds"), [("desktop-rtx4090", 14.1), ("desktop-rtx3090", 22.0)])
def test_expert_crosses_the_host_link(name: str, milliseconds: float) -> None:
    route = load_platform(name).route("dram", "vram")
    assert round(1e3 * transfer_time(float(EXPERT), route), 1) == milliseconds


@pytest.mark.parametrize(
    ("name", "accelerator", "precision"),
    [
        ("desktop-rtx4090", "gpu", "fp16"),
        ("dgx-h100", "gpu-1", "bf16"),
        ("sn40l-node", "rdu-1", "bf16"),
        ("cloudmatrix384", "npu-1", "bf16"),
    ],
)
def test_memory_bound_decode_takes_bytes_over_bandwidth(name: str, accelerator: str, precision: str) -> None:
    each = device(load_platform(name), accelerator)
    flop, num_bytes = float(EXPERT), float(EXPERT)  # a product and a sum for each weight of two bytes
    assert each.memory_bandwidth
    ideal = roofline_time(flop, num_bytes, each.peak_flops[precision], each.memory_bandwidth)
    assert ideal == num_bytes / each.memory_bandwidth
    real = operation_time(each, "matmul", precision, flop, num_bytes)
    assert real == pytest.approx(ideal / each.efficiency["memory"])


def test_shared_memory_joins_the_devices_of_a_chip() -> None:
    for name, rate in (("phone-soc", 76.8e9), ("jetson-orin", 204.8e9)):
        platform = load_platform(name)
        assert (platform.seconds_per_byte[~np.eye(platform.num_devices, dtype=bool)] == 1 / rate).all()


def test_soc_has_sixteen_engines_and_the_bandwidths_of_its_configuration() -> None:
    soc = load_platform("soc-ds3")
    assert soc.kinds == ("a7",) * 4 + ("a15",) * 4 + ("mm",) * 2 + ("fft",) * 4 + ("vit",) * 2
    slow = {("a7", "fft"), ("a15", "fft"), ("mm", "fft")}
    for i, source in enumerate(soc.devices):
        for j, target in enumerate(soc.devices):
            pair = (source.kind, target.kind)
            rate = 1e7 if pair in slow or pair[::-1] in slow else 1e9
            assert soc.seconds_per_byte[i, j] == (0 if i == j else 1 / rate)
    assert not soc.latency.any()


def test_soc_powers_are_those_of_its_configuration() -> None:
    soc = load_platform("soc-ds3")
    little, big = device(soc, "a7-1"), device(soc, "a15-4")
    assert [point.frequency for point in little.operating_points] == [0.6e9, 0.8e9, 1.0e9, 1.2e9, 1.4e9]
    assert [point.voltage for point in big.operating_points] == [0.9, 0.95, 1.0, 1.037, 1.1, 1.175, 1.3, 1.362]
    assert 4 * little.busy_power == pytest.approx(0.81)
    assert 4 * big.busy_power == pytest.approx(6.91)
    for each, powers in ((little, (0.19, 0.40)), (big, (0.85, 1.78))):
        at_1_ghz = next(point for point in each.operating_points if point.frequency == 1e9)
        assert 4 * at_1_ghz.busy_power == pytest.approx(powers[1])
        assert 3 * each.idle_power + at_1_ghz.busy_power == pytest.approx(powers[0])
        steps = [point.busy_power for point in each.operating_points]
        assert each.idle_power < steps[0]
        assert steps == sorted(steps)


def test_soc_accelerators_draw_power_in_proportion() -> None:
    soc = load_platform("soc-ds3")
    for name, power in (("mm-2", 0.05), ("fft-3", 0.0913), ("vit-1", 0.05885)):
        each = device(soc, name)
        assert (each.idle_power, each.busy_power) == (0.0, power)
        assert [point.frequency for point in each.operating_points] == [1e9]


def test_supernode_joins_all_with_all() -> None:
    supernode = load_platform("cloudmatrix384")
    assert [supernode.kinds.count(kind) for kind in ("npu", "cpu")] == [384, 192]
    assert supernode.latency.shape == (576, 576)
    between = ~np.eye(576, dtype=bool)
    assert (supernode.latency[between] == 1e-6).all()
    npus = supernode.seconds_per_byte[:384, :384]
    assert (npus[between[:384, :384]] == 1 / 392e9).all()
    assert (supernode.seconds_per_byte[384:][between[384:]] == 1 / 160e9).all()
    total = sum(each.peak_flops["bf16"] for each in supernode.devices if each.kind == "npu")
    assert total == pytest.approx(289e15, rel=0.01)


def test_supernode_loads_fast() -> None:
    start = time.process_time()
    load_platform("cloudmatrix384")
    assert time.process_time() - start < 2.0
