import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.agents.heuristics.replay import Planner
from hetgym.agents.search import playing
from hetgym.envs import load_scenario
from hetgym.envs.task_graph import checker
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.rules import Rules
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.evaluate.evaluation import play
from hetgym.workloads import CANONICAL_GRAPHS, random_task_graph


def planner(name: str) -> Planner:
    policy = make_policy(name)
    assert isinstance(policy, Planner)
    return policy


@pytest.mark.parametrize("name", ["heft", "min-min", "olb", "random"])
def test_more_attempts_are_never_worse(name: str) -> None:
    for seed in range(10):
        instance = Instance.of(random_task_graph(15, 3, seed=seed))
        schedules = [planner(f"best-of-{attempts}:{name}").schedule(instance) for attempts in (1, 4, 32)]
        makespans = [schedule.makespan for schedule in schedules]
        assert makespans == sorted(makespans, reverse=True)
        for schedule in schedules:
            assert not checker.violations(instance, schedule)
        if name != "random":
            assert makespans[0] == planner(name).schedule(instance).makespan


def test_attempts_help() -> None:
    graphs = [random_task_graph(20, 4, seed=seed) for seed in range(20)]
    mean = {
        name: np.mean([planner(name).schedule(graph).makespan for graph in graphs])
        for name in ("heft", "best-of-16:heft")
    }
    assert mean["best-of-16:heft"] < 0.98 * mean["heft"]


def test_optimum_of_the_heft_paper_is_the_limit() -> None:
    # 73 is proven optimal.
    assert 73 <= planner("best-of-64:heft").schedule(CANONICAL_GRAPHS["heft-paper"]()).makespan < 80


def test_attempts_are_the_same_in_every_run() -> None:
    graph = random_task_graph(20, 4, seed=5)
    one, other = (planner("best-of-8:heft").schedule(graph) for _ in range(2))
    assert one.start.tolist() == other.start.tolist()


@pytest.mark.parametrize(("scenario", "name"), [("random", "best-of-4:dls"), ("random-noisy", "best-of-4:heft")])
def test_plan_is_played(scenario: str, name: str) -> None:
    simulator = load_scenario(scenario).simulator(3)
    table = play(simulator, make_policy(name), [0, 1, 2])
    for row in range(3):
        instance, schedule = simulator.instance(row), simulator.schedule(row)
        assert not checker.violations(instance, schedule, Rules())
        if scenario == "random":
            assert table["makespan"][row] == pytest.approx(planner(name).schedule(instance).makespan)
        assert table["policy"][row] == name


@pytest.mark.parametrize("side_by_side", [1, 6, 100])
def test_instances_do_not_matter_to_one_another(side_by_side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing, "SIDE_BY_SIDE", side_by_side)
    simulator, policy = load_scenario("random").simulator(4), planner("best-of-3:random")
    simulator.reset(range(4))
    assert isinstance(simulator, TaskGraphSimulator)
    for row, schedule in enumerate(policy.plans(simulator)):
        alone = policy.schedule(simulator.instance(row))
        assert schedule.sequence.tolist() == alone.sequence.tolist()
        assert schedule.start.tolist() == alone.start.tolist()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("best-of-0:heft", "at least one attempt"),
        ("best-of-2:hefty", "unknown policy 'hefty'"),
        ("best-of-2", "unknown policy 'best-of-2'.*best-of-K:NAME"),
    ],
)
def test_bad_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(HetgymError, match=message):
        make_policy(name)


def test_policies_of_dispatch_cannot_plan() -> None:
    with pytest.raises(HetgymError, match="mode 'dispatch'"):
        planner("best-of-2:eft").schedule(random_task_graph(5, 2))
