"""Rules of weighted features: beside plain Python, and where they are rules that everybody knows."""

from __future__ import annotations

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.agents.heuristics.weighted_rule import DEVICE_FEATURES, TASK_FEATURES, RuleWeights, WeightedRule
from hetgym.agents.policy import Policy
from hetgym.envs import load_scenario
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.evaluate.evaluation import play

CROWDED = {"num_jobs": 25, "mean_interarrival": 2e-5}


def drawn(seed: int) -> RuleWeights:
    chance = np.random.default_rng(seed)
    return RuleWeights(
        chance.normal(size=len(TASK_FEATURES)), chance.normal(scale=0.4, size=len(DEVICE_FEATURES)), np.array([0.3])
    )


def task_features(simulator: TaskGraphSimulator, row: int, task: int) -> list[float]:
    status, state = simulator.state.status[row], simulator.state
    instances, slot = simulator.instances, status["slot"]
    known, unit = instances.tasks[slot, task], status["makespan_unit"]
    job = state.jobs[row, known["job"]]
    age, work = (status["now"] - job["arrival"]) / unit, job["work"] / unit
    path = (instances.graph.duration[slot, task] + instances.tail[slot, task]).min() / unit
    return [
        age,
        (status["now"] - state.runs[row, task]["ready_at"]) / unit,
        known["min_duration"] / unit,
        path,
        instances.upward_rank[slot, task] / instances.totals[slot]["largest_rank"],
        work,
        job["remaining"] / 10,
        job["in_line"] / 10,
        *np.log([0.05 + age, 0.05 + path, 0.05 + work, job["remaining"]]),
    ]


def decided(simulator: TaskGraphSimulator, row: int, weights: RuleWeights) -> int:
    """Returns what the rule decides in an episode, in plain Python."""
    status, state = simulator.state.status[row], simulator.state
    duration = simulator.instances.graph.duration[status["slot"]]
    ready = state.tasks[row, : status["num_ready"]]["ready"].tolist()
    free = state.lanes[row]["available"].copy()
    crowd = len(ready) / 10
    for task in sorted(ready, key=lambda task: np.dot(weights.task, task_features(simulator, row, task))):
        options = state.options[row, task]
        able = np.flatnonzero(np.isfinite(duration[task]))
        start = np.maximum(options["start"], free)[able]
        seconds, delay = duration[task][able], start - status["now"]
        shown = [
            seconds,
            delay,
            start - free[able],
            options["transfer"][able],
            simulator.instances.tail[status["slot"], task][able],
            crowd * seconds,
            crowd * delay,
        ]
        place = int(np.argmin(start + seconds + weights.device @ np.array(shown)))
        device = int(able[place])
        if state.queues[row, device]["length"] == 0:
            return simulator.num_candidates + task * simulator.platform.num_devices + device
        free[device] = start[place] + (1 + weights.claim[0]) * seconds[place]
    return 0


@pytest.mark.parametrize("seed", range(4))
def test_it_decides_as_plain_python_does(seed: int) -> None:
    simulator = load_scenario("soc-stream-high", **CROWDED).simulator(2)
    assert isinstance(simulator, TaskGraphSimulator)
    weights = drawn(seed)
    policy = WeightedRule("rule", weights)
    simulator.reset([seed, 100 + seed])
    policy.reset(simulator)
    waits = tasks = 0
    for _ in range(250):
        live = np.flatnonzero(~simulator.outcome["terminated"])
        actions = policy.act(simulator.observation, simulator)
        assert [decided(simulator, row, weights) for row in live] == actions[live].tolist()
        waits += int((actions[live] == 0).sum())
        tasks += int((actions[live] > 0).sum())
        simulator.step(actions)
    assert waits > 20
    assert tasks > 100


def test_least_work_is_lwkr() -> None:
    simulator = load_scenario("soc-stream-high", num_jobs=60).simulator(4)
    rules: list[Policy] = [make_policy("lwkr"), WeightedRule("rule", RuleWeights.least_work()), make_policy("srcpf")]
    lwkr, rule, other = (play(simulator, policy, range(4))["job_latency_mean"].to_numpy() for policy in rules)
    assert np.array_equal(lwkr, rule)
    assert not np.array_equal(lwkr, other)


def test_names_fit_the_numbers() -> None:
    names = [feature.name for feature in (*TASK_FEATURES, *DEVICE_FEATURES)]
    assert len(set(names[: len(TASK_FEATURES)])) == len(TASK_FEATURES) == 12
    assert len(set(names[len(TASK_FEATURES) :])) == len(DEVICE_FEATURES) == 7


def test_it_needs_dispatch() -> None:
    with pytest.raises(HetgymError, match=r"'rule'.*mode 'dispatch'"):
        play(load_scenario("heft-paper").simulator(1), WeightedRule("rule", RuleWeights.least_work()), [0])
