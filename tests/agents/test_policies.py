import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from gymnasium.spaces import Discrete
from numpy.typing import NDArray
from scipy.stats import chisquare

import hetgym
from hetgym import HetgymError
from hetgym.agents import Policy, list_policies, make_policy
from hetgym.agents.heuristics.list_schedulers import StaticScheduler, heft
from hetgym.envs import Simulator, load_scenario
from hetgym.envs.task_graph import checker
from hetgym.envs.task_graph.rules import Rules
from hetgym.envs.task_graph.scenario import TaskGraphScenario
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.evaluate.evaluation import play
from hetgym.workloads import random_task_graph

DATA = Path(os.environ.get("HETGYM_TEST_DATA", Path(hetgym.__file__).parent.parent / "shared" / "data"))
WORKFLOWS = sorted((DATA / "wfinstances").glob("*.json"))


def test_names() -> None:
    names = list_policies("task-graph")
    assert {"heft", "peft", "min-min", "mct", "random"} <= set(names) <= set(list_policies())
    assert len(set(names)) == len(names)
    for name in names:
        policy = make_policy(name)
        assert policy.name == name
        assert not policy.clairvoyant
        assert isinstance(policy, Policy)


STATIC = [name for name in list_policies("task-graph") if isinstance(make_policy(name), StaticScheduler)]

Numbers = NDArray[np.int64]

THEIR_MODULE = """
NOT_CALLABLE = 3

class First:
    clairvoyant = True

    def __init__(self, name="first"):
        self.name = name

    def reset(self, simulator):
        pass

    def act(self, observation, simulator):
        return observation["action_mask"].argmax(axis=1)

class Nothing:
    pass
"""


@pytest.fixture(autouse=True)
def their_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_policies.py").write_text(THEIR_MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


def test_module_and_callable_name_a_policy() -> None:
    assert make_policy("their_policies:First").name == "first"
    policy = make_policy("their_policies:First", name="theirs")
    assert policy.name == "theirs"
    table = play(load_scenario("heft-paper").simulator(2), policy, [0, 1])
    assert table["policy"].tolist() == ["theirs"] * 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "hefty",
            r"unknown policy 'hefty'.*heft, .*random, best-of-K:NAME, .*ppo:PATH, pretrained:NAME, module:callable",
        ),
        ("no_such_module:Policy", r"No module named 'no_such_module'.*module:callable"),
        ("their_policies:Missing", r"has no attribute 'Missing'"),
        (":First", r"policy ':First'"),
        ("their_policies:NOT_CALLABLE", r"NOT_CALLABLE is not callable"),
        ("their_policies:Nothing", r"Nothing is not a policy: it needs name, clairvoyant, reset and act"),
        ("ppo:nowhere", r"nowhere: no checkpoint"),
    ],
)
def test_bad_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(HetgymError, match=message) as error:
        make_policy(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["heft", "random", "their_policies:First", "pretrained:random"])
def test_unknown_setting_is_refused(name: str) -> None:
    with pytest.raises(HetgymError, match=f"{name}.*(speed|no arguments)"):
        make_policy(name, speed=3)


def test_unknown_family_is_refused() -> None:
    with pytest.raises(HetgymError, match=r"unknown family 'graphs'.*task-graph"):
        list_policies("graphs")


def drawn(
    mask: NDArray[np.int8], seeds: NDArray[Any], episodes: NDArray[Any], steps: NDArray[Any]
) -> NDArray[np.int64]:
    """What the random policy takes in environments that only have a mask and a place in time."""
    simulator = SimpleNamespace(
        num_envs=len(seeds),
        seeds=seeds,
        episodes=episodes,
        outcome={"episode_length": steps},
        single_action_space=Discrete(len(mask)),
    )
    observation = {"action_mask": np.tile(mask, (len(seeds), 1))}
    return make_policy("random").act(observation, cast("Simulator", simulator))


@pytest.mark.parametrize("varied", ["seeds", "episodes", "steps"])
def test_random_policy_is_uniform_over_what_is_allowed(varied: str) -> None:
    mask = np.array([0, 1, 1, 0, 1, 0, 0, 1, 1, 0], np.int8)
    count = np.arange(20_000)
    key = {name: count if name == varied else np.zeros_like(count) for name in ("seeds", "episodes", "steps")}
    taken = np.bincount(drawn(mask, **key), minlength=10)
    assert not taken[mask == 0].any()
    assert chisquare(taken[mask == 1]).pvalue > 0.001


def test_random_policy_does_not_depend_on_the_batch() -> None:
    mask = np.array([0, 1, 1, 1, 1, 1, 1, 1], np.int8)
    chance = np.random.default_rng(0)
    key = [chance.integers(0, 1000, 64) for _ in range(3)]
    alone = [drawn(mask, *(part[row : row + 1] for part in key))[0] for row in range(64)]
    assert drawn(mask, *key).tolist() == alone
    assert len(set(alone)) == 7


@pytest.mark.parametrize("name", STATIC)
def test_batch_plays_the_schedules_of_the_graphs(name: str) -> None:
    """Graphs of unlike sizes, also where the scenario's own placement and window are others."""
    graphs = [random_task_graph(num_tasks=size, num_devices=3, seed=size) for size in (20, 1, 7)]
    simulator = load_scenario("random", num_devices=3, placement="append", ready_window=1).simulator(3)
    assert isinstance(simulator, TaskGraphSimulator)
    policy = make_policy(name)
    assert isinstance(policy, StaticScheduler)
    for order in (graphs, graphs[::-1]):
        simulator.reset(range(3), order)
        policy.reset(simulator)
        while not simulator.outcome["terminated"].all():
            simulator.step(policy.act(simulator.observation, simulator))
            assert not simulator.outcome["invalid_action"].any()
        for row, graph in enumerate(order):
            played, planned = simulator.schedule(row), policy.schedule(graph)
            for field in ("device", "start", "finish", "sequence"):
                assert getattr(played, field).tolist() == getattr(planned, field).tolist()


def test_static_scheduler_is_for_task_graphs_only() -> None:
    with pytest.raises(HetgymError, match="'heft' schedules task graphs only"):
        heft().reset(cast("Simulator", SimpleNamespace()))


@pytest.mark.skipif(not WORKFLOWS, reason=f"no workflows in {DATA / 'wfinstances'}")
def test_there_are_twenty_workflows() -> None:
    assert len(WORKFLOWS) == 20


@pytest.mark.parametrize("name", [name for name in list_policies("task-graph") if name != "duplication"])
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem) for path in WORKFLOWS]
    or [pytest.param(None, marks=pytest.mark.skip(reason=f"no workflows in {DATA / 'wfinstances'}"))],
)
def test_real_workflow_is_scheduled(path: Path, name: str) -> None:
    online = name not in {*STATIC, "random"}
    scenario = load_scenario(path, mode="dispatch" if online else "plan", noise="gamma" if online else "none")
    assert isinstance(scenario, TaskGraphScenario)
    assert scenario.devices.name == "four-workers"
    simulator = scenario.simulator(1)
    table = play(simulator, make_policy(name), [0])
    instance, schedule = simulator.instance(0), simulator.schedule(0)
    assert sorted(schedule.sequence.tolist()) == list(range(instance.graph.num_tasks))
    assert checker.violations(instance, schedule, Rules()) == []
    assert table["makespan"][0] == pytest.approx(schedule.makespan)
    assert online or table["lower_bound"][0] <= table["makespan"][0] * (1 + 1e-9)
    assert (name != "heft") or table["makespan"][0] == table["heft_makespan"][0]
