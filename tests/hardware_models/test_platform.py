from itertools import combinations, pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hetgym import HetgymError
from hetgym.hardware_models import Device, Link, Memory, OperatingPoint, Platform, list_platforms, load_platform

TWO_DEVICES = """
name: two-devices
devices:
  - {name: a, kind: cpu}
  - {name: b, kind: gpu, speed: 2.0}
links:
  - {between: [a, b], bandwidth: 4.0, latency: 0.5}
"""


def devices(names: str) -> tuple[Device, ...]:
    return tuple(Device(name=name, kind="cpu") for name in names)


def link(*between: str, bandwidth: float = 1.0, latency: float = 0.0) -> Link:
    return Link(between=between, bandwidth=bandwidth, latency=latency)


def refusal(path: Path) -> str:
    with pytest.raises(HetgymError) as caught:
        load_platform(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", list_platforms())
def test_preset_loads(name: str) -> None:
    platform = load_platform(name)
    assert platform.name == name
    assert platform.description
    assert platform.source
    between = ~np.eye(platform.num_devices, dtype=bool)
    for matrix in (platform.latency, platform.seconds_per_byte):
        assert matrix.shape == (platform.num_devices, platform.num_devices)
        assert np.isfinite(matrix).all()
        assert (np.diag(matrix) == 0).all()
        assert (matrix == matrix.T).all()
    assert (platform.seconds_per_byte[between] > 0).all()


def test_presets_of_the_papers_transfer_one_unit_in_one_unit_of_time() -> None:
    assert {"heft-paper", "peft-paper"} <= set(list_platforms())
    for name in ("heft-paper", "peft-paper"):
        platform = load_platform(name)
        assert platform.kinds == ("p1", "p2", "p3")
        assert platform.seconds_per_byte.tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
        assert not platform.latency.any()


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_file_loads(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"platform{suffix}"
    path.write_text(TWO_DEVICES)
    platform = load_platform(str(path))
    assert platform == load_platform(path)
    assert platform.kinds == ("cpu", "gpu")
    assert [device.speed for device in platform.devices] == [1.0, 2.0]
    assert platform.seconds_per_byte.tolist() == [[0, 0.25], [0.25, 0]]


def test_star_adds_latencies_and_takes_the_narrowest_link() -> None:
    platform = Platform(
        name="star",
        devices=devices("abc"),
        links=(
            link("a", "switch", bandwidth=10, latency=1),
            link("b", "switch", bandwidth=5, latency=2),
            link("c", "switch", bandwidth=20, latency=4),
        ),
    )
    assert platform.latency.tolist() == [[0, 3, 5], [3, 0, 6], [5, 6, 0]]
    assert platform.seconds_per_byte.tolist() == [[0, 1 / 5, 1 / 10], [1 / 5, 0, 1 / 5], [1 / 10, 1 / 5, 0]]


def test_direct_link_is_preferred_to_two_faster_ones() -> None:
    fast = (link("a", "c", bandwidth=100), link("c", "b", bandwidth=100))
    direct = link("a", "b", bandwidth=1, latency=9)
    platform = Platform(name="triangle", devices=devices("abc"), links=(*fast, direct))
    assert platform.route("a", "b") == [direct]
    assert platform.latency[0, 1] == 9
    assert platform.seconds_per_byte[0, 1] == 1


def test_first_of_parallel_links_counts() -> None:
    platform = Platform(
        name="parallel", devices=devices("ab"), links=(link("a", "b", bandwidth=2), link("b", "a", bandwidth=8))
    )
    assert platform.seconds_per_byte[0, 1] == 1 / 2


def test_bus_joins_each_with_each() -> None:
    bus = link("a", "b", "c", bandwidth=2, latency=3)
    platform = Platform(name="bus", devices=devices("abc"), links=(bus,))
    assert platform.route("c", "a") == [bus]
    assert platform.latency.tolist() == [[0, 3, 3], [3, 0, 3], [3, 3, 0]]


def test_memories_end_links() -> None:
    bus, channel = link("a", "b"), link("b", "dram", bandwidth=7)
    dram = Memory(name="dram", capacity=1e9, bandwidth=7)
    platform = Platform(name="with-memory", devices=devices("ab"), links=(bus, channel), memories=(dram,))
    assert platform.route("a", "dram") == [bus, channel]
    assert platform.route("dram", "b") == [channel]
    assert platform.num_devices == 2
    assert platform.latency.shape == (2, 2)


def test_single_device_needs_no_link() -> None:
    assert Platform(name="alone", devices=devices("a")).latency.tolist() == [[0]]


def test_fully_connected_names_devices_after_kinds() -> None:
    platform = Platform.fully_connected("pair", ["cpu", "gpu"], bandwidth=4)
    assert [device.name for device in platform.devices] == ["cpu", "gpu"]
    assert platform.seconds_per_byte.tolist() == [[0, 0.25], [0.25, 0]]


def test_equal_routes_are_the_same_both_ways() -> None:
    links = (
        link("b", "a", bandwidth=2),
        link("b", "switch", bandwidth=5),
        link("c", "switch", bandwidth=1),
        link("c", "a", bandwidth=3),
    )
    platform = Platform(name="square", devices=devices("abc"), links=links)
    assert platform.route("b", "c") == platform.route("c", "b")[::-1]


@given(st.data())
def test_routes_have_fewest_links_and_are_the_same_both_ways(data: st.DataObject) -> None:
    names = "abcdef"
    ends = st.lists(st.sampled_from([*names, "switch", "other"]), min_size=2, max_size=4, unique=True)
    bandwidth = st.sampled_from([1.0, 2.0, 4.0])
    drawn = data.draw(st.lists(st.tuples(ends, bandwidth), max_size=8))
    links = [link(*between, bandwidth=speed, latency=1.0) for between, speed in drawn]
    links.append(link(*names, bandwidth=8.0) if data.draw(st.booleans()) else link("a", "b"))
    graph = nx.Graph(pair for each in links for pair in combinations(each.between, 2))
    graph.add_nodes_from(names)
    if not all(nx.has_path(graph, "a", name) for name in names):
        with pytest.raises(ValidationError, match="no path of links"):
            Platform(name="random", devices=devices(names), links=tuple(links))
        return
    platform = Platform(name="random", devices=devices(names), links=tuple(links))
    for (i, source), (j, target) in combinations(enumerate(names), 2):
        route = platform.route(source, target)
        assert route == platform.route(target, source)[::-1]
        assert len(route) == nx.shortest_path_length(graph, source, target)
        assert source in route[0].between
        assert target in route[-1].between
        assert all(set(one.between) & set(two.between) for one, two in pairwise(route))
        assert platform.latency[i, j] == platform.latency[j, i] == sum(each.latency for each in route)
        assert platform.seconds_per_byte[i, j] == max(1 / each.bandwidth for each in route)
        assert platform.seconds_per_byte[j, i] == platform.seconds_per_byte[i, j]


def test_route_to_oneself_is_empty() -> None:
    assert Platform(name="alone", devices=devices("a")).route("a", "a") == []


def test_unknown_or_unreached_end_of_a_route_is_refused() -> None:
    apart = (link("m", "n"),)
    platform = Platform(name="apart", devices=devices("a"), links=apart)
    with pytest.raises(HetgymError, match="unknown device or memory of platform 'apart' 'z': choose one of a, m, n"):
        platform.route("a", "z")
    with pytest.raises(HetgymError, match="no path of links joins 'a' and 'm'"):
        platform.route("m", "a")


def point(frequency: float, speed: float, busy_power: float) -> OperatingPoint:
    return OperatingPoint(frequency=frequency, voltage=1.0, speed=speed, busy_power=busy_power)


def test_operating_points_rise_to_the_device_itself() -> None:
    slow, fast = point(1e9, 0.5, 1.0), point(2e9, 1.0, 3.0)
    assert Device(name="a", kind="cpu", busy_power=3.0, operating_points=(slow, fast)).operating_points[1] == fast
    with pytest.raises(ValidationError, match="must rise in frequency"):
        Device(name="a", kind="cpu", busy_power=1.0, operating_points=(fast, slow))
    with pytest.raises(ValidationError, match="speed 1 and the device's busy_power, 3 W"):
        Device(name="a", kind="cpu", busy_power=3.0, operating_points=(slow,))
    with pytest.raises(ValidationError, match="speed 1 and the device's busy_power, 4 W"):
        Device(name="a", kind="cpu", busy_power=4.0, operating_points=(slow, fast))


def test_processors_are_kinds_besides_cpu() -> None:
    assert load_platform("soc-ds3").processors == {"a7": 0.5833, "a15": 0.8333}
    devices = (Device(name="core", kind="a7"),)
    assert Platform(name="soc", devices=devices, processors={"a7": 0.5}).processors == {"a7": 0.5}
    for kind in ("cpu", "a15"):
        with pytest.raises(ValidationError, match=f"processors: '{kind}' must be a kind of its devices besides 'cpu'"):
            Platform(name="soc", devices=devices, processors={kind: 0.5})
    with pytest.raises(ValidationError, match=r"processors.a7\s.*greater than 0"):
        Platform(name="soc", devices=devices, processors={"a7": 0.0})


def test_platform_is_frozen() -> None:
    platform = load_platform("heft-paper")
    with pytest.raises(ValidationError, match="frozen"):
        platform.name = "other"
    with pytest.raises(ValidationError, match="frozen"):
        platform.devices[0].speed = 2.0
    for matrix in (platform.latency, platform.seconds_per_byte):
        with pytest.raises(ValueError, match="read-only"):
            matrix[0, 1] = 5.0


def test_unknown_name_lists_the_presets() -> None:
    with pytest.raises(HetgymError) as caught:
        load_platform("heft-papr")
    assert str(caught.value).startswith("unknown platform 'heft-papr': choose one of ")
    assert all(name in str(caught.value) for name in list_platforms())
    assert "\n" not in str(caught.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot read this platform: No such file" in refusal(tmp_path / "nowhere.yaml")


def test_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    assert "cannot read this platform" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"name: \xff\xfe", ["not UTF-8"]),
        (b"name: [a\nb: c", ["not valid YAML", "line 2"]),
        (b"name: \x07", ["not valid YAML"]),
        (b"", ["content", "None"]),
        (b"[]", ["content", "dictionary"]),
        (b"{}", ["name", "required", "1 more"]),
        (b"name: 2001-13-01", ["not valid YAML", "month"]),
        (b"name: !!int x", ["not valid YAML"]),
    ],
)
def test_broken_file_is_refused(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    message = refusal(path)
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("latency: 0.5", "latencies: 0.5", ["links.0.latencies", "0.5"]),
        ("speed: 2.0", "speeed: 2.0", ["devices.1.speeed", "2.0"]),
        ("name: two-devices", "nmae: two-devices", ["name", "required"]),
        ("name: two-devices", "name: ''", ["name", "''"]),
        ("name: two-devices", "name: 7", ["name", "7"]),
        ("{name: b", "{name: a", ["'a'", "unique"]),
        ("bandwidth: 4.0", "bandwidth: -4.0", ["links.0.bandwidth", "greater than 0", "-4.0"]),
        ("bandwidth: 4.0", "bandwidth: 0", ["links.0.bandwidth", "greater than 0", "0"]),
        ("bandwidth: 4.0", "bandwidth: .nan", ["links.0.bandwidth", "nan"]),
        ("bandwidth: 4.0", "bandwidth: .inf", ["links.0.bandwidth", "finite", "inf"]),
        ("bandwidth: 4.0", "bandwidth: fast", ["links.0.bandwidth", "number", "'fast'"]),
        ("latency: 0.5", "latency: -0.5", ["links.0.latency", "-0.5"]),
        ("latency: 0.5", "latency: .inf", ["links.0.latency", "inf"]),
        ("speed: 2.0", "speed: 0.0", ["devices.1.speed", "0.0"]),
        ("speed: 2.0", "idle_power: -1.0", ["devices.1.idle_power", "-1.0"]),
        ("speed: 2.0", "memory_bandwidth: 0.0", ["devices.1.memory_bandwidth", "0.0"]),
        ("speed: 2.0", "peak_flops: {fp32: -3.0}", ["devices.1.peak_flops.fp32", "-3.0"]),
        ("speed: 2.0", "efficiency: {matmul: 1.5}", ["devices.1.efficiency.matmul", "less than or equal to 1", "1.5"]),
        ("speed: 2.0", "efficiency: {matmul: 0}", ["devices.1.efficiency.matmul", "greater than 0"]),
        ("[a, b]", "[a]", ["links.0.between", "at least 2"]),
        ("[a, b]", "[a, switch]", ["no path", "'a'", "'b'", "add a link"]),
        ("links:", "memories: [{name: b, capacity: 1, bandwidth: 1}]\nlinks:", ["'b'", "unique"]),
        ("links:", "memories: [{name: m, capacity: 0, bandwidth: 1}]\nlinks:", ["memories.0.capacity", "0"]),
        ("links:", "devices: []\nlinks:", ["devices", "at least 1"]),
        ("latency: 0.5", '"la\\ntency": 0.5', ["links.0.la", "0.5"]),
    ],
)
def test_wrong_value_is_refused(tmp_path: Path, old: str, new: str, parts: list[str]) -> None:
    assert TWO_DEVICES.count(old) == 1
    path = tmp_path / "wrong.yaml"
    path.write_text(TWO_DEVICES.replace(old, new))
    message = refusal(path)
    assert [part for part in parts if part not in message] == []
