import os
from pathlib import Path

import numpy as np
import pytest

import hetgym
from hetgym import HetgymError
from hetgym.agents import list_policies, make_policy
from hetgym.agents.heuristics.list_schedulers import StaticScheduler
from hetgym.envs import load_scenario
from hetgym.envs.task_graph import checker
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.rules import Rules
from hetgym.envs.task_graph.scenario import TaskGraphScenario
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.evaluate.evaluation import play

DATA = Path(os.environ.get("HETGYM_TEST_DATA", Path(hetgym.__file__).parent.parent / "shared" / "data"))
WORKFLOWS = sorted((DATA / "wfinstances").glob("*.json"))
ONLINE = [name for name in list_policies("task-graph") if not hasattr(make_policy(name), "schedule")]
STATIC = [policy for policy in map(make_policy, list_policies("task-graph")) if isinstance(policy, StaticScheduler)]

# Kinds that are assumed to run the workflow besides the processors, and how fast.
SPEEDUP: dict[str, dict[str, float]] = {
    "desktop-rtx4090": {"gpu": 4.0},
    "phone-soc": {"gpu": 1.5, "npu": 0.5},
    "soc-ds3": {},
}
USED = {
    "desktop-rtx4090": {"cpu", "gpu"},
    "phone-soc": {"cpu", "gpu", "npu"},
    "soc-ds3": {"a7", "a15"},
}

each_workflow = pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem) for path in WORKFLOWS]
    or [pytest.param(None, marks=pytest.mark.skip(reason=f"no workflows in {DATA / 'wfinstances'}"))],
)


def workflow_on(path: Path, platform: str, speedup: dict[str, float]) -> Instance:
    scenario = load_scenario(path, platform=platform, speedup=speedup)
    assert isinstance(scenario, TaskGraphScenario)
    return scenario.instance(0, 0)


def longest_path(instance: Instance) -> float:
    """Seconds of the longest path where every task runs on its fastest device and data move at once."""
    graph, fastest = instance.graph, instance.duration.min(axis=1)
    begin = np.zeros(graph.num_tasks)
    for _ in range(graph.num_tasks):
        before = begin.copy()
        np.maximum.at(begin, graph.edges[1], (begin + fastest)[graph.edges[0]])
        if (begin == before).all():
            break
    return float((begin + fastest).max())


@pytest.mark.parametrize("platform", SPEEDUP)
@each_workflow
def test_every_static_schedule_of_a_workflow_is_right(path: Path, platform: str) -> None:
    instance = workflow_on(path, platform, SPEEDUP[platform])
    runs = np.isfinite(instance.duration)
    assert (runs == runs[0]).all()
    assert {kind for kind, runs_there in zip(instance.platform.kinds, runs[0], strict=True) if runs_there} == USED[
        platform
    ]
    assert len(STATIC) >= 13
    bound = longest_path(instance)
    for policy in STATIC:
        schedule = policy.schedule(instance)
        assert checker.violations(instance, schedule) == [], policy.name
        assert sorted(schedule.sequence.tolist()) == list(range(instance.graph.num_tasks))
        assert schedule.makespan >= bound * (1 - 1e-9)


@pytest.mark.parametrize("platform", SPEEDUP)
@each_workflow
def test_every_run_of_a_workflow_is_right(path: Path, platform: str) -> None:
    settings = {"platform": platform, "speedup": SPEEDUP[platform], "mode": "dispatch", "noise": "gamma"}
    simulator = load_scenario(path, **settings).simulator(1)
    assert isinstance(simulator, TaskGraphSimulator)
    for name in (*ONLINE, "heft"):
        play(simulator, make_policy(name), [0])
        instance, schedule = simulator.instance(0), simulator.schedule(0)
        assert checker.violations(instance, schedule, Rules()) == [], name
        assert sorted(schedule.sequence.tolist()) == list(range(instance.graph.num_tasks))


@pytest.mark.skipif(not WORKFLOWS, reason=f"no workflows in {DATA / 'wfinstances'}")
def test_platform_without_processors_is_refused() -> None:
    with pytest.raises(HetgymError, match=r"no device of platform 'heft-paper' can run task"):
        workflow_on(WORKFLOWS[0], "heft-paper", {})
    assert np.isfinite(workflow_on(WORKFLOWS[0], "heft-paper", {"p2": 1.0}).duration).any(axis=0).tolist() == [
        False,
        True,
        False,
    ]
