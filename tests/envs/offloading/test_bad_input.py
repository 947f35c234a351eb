"""What is wrong in scenarios of offloading is refused in one line that names the field, and mostly what was given."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.cli import main
from hetgym.envs import load_scenario
from hetgym.evaluate import evaluate

GOOD: dict[str, Any] = {
    "name": "mine",
    "family": "offloading",
    "workload": {
        "kind": "requests",
        "arrivals": {"kind": "poisson", "mean_interarrival": 1.0},
        "num_requests": 3,
        "kinds": [{"kind": "task", "size": 1e6, "cycles_per_bit": 500.0}],
    },
    "users": {"num_users": 2},
    "edges": {"count": 2, "access": {"kind": "cell", "bandwidth": 1e6, "distance": [10.0, 100.0]}},
}
NETWORK = {"kind": "network", "network": "vgg16"}
PROMPT = {"kind": "prompt", "prompt": 100, "answer": 10}
JETSON = {"users.devices": ["jetson-orin/gpu"]}
SERVER = {"edges.device": "edge-server/gpu"}
LLM = {"edges.model": "opt-13b-a100"}
KIND = "workload.kinds.0"
RECORDED_SIZE = {f"{KIND}.size": {"law": "recorded", "column": "size"}}

FILES = {
    "good.csv": "arrival,size\n0,1e6\n1,2e6\n",
    "nan.csv": "arrival,size\n0,1e6\n1,\n",
    "text.csv": "arrival,size\n0,1e6\n1,big\n",
    "negative.csv": "arrival,size\n0,1e6\n1,-4\n",
    "late.csv": "arrival,size\n3,1e6\n1,2e6\n",
    "no-time.csv": "arrival,size\n0,1e6\n,2e6\n",
    "header.csv": "arrival,size\n",
    "empty.csv": "",
    "rates.csv": "bandwidth\n1e6\n0\n",
    "silent.csv": "bandwidth\n0\n0\n",
    "negative-rates.csv": "bandwidth\n1\n-1\n",
    "no-rates.csv": "bandwidth\n",
}


def written(folder: Path, changes: dict[str, Any]) -> Path:
    """The path of the good scenario with some fields changed, or taken away where they are None."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    content = deepcopy(GOOD)
    for path, value in changes.items():
        place: Any = content
        *sections, last = path.split(".")
        for section in sections:
            place = place[int(section)] if isinstance(place, list) else place.setdefault(section, {})
        if value is None:
            place.pop(last, None)
        else:
            place[int(last) if isinstance(place, list) else last] = value
    scenario = folder / "mine.yaml"
    scenario.write_text(yaml.safe_dump(content))
    return scenario


def recorded(path: str, **more: Any) -> dict[str, Any]:
    return {"workload.arrivals": {"kind": "recorded", "path": path, **more}}


def line(**settings: Any) -> dict[str, Any]:
    return {"edges.access": {"kind": "line", **settings}, "block": 1.0}


def test_the_good_one_is_good(tmp_path: Path) -> None:
    table = evaluate(written(tmp_path, {}), ["all-edge"], episodes=1)
    assert table["requests"][0] == 3


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "negative distance": ({"edges.access.distance": -5.0}, r"distance.*-5"),
    "distances fall": ({"edges.access.distance": [100.0, 10.0]}, "distance.*100, 10"),
    "no bandwidth": ({"edges.access.bandwidth": 0}, "bandwidth.*greater than 0"),
    "bandwidth not a number": ({"edges.access.bandwidth": float("nan")}, "bandwidth.*nan"),
    "bandwidth text": ({"edges.access.bandwidth": "10 MHz"}, "bandwidth.*'10 MHz'"),
    "noise": ({"edges.access.noise_dbm": 5000.0}, "noise_dbm.*5000"),
    "fading": ({"edges.access.fading": "nakagami"}, "fading.*'rayleigh'.*nakagami"),
    "path loss": ({"edges.access.path_loss": "urban"}, "path_loss.*small-cell.*urban"),
    "places": ({"edges.access.places": [[0, 0]], "edges.access.distance": None}, "places.*2.*given: 1"),
    "flies without places": ({"edges.access.height": 100.0}, "places"),
    "access": ({"edges.access.kind": "wire"}, "access.*'wire'.*'cell'"),
    "no rate": (line(rate=0), "rate.*greater than 0"),
    "neither rate nor record": (line(), "rate"),
    "rate and record": (line(rate=1.0, path="rates.csv"), "rate"),
    "record without block": (line(path="rates.csv") | {"block": None}, "block"),
    "no such record": (line(path="none.csv"), "none.csv"),
    "rate of 0": (line(path="rates.csv"), "rates.csv.*block 1.*least"),
    "silence": (line(path="silent.csv", least=1.0), "silent.csv.*bandwidth"),
    "negative rate": (line(path="negative-rates.csv"), "negative-rates.csv.*row 1.*-1"),
    "empty trace": (line(path="no-rates.csv"), "no-rates.csv.*at least one row"),
    "empty file of rates": (line(path="empty.csv"), "empty.csv"),
    "no such column of rates": (line(path="rates.csv", column="rate"), "rates.csv.*'rate'.*bandwidth"),
    "no such times": (line(path="rates.csv", time_column="time"), "rates.csv.*'time'"),
    "weights do not add up": ({"weights": [0.5, 0.2, 0.1]}, "weights.*add up to 1.*0.5, 0.2, 0.1"),
    "two weights": ({"weights": [0.5, 0.5]}, "weights.*three.*given: 2"),
    "negative weight": ({"weights": [1.5, -0.5, 0]}, "weights.*-0.5"),
    "weight not a number": ({"weights": [float("nan"), 0.5, 0.5]}, "weights.*nan"),
    "unknown network": ({KIND: {**NETWORK, "network": "alexnet"}, **JETSON, **SERVER}, "network.*'alexnet'.*vgg16"),
    "network without device": ({KIND: NETWORK, **SERVER}, "users.*device"),
    "network without server": ({KIND: NETWORK, **JETSON}, "servers.*device"),
    "unknown cut": ({KIND: {**NETWORK, "bottlenecks": [{"cut": "pool9", "width": 0.5}]}}, "cut.*'pool9'.*pool1"),
    "half a bottleneck": ({KIND: {**NETWORK, "bottlenecks": [{"cut": "pool1"}]}}, "bottlenecks.*width"),
    "unknown precision": ({KIND: {**NETWORK, "precision": "fp7"}, **JETSON, **SERVER}, "precision.*'fp7'.*fp32"),
    "unknown device": ({"users.devices": ["jetson-orin/npu"]}, "devices.*'npu'.*gpu"),
    "unknown platform": ({"users.devices": ["jetsun"]}, "devices.*'jetsun'.*jetson-orin"),
    "unknown server": ({"edges.device": "edge-server/tpu"}, "device.*'tpu'.*gpu"),
    "unknown model": ({"edges.model": "gpt-9"}, "model.*'gpt-9'.*opt-13b-a100"),
    "prompt without model": ({KIND: PROMPT, **JETSON}, "model"),
    "prompt without device": ({KIND: PROMPT, **LLM}, "users.*device"),
    "recorded prompt without context": (
        {KIND: {**PROMPT, "prompt": {"law": "recorded", "column": "size"}}, **recorded("good.csv"), **JETSON, **LLM},
        "context",
    ),
    "no edges": ({"edges.count": 0}, "count.*greater than or equal to 1"),
    "too many edges": ({"edges.count": 100_000}, "count.*1000"),
    "no servers": ({"edges": None}, "edges, cloud or both"),
    "no way to the cloud": ({"edges": None, "cloud": {"frequency": 1e9}}, "cloud: access"),
    "no way to the edge": ({"edges.access": None}, "edges: access"),
    "no such table": (recorded("none.csv"), "none.csv"),
    "hole in the table": (recorded("nan.csv") | RECORDED_SIZE, "nan.csv: size: row 1.*nan"),
    "text in the table": (recorded("text.csv") | RECORDED_SIZE, "text.csv: size: row 1.*'big'"),
    "negative size": (recorded("negative.csv") | RECORDED_SIZE, "negative.csv: size: row 1.*-4"),
    "times fall": (recorded("late.csv"), "late.csv: arrival: row 1"),
    "hole in times": (recorded("no-time.csv"), "no-time.csv: arrival: row 1"),
    "empty table": (recorded("header.csv"), "header.csv: arrival: .*at least one"),
    "empty file": (recorded("empty.csv"), "empty.csv"),
    "no such column": (
        recorded("good.csv") | {f"{KIND}.size": {"law": "recorded", "column": "bits"}},
        "good.csv.*'bits'.*arrival, size",
    ),
    "no such times of arrival": (recorded("good.csv", column="time"), "good.csv.*'time'.*arrival, size"),
    "recorded without column": (recorded("good.csv") | {f"{KIND}.size": {"law": "recorded"}}, "size.*column"),
    "recorded without table": (RECORDED_SIZE, "'size'.*arrivals"),
    "unknown kind": ({f"{KIND}.kind": "job"}, "kinds.0.*'job'.*'task'"),
    "unknown workload": ({"workload.kind": "jobs"}, "workload.*'jobs'.*'requests'"),
    "unlike kinds": ({"workload.kinds": [GOOD["workload"]["kinds"][0], NETWORK]}, "kinds.*all of the kind task"),
    "no kinds": ({"workload.kinds": []}, "kinds.*at least one"),
    "two ends": ({"workload.horizon": 10.0}, "num_requests or a horizon"),
    "a batch without end": (
        {"workload.arrivals": {"kind": "at-once"}, "workload.num_requests": None, "workload.horizon": 10.0},
        "num_requests: must be given where all arrive at once",
    ),
    "no end": ({"workload.num_requests": None}, "num_requests or a horizon"),
    "no requests": ({"workload.num_requests": 0}, "num_requests.*greater than or equal to 1"),
    "requests without end": ({"workload.num_requests": 10**30}, "num_requests.*1000000000"),
    "time without end": ({"workload.num_requests": None, "workload.horizon": 1e300}, "horizon.*1000000000"),
    "arrivals at once": ({"workload.arrivals.mean_interarrival": 0}, "mean_interarrival.*greater than 0"),
    "parts without a device": ({"continuous": True, "users.local": False}, "users: local.*true"),
    "slot": ({"slot": 0}, "slot.*given: 0"),
    "tiny slot": ({"slot": 1e-300, "epochs": "slot"}, "slot.*1e-300"),
    "block": ({"block": 0}, "block.*given: 0"),
    "tiny block": ({"block": 1e-300}, "block.*1e-300"),
    "room": ({"room": 0}, "room.*given: 0"),
    "unknown setting": ({"rooms": 3}, "rooms"),
    "sharing": ({"sharing": "fair"}, "sharing.*'interference'.*'fair'"),
    "epochs": ({"epochs": "always"}, "epochs.*'slot'.*'always'"),
    "no users": ({"users.num_users": 0}, "num_users.*given: 0"),
    "frequencies fall": ({"users.frequency": [2e9, 1e9]}, r"frequency.*2e\+09, 1e\+09"),
    "kappa": ({"users.kappa": -1}, "kappa.*given: -1"),
    "power": ({"users.transmit_power": 0}, "transmit_power.*given: 0"),
    "negative bits": ({f"{KIND}.size": -5}, "size.*given: -5"),
    "unknown law": ({f"{KIND}.size": {"law": "pareto", "mean": 3}}, "law.*'lognormal'.*'pareto'"),
    "uniform falls": ({f"{KIND}.size": {"law": "uniform", "low": 3, "high": 1}}, "size: low.*3 and 1"),
    "no size": ({f"{KIND}.size": None}, "size.*required"),
    "negative deadline": ({f"{KIND}.deadline": -5}, "deadline.*given: -5"),
    "no backhaul": ({"cloud": {"backhaul": 0}}, "backhaul.*given: 0"),
    "negative latency": ({"edges.latency": -1}, "latency.*given: -1"),
    "discipline": ({"edges.discipline": "lifo"}, "discipline.*'fcfs'.*'lifo'"),
    "unit": ({"delay_unit": 0}, "delay_unit.*given: 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_scenarios_are_refused(case: str, tmp_path: Path) -> None:
    changes, message = BAD[case]
    with pytest.raises(HetgymError, match=message) as caught:
        load_scenario(written(tmp_path, changes)).simulator(1)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_users": 0}, "num_users.*given: 0"),
        ({"noise": 0}, "noise.*given: 0"),
        ({"distance": -3.0}, "distance.*-3"),
        ({"num_frames": 0}, "num_frames.*given: 0"),
        ({"weights": []}, "weights"),
        ({"efficiency": 1.5}, "efficiency.*1.5"),
        ({"system": "lydroo"}, "efficiency.*lydroo|max_frequency.*lydroo"),
        ({"continuous": True}, "continuous.*frames"),
        ({"num_edges": 3}, "num_edges"),
    ],
)
def test_bad_frames_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(HetgymError, match=message):
        load_scenario("mec-droo", **settings)


def test_bad_numbers_of_frames_are_not_computed_with() -> None:
    with pytest.raises(HetgymError, match="bandwidth"):
        load_scenario("mec-lydroo", bandwidth=np.nan)


@pytest.mark.parametrize(
    ("scenario", "policy", "message"),
    [
        ("mec-gmorl", "heft", "'heft'"),
        ("mec-gmorl", "lru", "'lru'"),
        ("heft-paper", "weighted-greedy", "'weighted-greedy'.*offloading"),
        ("tiny-moe", "all-edge", "'all-edge'.*offloading"),
        ("mec-droo", "weighted-greedy", "'weighted-greedy'.*requests"),
        ("mec-gmorl", "frame-search", "'frame-search'.*frames"),
    ],
)
def test_policies_of_other_scenarios_are_refused(scenario: str, policy: str, message: str) -> None:
    loaded = load_scenario(scenario)
    with pytest.raises(HetgymError, match=message):
        evaluate(loaded, [make_policy(policy, loaded.family)], episodes=1)


Refused = Callable[[list[str]], str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """The command's last words, in one line, when it refuses its arguments."""

    def run(arguments: list[str]) -> str:
        with pytest.raises(SystemExit) as caught:
            main(["evaluate", "--episodes", "1", *arguments])
        assert caught.value.code == 2
        words = capsys.readouterr().err.strip()
        assert "\n" not in words
        return words

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scenario", "mec-gmorl", "--set", "weights=[0.5,0.2,0.1]"], "weights: must not be negative"),
        (["--scenario", "mec-gmorl", "--set", "weights=[0.5,0.5]"], "weights: must be three numbers"),
        (["--scenario", "mec-gmorl", "--set", "num_edges=0"], "count: "),
        (["--scenario", "mec-gmorl", "--set", "bandwith=3"], "'bandwith'"),
        (["--scenario", "heft-paper", "--front", "--policies", "heft"], "has one objective, so no front"),
        (["--scenario", "mec-droo", "--front"], "has one objective, so no front"),
        (["--scenario", "mec-gmorl", "--front", "--metric", "delay,price"], "'price'"),
        (["--scenario", "mec-gmorl", "--front", "--reference-point", "1,2"], "reference_point: must be 3 numbers"),
        (["--scenario", "mec-gmorl", "--policies", "all-edge", "--metric", "speed"], "'speed'"),
        (["--scenario", "mec-gmorl", "--policies", "all-edge", "--reward", "gold"], "'gold'"),
        (["--scenario", "mec-gmorl", "--policies", "all-egde"], "'all-egde'"),
    ],
)  # fmt: skip
def test_the_command_says_what_is_wrong(refused: Refused, arguments: list[str], words: str) -> None:
    assert words in refused(arguments)


def test_a_workflow_is_no_scenario_of_offloading(tmp_path: Path, refused: Refused) -> None:
    workflow = tmp_path / "workflow.yaml"
    workflow.write_text("name: one\nschemaVersion: '1.5'\nworkflow: {}\n")
    words = refused(["--scenario", str(workflow)])
    assert "workflow.yaml: family: must be one of" in words
    assert "offloading" in words
