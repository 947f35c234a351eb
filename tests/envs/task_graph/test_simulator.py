"""The compiled simulator against the rules in plain Python (`reference`, `checker`), on random instances."""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hetgym.agents import list_policies, make_policy
from hetgym.agents.heuristics.list_schedulers import StaticScheduler, heft
from hetgym.agents.heuristics.replay import Planner
from hetgym.envs import TaskGraphScenario, load_scenario
from hetgym.envs.task_graph.bounds import fractional_lower_bound, lower_bound
from hetgym.envs.task_graph.checker import violations
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.reference import replay
from hetgym.envs.task_graph.schedule import Schedule
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.evaluate.evaluation import play
from hetgym.hardware_models import Device, Link, Platform
from hetgym.workloads import CANONICAL_GRAPHS, RandomGraphs, TaskGraph, random_task_graph

MOST_TASKS = 12
PLANNING = ["random", *(name for name in list_policies("task-graph") if isinstance(make_policy(name), Planner))]
Placement = Literal["insertion", "append"]


def close_to(wanted: float) -> Any:
    return pytest.approx(wanted, rel=1e-9, abs=1e-9)


few = settings(max_examples=settings.default.max_examples * 2)


@st.composite
def platforms(draw: st.DrawFn) -> Platform:
    """Unlike links between each pair of devices, or one switch: numbers that add up exactly in binary."""
    count = draw(st.integers(1, 4))
    names = [f"d{index}" for index in range(count)]
    devices = tuple(Device(name=name, kind=name, speed=draw(st.sampled_from([0.5, 1.0, 2.0]))) for name in names)
    if draw(st.booleans()):
        ends = [(name, "switch") for name in names]
    else:
        ends = [(name, other) for index, name in enumerate(names) for other in names[:index]]
    bandwidth, latency = st.sampled_from([0.25, 1.0, 4.0]), st.sampled_from([0.0, 0.5, 3.0])
    links = tuple(Link(between=pair, bandwidth=draw(bandwidth), latency=draw(latency)) for pair in ends)
    return Platform(name="drawn", devices=devices, links=links)


@st.composite
def tied_instances(draw: st.DrawFn) -> Instance:
    """Small whole numbers, so that ties, zeros and exact fits are frequent; some devices cannot run some tasks."""
    platform = draw(platforms())
    num_tasks = draw(st.integers(1, MOST_TASKS))
    times = st.sampled_from([0.0, 1.0, 1.0, 2.0, 3.0, 8.0, np.inf])
    rows = st.lists(times, min_size=platform.num_devices, max_size=platform.num_devices)
    duration = [draw(rows.filter(lambda row: min(row) < np.inf)) for _ in range(num_tasks)]
    # Edges follow a drawn order of the tasks, so that senders need not come first.
    order = draw(st.permutations(range(num_tasks)))
    pairs = [(order[one], order[other]) for other in range(num_tasks) for one in range(other)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=3 * num_tasks)) if pairs else []
    volumes = [draw(st.sampled_from([0.0, 1.0, 2.0, 5.0])) for _ in edges]
    ends = np.array(edges, int).reshape(-1, 2).T
    return Instance(TaskGraph("drawn", platform.kinds, np.array(duration), ends, np.array(volumes)), platform)


@st.composite
def untied_instances(draw: st.DrawFn) -> Instance:
    """Real numbers, as from the generator."""
    graph = random_task_graph(
        num_tasks=draw(st.integers(1, MOST_TASKS)),
        num_devices=draw(st.integers(1, 4)),
        ccr=draw(st.sampled_from([0.1, 1.0, 5.0])),
        seed=draw(st.integers(0, 2**31)),
    )
    return Instance.of(graph)


instances = st.one_of(tied_instances(), untied_instances())


def independent(duration: NDArray[np.float64]) -> TaskGraph:
    """Tasks without edges, on two devices."""
    return TaskGraph("independent", ("p1", "p2"), duration, np.zeros((2, 0), int), np.zeros(0))


def begin(instance: Instance, placement: Placement, reward: str | None = None, window: int = 3) -> TaskGraphSimulator:
    room = RandomGraphs(num_tasks=MOST_TASKS, num_devices=instance.platform.num_devices, out_degree=5)
    scenario = TaskGraphScenario(name="room", workload=room, placement=placement, ready_window=window, pool=1)
    simulator = scenario.simulator(1, reward)
    simulator.reset([0], [instance])
    return simulator


def play_at_random(simulator: TaskGraphSimulator, seed: int, each_step: Callable[[], Any] = lambda: None) -> None:
    chance = np.random.default_rng(seed)
    while not simulator.outcome["terminated"][0]:
        allowed = np.flatnonzero(simulator.observation["action_mask"][0])
        simulator.step(np.array([chance.choice(allowed)]))
        each_step()


def play_policy(name: str, instance: Instance, placement: Placement) -> TaskGraphSimulator:
    simulator = begin(instance, placement)
    policy = make_policy(name)
    policy.reset(simulator)
    while not simulator.outcome["terminated"][0]:
        simulator.step(policy.act(simulator.observation, simulator))
    return simulator


placements = pytest.mark.parametrize("placement", ["insertion", "append"])


@placements
@few
@given(instance=instances, window=st.sampled_from([1, 3, MOST_TASKS]), seed=st.integers(0, 99))
def test_random_play_follows_the_rules(placement: Placement, instance: Instance, window: int, seed: int) -> None:
    simulator = begin(instance, placement, window=window)
    play_at_random(simulator, seed)
    schedule = simulator.schedule(0)
    decisions = [(task, int(schedule.device[task])) for task in schedule.sequence.tolist()]
    wanted = replay(instance, decisions, placement == "insertion")
    np.testing.assert_allclose(schedule.start, wanted.start, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(schedule.finish, wanted.finish, rtol=1e-9, atol=1e-9)
    assert schedule.device.tolist() == wanted.device.tolist()
    assert violations(instance, schedule) == []
    assert simulator.metrics_of(0)["makespan"] == close_to(wanted.makespan)


@placements
@few
@given(instance=instances, seed=st.integers(0, 99))
def test_rewards_add_up(placement: Placement, instance: Instance, seed: int) -> None:
    simulator = begin(instance, placement)
    rewards: list[float] = []
    play_at_random(simulator, seed, lambda: rewards.append(simulator.outcome["reward"][0]))
    metrics = simulator.metrics_of(0)
    assert metrics["heft_makespan"] == heft().schedule(instance).makespan
    unit = metrics["heft_makespan"] or 1.0
    wanted = -(metrics["makespan"] - metrics["lower_bound"]) / unit
    assert sum(rewards) == close_to(wanted)
    assert simulator.outcome["episode_return"][0] == close_to(wanted)
    assert simulator.outcome["episode_length"][0] == len(rewards) == instance.graph.num_tasks


@few
@given(instance=instances, seed=st.integers(0, 99))
def test_reward_makespan_comes_at_the_end(instance: Instance, seed: int) -> None:
    simulator = begin(instance, "insertion", reward="makespan")
    rewards: list[float] = []
    play_at_random(simulator, seed, lambda: rewards.append(simulator.outcome["reward"][0]))
    metrics = simulator.metrics_of(0)
    assert not any(rewards[:-1])
    assert rewards[-1] == close_to(-metrics["makespan"] / (metrics["heft_makespan"] or 1.0))


@few
@given(instance=instances, seed=st.integers(0, 99))
def test_bound_rises_to_the_makespan(instance: Instance, seed: int) -> None:
    simulator = begin(instance, "insertion")
    bounds = [simulator.metrics_of(0)["lower_bound"]]
    play_at_random(simulator, seed, lambda: bounds.append(simulator.state.status["bound"][0]))
    assert bounds[0] == close_to(bound_at_reset(instance))
    assert bounds[-1] == simulator.metrics_of(0)["makespan"]
    assert (np.diff(bounds) >= -1e-9 * bounds[-1]).all()


def bound_at_reset(instance: Instance) -> float:
    """The longest path at its best, with the transfer times between devices, or the least work shared evenly."""
    graph, platform, duration = instance.graph, instance.platform, instance.duration
    latency, per_byte = platform.latency, platform.seconds_per_byte
    edges = list(zip(graph.edges.T.tolist(), graph.edge_bytes.tolist(), strict=True))
    devices = range(platform.num_devices)

    @cache
    def path(task: int, device: int) -> float:
        after = [
            min(latency[device, other] + size * per_byte[device, other] + path(receiver, other) for other in devices)
            for (sender, receiver), size in edges
            if sender == task
        ]
        return float(duration[task, device] + max(after, default=0.0))

    longest = max(min(path(task, device) for device in devices) for task in range(graph.num_tasks))
    return max(longest, float(duration.min(axis=1).sum()) / platform.num_devices)


@few
@given(instance=instances, placement=st.sampled_from(["insertion", "append"]))
def test_schedules_of_all_policies_are_right(instance: Instance, placement: Placement) -> None:
    for name in PLANNING:
        simulator = play_policy(name, instance, placement)
        schedule, metrics = simulator.schedule(0), simulator.metrics_of(0)
        assert violations(instance, schedule) == []
        assert schedule.makespan == close_to(metrics["makespan"])
        assert metrics["lower_bound"] <= metrics["makespan"] * (1 + 1e-9)
        policy = make_policy(name)
        if isinstance(policy, StaticScheduler):
            planned = policy.schedule(instance)
            assert planned.sequence.tolist() == schedule.sequence.tolist()
            assert planned.start.tolist() == schedule.start.tolist()
            assert planned.device.tolist() == schedule.device.tolist()


@few
@given(instance=instances, seed=st.integers(0, 99))
def test_no_policy_is_below_the_bounds(instance: Instance, seed: int) -> None:
    makespans = [play_policy(name, instance, "insertion").metrics_of(0)["makespan"] for name in PLANNING]
    simulator = begin(instance, "insertion")
    play_at_random(simulator, seed)
    least = min(*makespans, simulator.metrics_of(0)["makespan"])
    easy, hard = lower_bound(instance), fractional_lower_bound(instance)
    assert simulator.metrics_of(0)["lower_bound"] * (1 - 1e-9) <= easy <= hard <= least * (1 + 1e-9)


def changed(schedule: Schedule, task: int, **fields: float) -> Schedule:
    arrays = {name: getattr(schedule, name).copy() for name in ("device", "start", "finish")}
    for name, value in fields.items():
        arrays[name][task] = value
    return Schedule(sequence=schedule.sequence, **arrays)


@pytest.mark.parametrize(
    ("task", "fields", "fault"),
    [
        (9, {"start": 72, "finish": 79}, "'t9' starts at 72.0, before the output of 't7' arrives at 73.0"),
        (2, {"start": 8, "finish": 27}, "'t2' starts at 8.0, before the output of 't0' arrives at 9.0"),
        (6, {"start": 37.5, "finish": 48.5}, "'t4' and 't6' overlap on device 'p3'"),
        (9, {"finish": 79}, "'t9' takes 6.0 s instead of 7.0 s"),
        (9, {"device": 0}, "'t9' takes 7.0 s instead of 21.0 s"),
        (5, {"device": 0, "finish": 39}, "'t1' and 't5' overlap on device 'p1'"),
        (9, {"device": -1}, "'t9' is on no device"),
        (9, {"device": 3}, "'t9' is on no device"),
        (0, {"start": -1, "finish": 8}, "'t0' starts at -1.0"),
        (9, {"start": np.nan, "finish": np.nan}, "'t9' starts at nan"),
    ],
)
def test_checker_finds_faults(task: int, fields: dict[str, float], fault: str) -> None:
    instance = Instance.of(CANONICAL_GRAPHS["heft-paper"]())
    schedule = heft().schedule(instance)
    assert violations(instance, schedule) == []
    faults = violations(instance, changed(schedule, task, **fields))
    assert any(fault in found for found in faults), faults


def test_checker_finds_a_task_where_it_cannot_run() -> None:
    instance = Instance.of(independent(np.array([[1, np.inf]])))
    schedule = Schedule(*np.array([[1], [0], [1], [0]]))
    assert violations(instance, schedule)[0] == "task 't0' is on device 'p2', which cannot run it"


def test_episodes_of_a_batch_do_not_touch_each_other() -> None:
    """Graphs of unlike sizes side by side: each is scheduled as it is alone."""
    graphs = [random_task_graph(num_tasks=size, num_devices=3, seed=size) for size in (1, 4, 12)]
    room = TaskGraphScenario(name="room", workload=RandomGraphs(num_tasks=12, num_devices=3))
    batch = room.simulator(3)
    batch.reset([0, 1, 2], graphs)
    policy = make_policy("random")
    while not batch.outcome["terminated"].all():
        batch.step(policy.act(batch.observation, batch))
    for row, graph in enumerate(graphs):
        alone = room.simulator(1)
        alone.reset([row], [graph])
        while not alone.outcome["terminated"][0]:
            alone.step(policy.act(alone.observation, alone))
        assert batch.schedule(row).start.tolist() == alone.schedule(0).start.tolist()
        assert batch.schedule(row).device.tolist() == alone.schedule(0).device.tolist()
        assert batch.episode(row).equals(alone.episode(0))


def test_tasks_that_take_no_time_hide_nothing() -> None:
    """On p2 run task 2 from 0 to 3, task 3 at 0, task 4 from 5 to 6; task 5 could be there from 2, and takes 1."""
    duration = np.array([[0, 0], [0, 0], [3, 3], [0, 0], [1, 1], [1, 1]], float)
    edges, volumes = np.array([[0, 1], [4, 5]]), np.array([5.0, 2.0])
    simulator = begin(Instance.of(TaskGraph("gaps", ("p1", "p2"), duration, edges, volumes)), "insertion")
    for task, device in [(0, 0), (2, 1), (3, 1), (4, 1), (1, 0), (5, 1)]:
        simulator.step(simulator.name_action(np.array([task]), np.array([device])))
    assert simulator.schedule(0).start.tolist() == [0, 0, 0, 0, 5, 3]


def test_ready_tasks_outside_the_window_can_be_named() -> None:
    instance = Instance.of(independent(np.ones((6, 2))))
    simulator = begin(instance, "insertion", window=2)
    simulator.step(simulator.name_action(np.array([5]), np.array([1])))
    assert not simulator.outcome["invalid_action"][0]
    assert simulator.episode(0)[["task", "device", "start", "finish"]].to_numpy().tolist() == [[5, 1, 0, 1]]
    for task, device in ((5, 0), (6, 0)):
        simulator.step(simulator.name_action(np.array([task]), np.array([device])))
        assert simulator.outcome["invalid_action"][0]
    assert simulator.schedule(0).sequence.tolist() == [5, 0, 1]


def test_saved_state_continues_to_the_bit() -> None:
    scenario = TaskGraphScenario(name="small", workload=RandomGraphs(num_tasks=8, num_devices=2), pool=2)
    policy = make_policy("random")

    def decide(simulator: TaskGraphSimulator) -> bytes:
        simulator.step(policy.act(simulator.observation, simulator))
        simulator.restart(np.flatnonzero(simulator.outcome["terminated"]))
        return b"".join(array.tobytes() for array in simulator.observation.values())

    one, other = scenario.simulator(3), scenario.simulator(3)
    one.reset([4, 5, 6])
    for _ in range(13):
        decide(one)
    other.load_state_arrays({name: array.copy() for name, array in one.state_arrays().items()})
    assert [decide(one) for _ in range(30)] == [decide(other) for _ in range(30)]


def test_policies_meet_the_same_graphs() -> None:
    scenario = TaskGraphScenario(name="small", workload=RandomGraphs(num_tasks=8, num_devices=2))
    tables = [play(scenario.simulator(5), make_policy(name), range(5)) for name in PLANNING]
    for table in tables[1:]:
        for column in ("seed", "heft_makespan", "lower_bound"):
            assert table[column].tolist() == tables[0][column].tolist()


def test_copied_rows_go_on_as_their_sources_would() -> None:
    """Four random beginnings of one instance; after the copies all go on with the same rule."""

    def played(sources: list[int]) -> list[str]:
        simulator = load_scenario("random", num_tasks=10).simulator(4)
        simulator.reset(range(4), [simulator.instance(0)] * 4)
        chance = np.random.default_rng(0)
        for step in range(10):
            allowed = simulator.observation["action_mask"]
            actions = allowed.argmax(axis=1)
            if step < 5:
                actions = np.array([chance.choice(np.flatnonzero(row)) for row in allowed])
            if step == 5:
                simulator.copy_rows(np.array(sources))
                actions = actions[sources]
            simulator.step(actions)
            assert not simulator.outcome["invalid_action"].any()
        assert simulator.outcome["terminated"].all()
        return [simulator.schedule(row).table(simulator.instance(0)).to_csv() for row in range(4)]

    own = played([0, 1, 2, 3])
    assert len(set(own)) == 4
    assert played([2, 2, 0, 3]) == [own[2], own[2], own[0], own[3]]
