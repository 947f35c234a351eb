"""Beam search and local repair: checked schedules, what they are never worse than, and optima of small graphs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hetgym import HetgymError
from hetgym.agents import list_policies, make_policy
from hetgym.agents.card import Card
from hetgym.agents.checkpoint import package_versions, save_checkpoint
from hetgym.agents.heuristics.replay import Planner
from hetgym.agents.networks import CandidateScorer, NetworkSettings
from hetgym.envs import TaskGraphScenario, load_scenario
from hetgym.envs.task_graph.checker import violations
from hetgym.envs.task_graph.features import PLAN_SCHEMA
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.schedule import Schedule
from hetgym.evaluate.evaluation import play
from hetgym.hardware_models import Device, Link, Platform
from hetgym.workloads import TaskGraph, random_task_graph
from hetgym.workloads.canonical import heft_paper, peft_paper

NETWORK = NetworkSettings(hidden=8, rounds=0)
PLANNERS = [name for name in list_policies("task-graph") if isinstance(make_policy(name), Planner)]
INSTANCES = [Instance.of(random_task_graph(15, 3, seed=seed)) for seed in range(6)]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained network with a strong opinion, as a policy."""
    folder = tmp_path_factory.mktemp("agent") / "best"
    torch.manual_seed(3)
    network = CandidateScorer(PLAN_SCHEMA, NETWORK)
    torch.nn.init.normal_(network.heads.weight)
    card = Card(
        algorithm="ppo", family="task-graph", scenario={}, seed=0, steps=0, command="", versions=package_versions(),
        network=NETWORK, features=PLAN_SCHEMA.names(),
    )  # fmt: skip
    save_checkpoint(folder, card, network.state_dict())
    return f"ppo:{folder}"


def scheduled(name: str, instance: Instance) -> Schedule:
    """Returns the schedule of a planner, checked."""
    policy = make_policy(name)
    assert isinstance(policy, Planner)
    assert policy.name == name
    schedule = policy.schedule(instance)
    assert violations(instance, schedule) == []
    return schedule


def makespans(name: str) -> list[float]:
    return [scheduled(name, instance).makespan for instance in INSTANCES]


def played(name: str) -> list[float]:
    """Returns what a policy makes of the same instances decision by decision."""
    room = TaskGraphScenario(name="room", workload={"kind": "random", "num_tasks": 15, "num_devices": 3}).simulator(6)
    room.reset(range(6), INSTANCES)
    policy = make_policy(name)
    policy.reset(room)
    while not room.outcome["terminated"].all():
        room.step(policy.act(room.observation, room))
    return [room.schedule(row).makespan for row in range(6)]


def awkward() -> Instance:
    """Few tasks, some of which take no time or run on one device only, of two jobs, with slow links."""
    devices = tuple(Device(name=name, kind=name[0]) for name in ("a0", "a1", "b"))
    links = tuple(
        Link(between=(one.name, other.name), bandwidth=2.0, latency=0.5)
        for place, one in enumerate(devices)
        for other in devices[place + 1 :]
    )
    graph = TaskGraph(
        "awkward", ("a", "b"),
        np.array([[0.0, 0.0], [3.0, np.inf], [2.0, 1.0], [np.inf, 2.0], [0.0, 0.0], [1.0, 4.0]]),
        np.array([[0, 0, 1, 2, 3], [1, 2, 3, 3, 4]]), np.array([1.0, 0.0, 4.0, 3.0, 2.0]),
        job=np.array([0, 0, 0, 0, 0, 1]), arrival=np.array([0.0, 2.5]),
    )  # fmt: skip
    return Instance(graph, Platform(name="awkward", devices=devices, links=links))


@pytest.mark.parametrize("name", PLANNERS)
def test_repair_never_makes_a_schedule_worse(name: str) -> None:
    before = makespans(name)
    once, often = makespans(f"repair-1:{name}"), makespans(f"repair-200:{name}")
    for repaired in (once, often):
        assert all(better <= worse for worse, better in zip(before, repaired, strict=True))
    assert sum(often) < sum(before)


@pytest.mark.parametrize("size", [1, 2, 40])
def test_searches_of_any_size_are_right(size: int, agent: str) -> None:
    instance = Instance.of(random_task_graph(size, 4, seed=size))
    heft = scheduled("heft", instance).makespan
    for name in ("beam-3:heft", "repair-20:heft", "repair-20:beam-3:heft", "repair-20:best-of-3:heft"):
        assert scheduled(name, instance).makespan <= heft
    scheduled(f"beam-3:{agent}", instance)


def test_learned_policies_are_searched_with(agent: str) -> None:
    greedy = played(agent)
    for name in (f"beam-4:{agent}", f"repair-50:{agent}", f"repair-50:beam-4:{agent}"):
        found = makespans(name)
        assert all(better <= worse for worse, better in zip(greedy, found, strict=True))
        assert sum(found) < sum(greedy)
    drawn, repaired = makespans(f"best-of-4:{agent}"), makespans(f"repair-50:best-of-4:{agent}")
    assert all(better <= worse for worse, better in zip(drawn, repaired, strict=True))
    assert sum(repaired) < sum(drawn)


def test_beam_of_one_is_its_guide(agent: str) -> None:
    assert makespans(f"beam-1:{agent}") == played(agent)
    assert makespans("beam-1:heft") == makespans("heft")


def test_searches_help() -> None:
    heft = sum(makespans("heft"))
    assert sum(makespans("beam-16:heft")) < 0.97 * heft
    assert sum(makespans("repair-1000:heft")) < 0.97 * heft


@pytest.mark.parametrize(("graph", "optimum"), [(heft_paper(), 73), (peft_paper(), 113)])
def test_optima_of_the_papers_are_found(graph: TaskGraph, optimum: int) -> None:
    assert scheduled("beam-64:heft", Instance.of(graph)).makespan == optimum
    assert optimum <= scheduled("repair-1000:heft", Instance.of(graph)).makespan <= 1.02 * optimum


def exhaustive(instance: Instance) -> float:
    """Returns the least makespan, by trying every order and device, each task as early as it can behind the others."""
    duration, release = instance.duration.tolist(), instance.graph.release.tolist()
    platform = instance.platform
    inputs: list[list[tuple[int, float]]] = [[] for _ in duration]
    for (sender, receiver), size in zip(
        instance.graph.edges.T.tolist(), instance.graph.edge_bytes.tolist(), strict=True
    ):
        inputs[receiver].append((sender, size))

    def least(device: dict[int, int], finish: dict[int, float], free: list[float]) -> float:
        if len(finish) == len(duration):
            return max(finish.values())
        makespan = np.inf
        for task in range(len(duration)):
            if task in finish or any(sender not in finish for sender, _ in inputs[task]):
                continue
            for place in range(len(free)):
                if duration[task][place] == np.inf:
                    continue
                start = max(release[task], free[place])
                for sender, size in inputs[task]:
                    away = device[sender] != place
                    pause = (
                        platform.latency[device[sender], place]
                        + size * platform.seconds_per_byte[device[sender], place]
                    )
                    start = max(start, finish[sender] + pause * away)
                end = start + duration[task][place]
                later = [end if other == place else time for other, time in enumerate(free)]
                makespan = min(makespan, least(device | {task: place}, finish | {task: end}, later))
        return makespan

    return least({}, {}, [0.0] * platform.num_devices)


@pytest.mark.parametrize("seed", range(4))
def test_beam_over_the_whole_tree_finds_the_optimum(seed: int, agent: str) -> None:
    instance = Instance.of(random_task_graph(5, 2, seed=seed))
    optimum = pytest.approx(exhaustive(instance), rel=1e-12)
    # There are no more than 5! 2^5 partial schedules of any length.
    for name in ("beam-3840:heft", f"beam-3840:{agent}", "repair-10000:heft"):
        assert scheduled(name, instance).makespan == optimum


def test_awkward_tasks(agent: str) -> None:
    instance = awkward()
    optimum = pytest.approx(exhaustive(instance), rel=1e-12)
    for name in ("beam-500:heft", f"beam-500:{agent}", "repair-10000:olb", "repair-10000:heft"):
        assert scheduled(name, instance).makespan == optimum
    for name in ("beam-2:heft", f"beam-2:{agent}", "repair-3:random"):
        scheduled(name, instance)


def test_optimum_is_repaired_to_itself() -> None:
    pytest.importorskip("ortools", reason="OR-Tools is not installed: it comes with the extra hetgym[oracle]")
    instance = Instance.of(random_task_graph(10, 3, seed=4))
    optimum = scheduled("cp-sat", instance).makespan
    assert scheduled("repair-100:cp-sat", instance).makespan == pytest.approx(optimum, rel=1e-6)
    assert scheduled("repair-2000:heft", instance).makespan >= optimum * (1 - 1e-6)


@pytest.mark.parametrize("pattern", ["repair-50:heft", "repair-50:{}", "beam-4:heft", "beam-4:{}"])
def test_searches_are_the_same_in_every_run(pattern: str, agent: str) -> None:
    one, other = (scheduled(pattern.format(agent), INSTANCES[0]) for _ in range(2))
    assert one.start.tolist() == other.start.tolist()
    assert one.device.tolist() == other.device.tolist()


@pytest.mark.parametrize(("scenario", "name"), [("random", "repair-20:dls"), ("random", "beam-4:heft"),
                                                ("random-noisy", "repair-20:heft")])  # fmt: skip
def test_plan_is_played(scenario: str, name: str) -> None:
    simulator = load_scenario(scenario).simulator(3)
    table = play(simulator, make_policy(name), [0, 1, 2])
    for row in range(3):
        instance, schedule = simulator.instance(row), simulator.schedule(row)
        assert violations(instance, schedule) == []
        if scenario == "random":
            assert table["makespan"][row] == pytest.approx(scheduled(name, instance).makespan)
        assert table["policy"][row] == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("repair-0:heft", "policy 'repair-0:heft': there must be at least one move"),
        ("beam-0:heft", "policy 'beam-0:heft': the beam must keep at least one schedule"),
        ("beam-4:peft", "policy 'beam-4:peft': a beam is guided by a trained network"),
        ("repair-4:hefty", "unknown policy 'hefty'"),
        ("repair-4", "unknown policy 'repair-4'.*repair-K:NAME"),
        ("beam-4:ppo:nowhere", "nowhere: no checkpoint"),
    ],
)
def test_bad_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(HetgymError, match=message) as error:
        make_policy(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"), [("repair-4:eft", "mode 'dispatch'"), ("repair-4:duplication", "runs each")]
)
def test_what_cannot_plan_is_not_repaired(name: str, message: str) -> None:
    with pytest.raises(HetgymError, match=message):
        make_policy(name).schedule(INSTANCES[0])  # type: ignore[attr-defined]
