"""The search for worst cases: it finds some, they are valid, and it does so again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from hetgym import HetgymError
from hetgym.agents.card import Card
from hetgym.agents.checkpoint import package_versions, save_checkpoint
from hetgym.agents.networks import CandidateScorer, NetworkSettings
from hetgym.envs import Scenario, Simulator, TaskGraphScenario, load_scenario
from hetgym.envs.task_graph.checker import violations
from hetgym.evaluate import evaluate, find_worst_case
from hetgym.evaluate.adversarial import WorstCase, _Duel
from hetgym.evaluate.neighbourhood import Neighbourhood, possible_edges
from hetgym.workloads import CANONICAL_GRAPHS, TaskGraph, join_jobs, random_task_graph, save_task_graph

NOISY = {"noise": "gamma", "noise_sigma": 0.5, "queue_limit": 2}


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> list[WorstCase]:
    """Every worst case so far that a search meets."""
    cases: list[WorstCase] = []
    case = _Duel.case

    def remember(duel: _Duel, row: int, ratio: float) -> WorstCase:
        cases.append(case(duel, row, ratio))
        return cases[-1]

    monkeypatch.setattr(_Duel, "case", remember)
    return cases


def same(one: WorstCase, other: WorstCase) -> bool:
    for a, b in zip(one.schedules, other.schedules, strict=True):
        for field in ("device", "start", "finish", "sequence"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    for field in ("duration", "edges", "edge_bytes"):
        np.testing.assert_array_equal(getattr(one.instance.graph, field), getattr(other.instance.graph, field))
    return (one.ratio, one.seed, one.policies) == (other.ratio, other.seed, other.policies)


@pytest.mark.parametrize(("policy", "rival"), [("heft", "lookahead"), ("lookahead", "heft")])
def test_each_policy_loses_somewhere(policy: str, rival: str) -> None:
    found = find_worst_case("random", policy, rival, iterations=300, episodes=8, num_tasks=10)
    assert found.policies == (policy, rival)
    assert found.ratio > 1.3


def test_where_more_is_better_the_one_with_less_loses(tmp_path: Path) -> None:
    found = find_worst_case("random", "heft", "cpop", iterations=20, episodes=4, metric="utilisation", num_tasks=6)
    assert found.more_is_better
    assert found.ratio > 1
    assert found.finding == f"utilisation of cpop is {found.ratio:.4f} times that of heft"
    found.save(tmp_path / "found.yaml")
    played = evaluate(tmp_path / "found.yaml", "heft,cpop", episodes=1, seed=found.seed)["utilisation"]
    assert played[1] / played[0] == pytest.approx(found.ratio, rel=1e-9)


@pytest.mark.parametrize(
    ("scenario", "policy", "rival", "settings"),
    [
        ("random", "heft", "cpop", {"num_tasks": 6}),
        ("random", "min-min", "random", {"num_tasks": 6, "platform": "readys-2c2g"}),
        ("heft-paper", "peft", "heft", {}),
        ("random-noisy", "eft", "heft", {"num_tasks": 6}),
        ("random", "rank-online", "best-of-4:heft", {"num_tasks": 6, "mode": "dispatch", **NOISY}),
        ("random", "heft", "eft", {"num_tasks": 6, "mode": "dispatch", "contention": "nic", **NOISY}),
        ("random", "eft", "heft", {"num_tasks": 6, "mode": "dispatch", "mean_uptime": 3.0, "mean_downtime": 1.0}),
        ("random", "eft", "heft", {"num_tasks": 6, "mode": "dispatch", "information": "exact", **NOISY}),
        ("cholesky-2c2g", "fifo", "rank-online-wait", {"tiles": 3, "mode": "dispatch"}),
    ],
)
def test_every_worst_case_is_valid(
    visited: list[WorstCase], scenario: str, policy: str, rival: str, settings: dict[str, Any]
) -> None:
    setting = load_scenario(scenario, **settings)
    assert isinstance(setting, TaskGraphScenario)
    found = find_worst_case(setting, policy, rival, iterations=60, episodes=4)
    assert len(visited) > 1
    assert visited[-1].ratio == found.ratio
    for case in visited:
        for schedule in case.schedules:
            assert violations(case.instance, schedule, setting.rules) == []
        own, other = (schedule.makespan for schedule in case.schedules)
        assert case.ratio == own / other
    ratios = [case.ratio for case in visited]
    assert ratios == sorted(set(ratios))


def test_history_never_falls() -> None:
    found = find_worst_case("random", "peft", "heft", iterations=50, episodes=3, num_tasks=5)
    assert found.history["iteration"].tolist() == list(range(51))
    assert (found.history["ratio"].diff().dropna() >= 0).all()
    assert (found.history["temperature"].diff().dropna() < 0).all()
    assert found.history["ratio"].iloc[-1] == found.ratio > found.history["ratio"].iloc[0]
    own, other = (evaluate("random", policy, 3, num_tasks=5)["makespan"] for policy in ("peft", "heft"))
    assert found.history["ratio"].iloc[0] == (own / other).max()


@pytest.mark.parametrize("settings", [{}, {"mode": "dispatch", **NOISY}])
def test_result_depends_on_the_seed_alone(settings: dict[str, Any]) -> None:
    def search(seed: int, episodes: int) -> WorstCase:
        return find_worst_case("random", "heft", "random", 40, episodes, seed, num_tasks=5, **settings)

    together, again = search(7, 3), search(7, 3)
    assert same(together, again)
    pd.testing.assert_frame_equal(together.history, again.history)
    alone = [search(seed, 1) for seed in (7, 8, 9)]
    assert len({case.ratio for case in alone}) == 3
    assert same(together, max(alone, key=lambda case: case.ratio))


@pytest.mark.parametrize("mode", [{}, {"mode": "dispatch", "noise": "lognormal"}])
@pytest.mark.parametrize("platform", [None, "readys-2c2g", "mine.yaml"])
def test_saved_instance_is_played_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str | None, mode: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(
        "name: mine\n"
        "devices: [{name: a, kind: cpu, speed: 2.0}, {name: b, kind: gpu}, {name: c, kind: cpu}]\n"
        "links: [{between: [a, b, c], bandwidth: 3.0, latency: 0.01}]\n"
    )
    scenario = load_scenario("random", num_tasks=5, platform=platform, **mode)
    found = find_worst_case(scenario, "min-min", "heft", iterations=20, episodes=3, seed=5)
    found.save(tmp_path / "found" / "worst.yaml")
    monkeypatch.chdir("/")
    table = evaluate(tmp_path / "found" / "worst.yaml", ["min-min", "heft"], episodes=1, seed=found.seed)
    assert table["makespan"].tolist() == [schedule.makespan for schedule in found.schedules]
    again = find_worst_case(tmp_path / "found" / "worst.yaml", "min-min", "heft", 10, 1, found.seed)
    assert again.history["ratio"].iloc[0] == found.ratio


def test_learned_policy_is_attacked(tmp_path: Path, visited: list[WorstCase]) -> None:
    schema = load_scenario("random").simulator(1).schema
    torch.manual_seed(1)
    settings = NetworkSettings(hidden=8, rounds=1)
    card = Card(
        algorithm="ppo", family="task-graph", scenario={}, seed=0, steps=0, command="", versions=package_versions(),
        network=settings, features=schema.names(),
    )  # fmt: skip
    save_checkpoint(tmp_path / "best", card, CandidateScorer(schema, settings).state_dict())
    found = find_worst_case("random", f"ppo:{tmp_path}", "heft", iterations=40, episodes=4, num_tasks=5)
    assert found.ratio > found.history["ratio"].iloc[0]
    assert all(violations(case.instance, schedule) == [] for case in visited for schedule in case.schedules)


def test_picture_has_both_schedules() -> None:
    found = find_worst_case("heft-paper", "cpop", "heft", iterations=1, episodes=1)
    titles = [axes.get_title() for axes in found.figure().axes]
    assert [title.split(":")[0] for title in titles] == ["cpop", "heft"]
    assert len({axes.get_xlim() for axes in found.figure().axes}) == 1


def test_rival_that_takes_no_time_is_no_evidence(tmp_path: Path) -> None:
    save_task_graph(TaskGraph("nothing", ("a", "b"), np.zeros((2, 2)), [[0], [1]], [1.0]), tmp_path / "graph.json")
    (tmp_path / "nothing.yaml").write_text(
        "name: nothing\nfamily: task-graph\nworkload: {kind: file, path: graph.json}\n"
    )
    assert find_worst_case(tmp_path / "nothing.yaml", "olb", "heft", iterations=5, episodes=2).ratio == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": "nope"}, "unknown policy 'nope'"),
        ({"rival": "heft"}, "two policies .given: 'heft' twice."),
        ({"policy": "eft"}, "mode 'dispatch'"),
        ({"iterations": 0}, "iterations: must be at least 1"),
        ({"episodes": 0}, "episodes: must be at least 1"),
        ({"seed": -1}, "seed: must be from 0"),
        ({"seed": 2**31 - 1, "episodes": 2}, "seed: must be from 0"),
        ({"metric": "fame"}, "metric: 'fame' is not among makespan"),
        ({"size": 3}, "'size'"),
        ({"scenario": "soc-stream"}, "stream"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    given = {"scenario": "random", "policy": "heft", "rival": "cpop", "iterations": 1, "episodes": 1, **arguments}
    with pytest.raises(HetgymError, match=message):
        find_worst_case(**given)


def test_scenario_of_another_family_is_refused() -> None:
    class Other(Scenario):
        def simulator(self, num_envs: int, reward: str | None = None) -> Simulator:
            raise NotImplementedError

        def sections(self) -> tuple[str, ...]:
            return ()

        @property
        def baselines(self) -> tuple[str, ...]:
            return ()

        @property
        def metric(self) -> str:
            return ""

    with pytest.raises(HetgymError, match="scenario 'other' is not one of task graphs"):
        find_worst_case(Other(name="other", family="other"), "heft", "cpop")


def walk(source: TaskGraphScenario, graph: TaskGraph, steps: int) -> list[TaskGraph]:
    neighbourhood, chance = Neighbourhood.of(source.graphs), np.random.default_rng(0)
    graphs = [graph]
    for _ in range(steps):
        graphs.append(neighbourhood.neighbour(graphs[-1], chance))
    return graphs


def test_neighbours_stay_like_the_scenario() -> None:
    scenario = load_scenario("random", num_tasks=6, platform="readys-2c2g")
    assert isinstance(scenario, TaskGraphScenario)
    neighbourhood = Neighbourhood.of(scenario.graphs)
    graphs = walk(scenario, scenario.graphs.sample(0, 0), 2000)
    counts = {graph.num_edges for graph in graphs}
    assert (min(counts), max(counts)) == (0, neighbourhood.num_edges) == (0, 15)
    for before, after in pairwise(graphs):
        # Numbers that were drawn outside the range may stay there; those that are changed are inside.
        for field in ("duration", "edge_bytes") if before.num_edges == after.num_edges else ("duration",):
            old, new = getattr(before, field), getattr(after, field)
            low, high = getattr(neighbourhood, field)
            changed = new[new != old]
            assert len(changed) <= 1
            assert ((low <= changed) & (changed <= high)).all()
        assert abs(after.num_edges - before.num_edges) <= 1
    low, high = neighbourhood.duration
    assert 0 < low < high
    reached = np.array([graph.duration for graph in graphs[1000:]])
    assert (reached.min(), reached.max()) == pytest.approx((low, high))


def test_neighbours_keep_kinds_and_jobs(tmp_path: Path) -> None:
    paper = CANONICAL_GRAPHS["heft-paper"]()
    duration = paper.duration.copy()
    duration[np.arange(10) % 3 > 0, 1] = np.inf
    jobs = [TaskGraph("job", paper.kinds, duration, paper.edges, paper.edge_bytes)] * 2
    graph = join_jobs(jobs, [0.0, 3.5], [50.0, np.inf])
    save_task_graph(graph, tmp_path / "graph.json")
    (tmp_path / "jobs.yaml").write_text("name: jobs\nfamily: task-graph\nworkload: {kind: file, path: graph.json}\n")
    scenario = load_scenario(tmp_path / "jobs.yaml")
    assert isinstance(scenario, TaskGraphScenario)
    for changed in walk(scenario, graph, 300):
        assert changed.num_edges <= graph.num_edges
        for field in ("job", "arrival", "deadline", "task_names"):
            np.testing.assert_array_equal(getattr(changed, field), getattr(graph, field))
        np.testing.assert_array_equal(np.isinf(changed.duration), np.isinf(graph.duration))


def accepted(graph: TaskGraph, pair: tuple[int, int]) -> bool:
    try:
        TaskGraph(
            "more", graph.kinds, graph.duration, np.column_stack([graph.edges, pair]), np.append(graph.edge_bytes, 1.0),
            job=graph.job,
        )  # fmt: skip
    except HetgymError:
        return False
    return True


@pytest.mark.parametrize(
    "make",
    [
        lambda: random_task_graph(7, seed=1),
        lambda: TaskGraph("chain", ("a",), np.ones((6, 1)), [[4, 2, 0, 5, 1], [2, 0, 5, 1, 3]], np.ones(5)),
        lambda: TaskGraph("none", ("a",), np.ones((1, 1)), [[], []], []),
        lambda: TaskGraph("jobs", ("a",), np.ones((4, 1)), [[0], [1]], [1.0], job=[0, 0, 1, 1]),
        lambda: TaskGraph("full", ("a",), np.ones((4, 1)), [*map(list, np.triu_indices(4, 1))], np.ones(6)),
    ],
)
def test_possible_edges_are_those_that_a_graph_accepts(make: Callable[[], TaskGraph]) -> None:
    graph = make()
    pairs = [(one, other) for one in range(graph.num_tasks) for other in range(graph.num_tasks)]
    assert [tuple(pair) for pair in possible_edges(graph).tolist()] == [pair for pair in pairs if accepted(graph, pair)]
