from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch_geometric.data import Batch, Data

from hetgym.agents import make_policy
from hetgym.envs import TaskGraphScenario, load_scenario, to_pyg
from hetgym.envs.core.simulator import Arrays, ObservationSchema
from hetgym.envs.task_graph.features import DISPATCH_SCHEMA, PLAN_SCHEMA
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.workloads import CANONICAL_GRAPHS, RandomGraphs, TaskGraph, random_task_graph


def scenario(num_tasks: int = 10, num_devices: int = 3, window: int = 2, **settings: Any) -> TaskGraphScenario:
    room = RandomGraphs(num_tasks=num_tasks, num_devices=num_devices)
    return TaskGraphScenario(name="room", workload=room, ready_window=window, pool=2, **settings)


def act(simulator: TaskGraphSimulator) -> None:
    simulator.step(make_policy("random").act(simulator.observation, simulator))


def assert_equal(one: Arrays, other: Arrays) -> None:
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name, strict=True)


def assert_close(one: Arrays, other: Arrays, tolerance: float) -> None:
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(("mode", "schema"), [("plan", PLAN_SCHEMA), ("dispatch", DISPATCH_SCHEMA)])
def test_schema_names_the_columns(mode: str, schema: ObservationSchema) -> None:
    simulator = scenario(mode=mode).simulator(2)
    observation = simulator.observation
    assert simulator.schema is schema
    widths = {name: observation[name].shape[-1] for name in ("candidates", "context", "nodes", "edge_features")}
    assert widths == {name: len(names) for name, names in schema.names().items()}
    assert observation["candidate_nodes"].shape[-1] == schema.nodes_per_candidate
    for names in schema.names().values():
        assert len(set(names)) == len(names)
    assert schema.settled in schema.names()["nodes"]


DISPATCH = {"mode": "dispatch", "noise": "gamma"}


@pytest.mark.parametrize("settings", [{}, DISPATCH, DISPATCH | {"queue_limit": 2}])
@pytest.mark.parametrize(("num_tasks", "num_devices", "window"), [(1, 1, 1), (10, 3, 2), (10, 3, 10), (25, 4, 3)])
def test_observation_in_steps_is_that_of_a_fresh_view(
    num_tasks: int, num_devices: int, window: int, settings: dict[str, Any]
) -> None:
    """Through several episodes, in a batch whose rows are at unlike steps."""
    played = scenario(num_tasks, num_devices, window, **settings).simulator(3)
    played.reset([0, 1, 2])
    for step in range(3 * num_tasks + 2):
        fresh = scenario(num_tasks, num_devices, window, **settings).simulator(3)
        fresh.load_state_arrays({name: array.copy() for name, array in played.state_arrays().items()})
        assert_equal(played.observation, fresh.observation)
        act(played)
        ended = played.outcome["terminated"].copy()
        ended[2] |= step == 1
        played.restart(np.flatnonzero(ended))


@pytest.mark.parametrize(
    "settings",
    [{}, {"active_jobs": 2, "queue_limit": 1}, {"moving_delay": 3.0, "mean_uptime": 200.0, "mean_downtime": 20.0}],
)
def test_observation_of_a_stream_is_that_of_a_fresh_view(settings: dict[str, Any]) -> None:
    def simulator() -> TaskGraphSimulator:
        return load_scenario("canonical-stream", num_jobs=25, deadline_factor=4.0, **settings).simulator(2)

    played = simulator()
    played.reset([0, 1])
    for step in range(300):
        if step % 7 == 0:
            fresh = simulator()
            fresh.load_state_arrays({name: array.copy() for name, array in played.state_arrays().items()})
            assert_equal(played.observation, fresh.observation)
        act(played)
        played.restart(np.flatnonzero(played.outcome["terminated"]))
        for name, space in played.single_observation_space.items():
            assert played.observation[name][0] in space, name


def test_given_graphs_leave_nothing_behind() -> None:
    """What a simulator has shown before does not show through, whatever the sizes were."""
    used = scenario(10, 3).simulator(1)
    used.reset([0])
    for size in (10, 4, 1, 10, 7):
        graph = random_task_graph(size, 3, seed=size)
        for _ in range(3):
            act(used)
        new = scenario(10, 3).simulator(1)
        for simulator in (used, new):
            simulator.reset([0], [graph])
        for _ in range(size):
            assert_equal(used.observation, new.observation)
            act(used)
            act(new)
        assert_equal(used.observation, new.observation)


SCALE = 400 / 30 + 241 / 15
"""Of the HEFT paper's graph: mean duration plus mean transfer time."""
HEFT = 80
BOUND = 54
"""The path 0, 1, 8, 9, all on p2: 16 + 19 + 12 + 7."""


class Shown:
    """The live observation of the HEFT paper's graph, by the names of the features."""

    def __init__(self, **settings: Any) -> None:
        self.simulator = load_scenario("heft-paper", **settings).simulator(1)
        self.simulator.reset([0])

    def place(self, *decisions: tuple[int, int]) -> None:
        assert isinstance(self.simulator, TaskGraphSimulator)
        for task, device in decisions:
            self.simulator.step(self.simulator.name_action(np.array([task]), np.array([device])))

    def __getitem__(self, array: str) -> NDArray[Any]:
        shown: NDArray[Any] = self.simulator.observation[array][0]
        return shown

    def row(self, array: str, *index: int) -> dict[str, float]:
        return dict(zip(PLAN_SCHEMA.names()[array], self[array][index].tolist(), strict=True))


def near(wanted: dict[str, float]) -> Any:
    return pytest.approx(wanted, rel=1e-6, abs=1e-6)


def candidate(rank: float, optimistic_cost: float, **seconds: float) -> Any:
    """A candidate's features from the quantities in seconds."""
    scaled = {name: value / SCALE for name, value in seconds.items()}
    return near({"wait": 0, "rank": rank / 108, "optimistic_cost": optimistic_cost / BOUND, **scaled})


def test_candidates_at_reset() -> None:
    shown = Shown()
    assert shown["action_mask"].tolist() == [0, 1, 1, 1] + [0] * 27
    assert shown["candidate_nodes"].tolist() == [[13, 13], [3, 0], [3, 1], [3, 2]] + [[13, 13]] * 27
    at_once = {"start_gap": 0, "rank_gap": 0, "queue": 0, "idle": 0, "transfer": 0}
    # Task 0 takes 14, 16 or 9; what follows it takes 48, 38 or 53 at least.
    assert shown.row("candidates", 1) == candidate(
        **at_once, rank=108, optimistic_cost=48, duration=14, duration_gap=5, finish_gap=5, device_gap=5, path_gap=8,
        bound_increase=8, makespan_increase=14,
    )  # fmt: skip
    assert shown.row("candidates", 2) == candidate(
        **at_once, rank=108, optimistic_cost=38, duration=16, duration_gap=7, finish_gap=7, device_gap=7, path_gap=0,
        bound_increase=0, makespan_increase=16,
    )  # fmt: skip


def test_candidates_after_one_decision() -> None:
    shown = Shown()
    shown.place((0, 2))
    assert shown["action_mask"].tolist() == [0] + [1] * 15 + [0] * 15
    # Task 0 ends at 9 on p3, and the bound is 62. Tasks 2 and 3 tie for the most urgent, task 1 follows: on p1 from
    # 27 to 40, or on p3 from 9 to 27. Task 5 could end first of all, at 18.
    assert shown["candidate_nodes"][7:10].tolist() == [[4, 0], [4, 1], [4, 2]]
    assert shown.row("candidates", 7) == candidate(
        rank=77, optimistic_cost=35, start_gap=18, finish_gap=22, device_gap=13, path_gap=13, bound_increase=13,
        makespan_increase=31, rank_gap=3, duration=13, duration_gap=0, queue=0, idle=27, transfer=18,
    )  # fmt: skip
    assert shown.row("candidates", 9) == candidate(
        rank=77, optimistic_cost=35, start_gap=0, finish_gap=9, device_gap=0, path_gap=0, bound_increase=0,
        makespan_increase=18, rank_gap=3, duration=18, duration_gap=5, queue=9, idle=0, transfer=0,
    )  # fmt: skip


def test_nodes() -> None:
    shown = Shown()
    task = {"task": 1, "device": 0, "placed": 0, "finish": 0, "busy": 0}
    entry = {
        **task,
        "duration": 13 / SCALE,
        "min_duration": 9 / SCALE,
        "rank": 1,
        "incoming": 0,
        "outgoing": 64 / SCALE,
    }
    device = {"task": 0, "device": 1, "ready": 0, "placed": 0, "rank": 0, "pending": 0, "incoming": 0, "outgoing": 0}
    p3 = {**device, "duration": 14.3 / SCALE, "min_duration": 9 / SCALE}
    assert shown.row("nodes", 3) == near({**entry, "ready": 1, "pending": 0})
    assert shown.row("nodes", 2) == near({**p3, "finish": 0, "busy": 0})
    shown.place((0, 2), (3, 1), (5, 1))
    # Task 8 waits for two of tasks 1, 3 and 4; task 3 ran on p2 from 18 to 26, task 5 from 26 to 42.
    assert shown.row("nodes", 3) == near({**entry, "ready": 0, "placed": 1, "pending": 0, "finish": 9 / HEFT})
    assert shown.row("nodes", 2) == near({**p3, "finish": 9 / HEFT, "busy": 9 / HEFT})
    assert shown.row("nodes", 1)["finish"] == pytest.approx(42 / HEFT)
    assert shown.row("nodes", 1)["busy"] == pytest.approx(24 / HEFT)
    task_8 = {**task, "ready": 0, "duration": 50 / 3 / SCALE, "min_duration": 12 / SCALE, "rank": (133 / 3) / 108}
    assert shown.row("nodes", 3 + 8) == near(
        {**task_8, "pending": 2 / 3, "incoming": 52 / SCALE, "outgoing": 13 / SCALE}
    )
    assert [shown.row("nodes", 3 + index)["ready"] for index in range(10)] == [0, 1, 1, 0, 1, 0, 0, 0, 0, 0]


def test_edges() -> None:
    shown, graph = Shown(), CANONICAL_GRAPHS["heft-paper"]()
    assert shown["counts"].tolist() == [13, 15]
    assert shown["edges"].tolist() == (3 + graph.edges).tolist()
    np.testing.assert_allclose(shown["edge_features"][:, 0], graph.edge_bytes / SCALE, rtol=1e-6)


def test_jobs_of_nodes() -> None:
    """Devices and padding have none; in a stream each place for a job holds one."""
    assert Shown()["node_jobs"].tolist() == [13] * 3 + [0] * 10
    simulator = load_scenario("soc-stream-high", active_jobs=3).simulator(1)
    simulator.reset([0])
    shown = simulator.observation
    num_devices = int(shown["nodes"][0, :, 1].sum())
    num_nodes, num_edges = shown["counts"][0]
    tasks_per_place, rest = divmod(num_nodes - num_devices, 3)
    assert rest == 0
    expected = [num_nodes] * num_devices + [place for place in range(3) for _ in range(tasks_per_place)]
    assert shown["node_jobs"][0].tolist() == expected
    sender, receiver = shown["node_jobs"][0][shown["edges"][0, :, :num_edges]]
    assert (sender == receiver).all()


def test_context() -> None:
    shown = Shown(ready_window=2)
    always = {"slack": (HEFT - BOUND) / HEFT, "communication": 241 / 15 / SCALE}
    begun = {"progress": 0, "ready": 0.1, "unseen": 0, "makespan": 0, "bound": BOUND / HEFT, "spread": 0}
    assert shown.row("context") == near(always | begun)
    shown.place((0, 2))
    going_on = {"progress": 0.1, "ready": 0.5, "unseen": 0.3, "makespan": 9 / HEFT, "bound": 62 / HEFT}
    assert shown.row("context") == near(always | going_on | {"spread": 9 / SCALE})


def test_gap_before_decided_tasks_is_negative_idle_time() -> None:
    # Task 1 waits on p2 until 4 + 10; task 2 fits before it, from 0, and the last interval there ends at 17.
    edges, duration = np.array([[0], [1]]), np.array([[4.0, 4.0], [3.0, 3.0], [5.0, 5.0]])
    simulator = scenario(3, 2, 3).simulator(1)
    simulator.reset([0], [TaskGraph("gap", ("p1", "p2"), duration, edges, np.array([10.0]))])
    for task, device in ((0, 0), (1, 1)):
        simulator.step(simulator.name_action(np.array([task]), np.array([device])))
    on_p1, on_p2 = simulator.observation["candidates"][0, 1:3, PLAN_SCHEMA.names()["candidates"].index("idle")]
    assert on_p1 == 0
    assert on_p2 == pytest.approx(-17 / (4 + 10))


@pytest.mark.parametrize("reward", ["lower-bound", "makespan"])
@pytest.mark.parametrize("volume", [0.0, 1e-9, 1e15])
@pytest.mark.parametrize("durations", [[0.0], [0.0, 1e-12, 1.0, 1e12, np.inf]])
def test_extreme_numbers_stay_in_the_space(durations: list[float], volume: float, reward: str) -> None:
    duration = np.random.default_rng(0).choice(durations, (10, 3))
    duration[:, 0] = np.minimum(duration[:, 0], 1e12)
    edges = np.array([[0, 0, 1, 2, 4], [1, 2, 3, 3, 9]])
    room = scenario(10, 3, 10)
    simulator = room.simulator(1, reward)
    simulator.reset([0], [TaskGraph("extreme", ("p1", "p2", "p3"), duration, edges, np.full(5, volume))])
    while not simulator.outcome["terminated"][0]:
        act(simulator)
        for name, space in simulator.single_observation_space.items():
            assert simulator.observation[name][0] in space, name
        assert np.isfinite(simulator.outcome["reward"][0])


@pytest.mark.parametrize(("factor", "tolerance"), [(1024.0, 0.0), (1000.0, 1e-5), (1e-6, 1e-5)])
def test_unit_of_time_does_not_show(factor: float, tolerance: float) -> None:
    graph = random_task_graph(10, 3, seed=3)
    slow = TaskGraph("slow", graph.kinds, graph.duration * factor, graph.edges, graph.edge_bytes * factor)
    one, other = scenario(10, 3, 4).simulator(1), scenario(10, 3, 4).simulator(1)
    one.reset([0], [graph])
    other.reset([0], [slow])
    assert other.metrics_of(0)["heft_makespan"] == pytest.approx(factor * one.metrics_of(0)["heft_makespan"])
    for _ in range(10):
        assert_close(one.observation, other.observation, tolerance)
        assert one.outcome["reward"][0] == pytest.approx(other.outcome["reward"][0])
        act(one)
        act(other)
    assert_close(one.observation, other.observation, tolerance)


@pytest.mark.parametrize("factor", [1.0, 3.0, 1e-3, 1e3])
def test_tasks_of_equal_rank_are_in_order(factor: float) -> None:
    """Tasks 2 and 3 of the HEFT paper both have rank 80, as sums of different numbers."""
    shown, graph = Shown(), CANONICAL_GRAPHS["heft-paper"]()
    scaled = TaskGraph("scaled", graph.kinds, graph.duration * factor, graph.edges, graph.edge_bytes * factor)
    shown.simulator.reset([0], [scaled])
    shown.place((0, 2))
    assert shown["candidate_nodes"][1:16:3, 0].tolist() == [3 + task for task in (2, 3, 1, 4, 5)]


def naive_pyg(observation: Arrays) -> Batch:
    """The graphs one by one, as torch-geometric's own batching takes them."""
    graphs = []
    for row, (num_nodes, num_edges) in enumerate(observation["counts"]):
        nodes, edges = observation["nodes"][row, :num_nodes], observation["edges"][row, :, :num_edges]
        jobs, most_nodes = observation["node_jobs"][row, :num_nodes].tolist(), observation["nodes"].shape[1]
        graphs.append(
            Data(
                x=torch.tensor(nodes),
                node_jobs=torch.tensor([-1 if job == most_nodes else job for job in jobs]),
                edge_index=torch.tensor(edges, dtype=torch.long),
                edge_attr=torch.tensor(observation["edge_features"][row, :num_edges]),
                context=torch.tensor(observation["context"][row : row + 1]),
            )
        )
    return Batch.from_data_list(graphs)


def test_to_pyg_is_naive_batching() -> None:
    simulator = scenario(10, 3, 3).simulator(4)
    simulator.reset(range(4), [random_task_graph(size, 3, seed=size) for size in (10, 1, 4, 7)])
    for _ in range(11):
        observation = simulator.observation
        batch, wanted = to_pyg(observation), naive_pyg(observation)
        for name in ("x", "node_jobs", "edge_index", "edge_attr", "batch", "ptr", "context"):
            torch.testing.assert_close(batch[name], wanted[name], rtol=0, atol=0)
        graph, action = np.nonzero(observation["action_mask"])
        assert batch.candidate_batch.tolist() == graph.tolist()
        assert batch.candidate_action.tolist() == action.tolist()
        assert batch.candidates.tolist() == observation["candidates"][graph, action].tolist()
        for index, of in enumerate(batch.candidate_nodes.tolist()):
            if simulator.outcome["terminated"][graph[index]]:
                assert of == [-1, -1]
            else:
                local = observation["candidate_nodes"][graph[index], action[index]]
                assert of == (local + wanted.ptr[graph[index]].numpy()).tolist()
        act(simulator)


def test_to_pyg_says_which_job_a_node_is_of() -> None:
    simulator = load_scenario("soc-stream-high", active_jobs=3).simulator(2)
    simulator.reset([0, 1])
    observation = simulator.observation
    batch = to_pyg(observation)
    assert batch.node_jobs.tolist() == naive_pyg(observation).node_jobs.tolist()
    assert sorted(set(batch.node_jobs.tolist())) == [-1, 0, 1, 2]
    assert (batch.x[batch.node_jobs == -1, 1] == 1).all()  # devices


def test_to_pyg_takes_one_environment() -> None:
    observation = scenario().simulator(2).observation
    one = to_pyg({name: array[0] for name, array in observation.items()})
    wanted = to_pyg({name: array[:1] for name, array in observation.items()})
    assert one.to_dict().keys() == wanted.to_dict().keys()
    for name, tensor in wanted.to_dict().items():
        torch.testing.assert_close(one[name], tensor, rtol=0, atol=0)


def test_to_pyg_needs_a_graph() -> None:
    with pytest.raises(ValueError, match="no graph"):
        to_pyg({"candidates": np.zeros((3, 2))})
