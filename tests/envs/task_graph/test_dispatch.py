"""Dispatch against the rules in plain Python (`reference`, `checker`), on random instances; and its policies."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hetgym import HetgymError
from hetgym.agents import list_policies, make_policy
from hetgym.envs import load_scenario
from hetgym.envs.task_graph.checker import violations
from hetgym.envs.task_graph.features import DISPATCH_SCHEMA as SCHEMA
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.luck import Luck
from hetgym.envs.task_graph.reference import Run
from hetgym.envs.task_graph.simulator import Rules, TaskGraphSimulator
from hetgym.evaluate.evaluation import play
from hetgym.hardware_models import Device, Link, Platform
from hetgym.workloads import TaskGraph, random_task_graph
from hetgym.workloads.generators import GivenGraph

MOST_TASKS = 10


@st.composite
def tied_instances(draw: st.DrawFn) -> Instance:
    """Numbers that add up exactly in binary, so that ties, zeros and simultaneous events are frequent."""
    count, num_tasks = draw(st.integers(1, 3)), draw(st.integers(1, MOST_TASKS))
    names = [f"d{index}" for index in range(count)]
    devices = tuple(Device(name=name, kind=name) for name in names)
    links = tuple(
        Link(between=(name, other), bandwidth=draw(st.sampled_from([0.5, 2.0])), latency=draw(st.sampled_from([0, 1])))
        for index, name in enumerate(names)
        for other in names[:index]
    )
    times = st.sampled_from([0.0, 1.0, 1.0, 2.0, 3.0, 8.0, np.inf])
    rows = st.lists(times, min_size=count, max_size=count).filter(lambda row: min(row) < np.inf)
    pairs = [(one, other) for other in range(num_tasks) for one in range(other)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=2 * num_tasks)) if pairs else []
    volumes = [draw(st.sampled_from([0.0, 1.0, 2.0])) for _ in edges]
    # Tasks that edges join are of one job; jobs arrive in any order.
    job = list(range(num_tasks))
    for one, other in edges:
        joined, kept = job[other], job[one]
        job = [kept if mine == joined else mine for mine in job]
    numbers = sorted(set(job))
    graph = TaskGraph(
        "drawn", tuple(names), [draw(rows) for _ in range(num_tasks)], np.array(edges, int).reshape(-1, 2).T, volumes,
        job=[numbers.index(mine) for mine in job],
        arrival=[draw(st.sampled_from([0.0, 0.0, 1.0, 2.0, 20.0])) for _ in numbers],
    )  # fmt: skip
    slowdown = [draw(st.sampled_from([0.0, 0.5, 1.0, 1.0, 4.0])) for _ in range(num_tasks)]
    return Instance(graph, Platform(name="drawn", devices=devices, links=links), np.array(slowdown))


@st.composite
def untied_instances(draw: st.DrawFn) -> Instance:
    """Real numbers, as from the generators."""
    num_tasks, seed = draw(st.integers(1, MOST_TASKS)), draw(st.integers(0, 2**31))
    graph = random_task_graph(num_tasks, draw(st.integers(1, 3)), ccr=draw(st.sampled_from([0.1, 1.0, 5.0])), seed=seed)
    return Instance(graph, graph.default_platform(), np.random.default_rng(seed).exponential(size=num_tasks))


instances = st.one_of(tied_instances(), untied_instances())
limits = st.sampled_from([0, 1, 3, MOST_TASKS])


def lines_of(queue_limit: int) -> Rules:
    return Rules(mode="dispatch", queue_limit=queue_limit)


def begin(instance: Instance, queue_limit: int = 0) -> TaskGraphSimulator:
    rules = lines_of(queue_limit)
    simulator = TaskGraphSimulator(GivenGraph(graph=instance.graph), instance.platform, 1, MOST_TASKS, rules=rules)
    simulator.reset([0], [instance])
    return simulator


def assert_same(simulator: TaskGraphSimulator, run: Run) -> None:
    kernel, rules = simulator.schedule(0), run.schedule()
    assert kernel.decided is not None
    assert rules.decided is not None
    assert kernel.sequence.tolist() == rules.sequence.tolist()
    assert kernel.device.tolist() == rules.device.tolist()
    for name in ("start", "finish", "decided"):
        assert getattr(kernel, name) == pytest.approx(getattr(rules, name), rel=1e-9, abs=1e-9), name


@given(instance=instances, queue_limit=limits, seed=st.integers(0, 99))
def test_random_play_follows_the_rules(instance: Instance, queue_limit: int, seed: int) -> None:
    """Step by step: the same choices are allowed, the same things happen."""
    simulator, run = begin(instance, queue_limit), Run(instance, lines_of(queue_limit))
    chance, num_devices = np.random.default_rng(seed), instance.platform.num_devices
    run.go_on()
    while not simulator.outcome["terminated"][0]:
        assert simulator.state.status["now"][0] == pytest.approx(run.now, rel=1e-9)
        mask = simulator.observation["action_mask"][0]
        assert mask[0] == run.can_wait()
        pairs = simulator.observation["candidate_nodes"][0] - [num_devices, 0]
        allowed = [tuple(pair) for pair, open_ in zip(pairs[1:].tolist(), mask[1:], strict=True) if open_]
        tasks, devices = range(instance.graph.num_tasks), range(num_devices)
        wanted = {(task, device) for task in tasks for device in devices if run.can_decide(task, device)}
        assert set(allowed) == wanted
        assert len(allowed) == len(wanted)
        action = chance.choice(np.flatnonzero(mask))
        simulator.step(np.array([action]))
        if action == 0:
            run.wait()
        else:
            run.decide(*pairs[action].tolist())
        run.go_on()
    assert_same(simulator, run)
    assert not violations(instance, simulator.schedule(0), lines_of(queue_limit))
    assert simulator.metrics_of(0)["makespan"] == max(simulator.schedule(0).finish)


RUNNING = [name for name in list_policies("task-graph") if not hasattr(make_policy(name), "schedule")]


@given(instance=instances, queue_limit=limits)
def test_policies_follow_the_rules(instance: Instance, queue_limit: int) -> None:
    """And never wait where that would never end."""
    patient = make_policy("re-heft", period=1e9)
    names = [name for name in list_policies("task-graph") if name != "duplication"]
    for policy in [*map(make_policy, names), patient]:
        simulator, name = begin(instance, queue_limit), policy.name
        policy.reset(simulator)
        while not simulator.outcome["terminated"][0]:
            simulator.step(policy.act(simulator.observation, simulator))
            assert not simulator.outcome["invalid_action"][0], name
        assert not violations(instance, simulator.schedule(0), lines_of(queue_limit)), name


@given(instance=instances, queue_limit=limits)
def test_return_is_the_makespan(instance: Instance, queue_limit: int) -> None:
    simulator = begin(instance, queue_limit)
    policy = make_policy("random")
    while not simulator.outcome["terminated"][0]:
        simulator.step(policy.act(simulator.observation, simulator))
    metrics = simulator.metrics_of(0)
    wanted = -(metrics["makespan"] - metrics["lower_bound"]) / (metrics["heft_makespan"] or 1.0)
    assert simulator.outcome["episode_return"][0] == pytest.approx(wanted, abs=1e-9)


RULES = {
    "fifo": ("ready", False),
    "mct-online": ("ready", True),
    "rank-online": ("rank", False),
    "rank-online-wait": ("rank", True),
    "eft": ("finish", False),
}


class Expectations:
    """What an online scheduler goes by, from its definition."""

    def __init__(self, run: Run, rank: list[float]) -> None:
        self.run, self.rank = run, rank
        tasks, devices = range(run.instance.graph.num_tasks), range(run.num_devices)
        self.ready = [task for task in tasks if task not in run.device and self.ready_at(task) <= run.now]
        self.free = [self.free_at(device) for device in devices]

    def ready_at(self, task: int) -> float:
        """When the job of a task has arrived and its predecessors have finished."""
        graph, finish = self.run.instance.graph, self.run.finish
        ends = [finish.get(sender, np.inf) for sender, receiver in graph.edges.T.tolist() if receiver == task]
        return max([float(graph.release[task]), *ends])

    def inputs(self, task: int, device: int) -> float:
        """When the inputs of a task are on a device."""
        graph, platform = self.run.instance.graph, self.run.instance.platform
        arrivals = [float(graph.release[task])]
        for (sender, receiver), size in zip(graph.edges.T.tolist(), graph.edge_bytes.tolist(), strict=True):
            if receiver == task:
                pair = self.run.device[sender], device
                transfer = platform.latency[pair] + size * platform.seconds_per_byte[pair]
                arrivals.append(self.run.finish[sender] + transfer)
        return max(arrivals)

    def free_at(self, device: int) -> float:
        """When a device is expected to have run what is in line there."""
        run, end = self.run, self.run.now
        for position, task in enumerate(run.lines[device]):
            start = run.start[task] if position == 0 else max(end, self.inputs(task, device))
            end = max(end, start + float(run.instance.duration[task, device]))
        return end

    def finish(self, task: int, device: int) -> float:
        return max(self.inputs(task, device), self.free[device]) + float(self.run.instance.duration[task, device])

    def choose(self, order: str, wait: bool) -> tuple[int, int] | None:
        devices = range(self.run.num_devices)
        job = self.run.instance.graph.job
        by_rank = sorted(self.ready, key=lambda task: (-self.rank[task], job[task], task))
        if order == "finish":
            pairs = [(task, device) for task in by_rank for device in devices if self.run.can_decide(task, device)]
            return min(pairs, key=lambda pair: self.finish(*pair))
        by_age = sorted(self.ready, key=lambda task: (self.ready_at(task), job[task], task))
        for task in by_rank if order == "rank" else by_age:
            open_ = [device for device in devices if wait or self.run.can_decide(task, device)]
            best = min(open_, key=lambda device: self.finish(task, device), default=None)
            if best is not None and self.run.can_decide(task, best):
                return task, best
            if best is not None:
                self.free[best] = self.finish(task, best)
        return None


@pytest.mark.parametrize("name", RULES)
@given(instance=instances, queue_limit=st.sampled_from([0, 1, 3]))
def test_online_schedulers_follow_their_definition(name: str, instance: Instance, queue_limit: int) -> None:
    simulator, policy, run = begin(instance, queue_limit), make_policy(name), Run(instance, lines_of(queue_limit))
    rank = simulator.instances.upward_rank[simulator.state.status["slot"][0]].tolist()
    run.go_on()
    policy.reset(simulator)
    while not simulator.outcome["terminated"][0]:
        wanted = Expectations(run, rank).choose(*RULES[name])
        action = int(policy.act(simulator.observation, simulator)[0])
        named = None if action == 0 else divmod(action - simulator.num_candidates, instance.platform.num_devices)
        assert named == wanted
        simulator.step(np.array([action]))
        run.wait() if wanted is None else run.decide(*wanted)
        run.go_on()


MAKESPANS = {
    "heft-paper": {"heft": 80, "cpop": 86, "peft": 85, "lookahead": 76, "dls": 91, "min-min": 76, "olb": 102},
    "peft-paper": {"heft": 133, "cpop": 167, "peft": 122, "lookahead": 127, "dls": 134, "min-min": 122},
}


@pytest.mark.parametrize("queue_limit", [0, 2])
@pytest.mark.parametrize("scenario", MAKESPANS)
def test_plans_without_noise_give_their_own_makespans(scenario: str, queue_limit: int) -> None:
    simulator = load_scenario(scenario, mode="dispatch", queue_limit=queue_limit).simulator(1)
    played = {name: play(simulator, make_policy(name), [0])["makespan"][0] for name in MAKESPANS[scenario]}
    assert played == MAKESPANS[scenario]


ONLINE = {
    "heft-paper": {"fifo": 84, "eft": 100, "mct-online": 80, "rank-online": 76, "rank-online-wait": 80, "re-heft": 80},
    "peft-paper": {
        "fifo": 147, "eft": 147, "mct-online": 126, "rank-online": 147, "rank-online-wait": 133, "re-heft": 133,
    },
}  # fmt: skip


@pytest.mark.parametrize("scenario", ONLINE)
def test_online_makespans_stay(scenario: str) -> None:
    """Numbers of our own; the rules behind them are tested above."""
    simulator = load_scenario(scenario, mode="dispatch").simulator(1)
    assert {name: play(simulator, make_policy(name), [0])["makespan"][0] for name in ONLINE[scenario]} == ONLINE[
        scenario
    ]


def test_planning_again_without_news_changes_nothing() -> None:
    scenario = load_scenario("random", mode="dispatch", num_tasks=30)
    for seed in range(20):
        once, again = (
            play(scenario.simulator(1), make_policy(name, **settings), [seed])["makespan"][0]
            for name, settings in (("heft", {}), ("re-heft", {"period": 1e9}))
        )
        assert once == pytest.approx(again)


def independent(*duration: list[float]) -> TaskGraph:
    kinds = tuple(f"p{index}" for index in range(len(duration[0])))
    return TaskGraph("independent", kinds, np.array(duration), np.zeros((2, 0), int), np.zeros(0))


def makespan(name: str, instance: Instance, queue_limit: int = 0) -> float:
    simulator, policy = begin(instance, queue_limit), make_policy(name)
    policy.reset(simulator)
    while not simulator.outcome["terminated"][0]:
        simulator.step(policy.act(simulator.observation, simulator))
    return simulator.metrics_of(0)["makespan"]


def test_online_schedulers_by_hand() -> None:
    # Two tasks take 2 s on p0, 9 s on p1: who waits for p0 ends at 4, who does not at 9.
    two = Instance.of(independent([2.0, 9.0], [2.0, 9.0]))
    assert {name: makespan(name, two) for name in RUNNING if name != "random"} == {
        "fifo": 9, "eft": 9, "rank-online": 9, "mct-online": 4, "rank-online-wait": 4, "re-heft": 4,
        "etf-online": 9, "oct-online": 4, "edf": 9, "rm": 9, "srcpf": 9, "lwkr": 4, "weighted-fair": 9, "drf": 9,
    }  # fmt: skip
    # On one device: by index as they are ready, the longest first by rank, the shortest first by finish.
    order = {}
    for name in RUNNING:
        simulator, policy = begin(Instance.of(independent([2.0], [5.0], [1.0]))), make_policy(name)
        policy.reset(simulator)
        while not simulator.outcome["terminated"][0]:
            simulator.step(policy.act(simulator.observation, simulator))
        order[name] = simulator.schedule(0).sequence.tolist()
    by_index, by_rank, by_finish = [0, 1, 2], [1, 0, 2], [2, 0, 1]
    assert order["fifo"] == order["mct-online"] == by_index
    assert order["rank-online"] == order["rank-online-wait"] == order["re-heft"] == by_rank
    assert order["eft"] == by_finish


def test_replanning_profits_from_news() -> None:
    # Task 1 is to run on p1 until 10, so task 2 is to follow task 0 on p0, from 4 to 6. But p1 is free at 1.
    graph = independent([4.0, np.inf], [np.inf, 10.0], [2.0, 4.0])
    early = Instance(graph, graph.default_platform(), np.array([1.0, 0.1, 1.0]))
    assert makespan("heft", early) == 6
    assert makespan("re-heft", early) == 5


@pytest.mark.parametrize("name", [name for name in RUNNING if name != "random"])
def test_online_policies_need_dispatch(name: str) -> None:
    with pytest.raises(HetgymError, match=f"{name}.*mode 'dispatch'"):
        play(load_scenario("heft-paper").simulator(1), make_policy(name), [0])


@pytest.mark.parametrize("period", [-1.0, np.inf, np.nan])
def test_bad_period_is_refused(period: float) -> None:
    with pytest.raises(HetgymError, match="'re-heft': period: must be zero or more, and finite"):
        make_policy("re-heft", period=period)


def test_noise_needs_dispatch() -> None:
    with pytest.raises(HetgymError, match=r"noise.*needs mode 'dispatch'"):
        load_scenario("random", noise="gamma")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outages": [[9, 0, 1]]}, "outages: must be .device from 0 to 3"),
        ({"outages": [[0, 0, 3], [0, 2, 4]]}, "device 0 is down from 0 to 3 s, and fails again at 2"),
        ({"outages": [[0, 0, 3]], "mean_uptime": 1.0, "mean_downtime": 1.0}, "recorded .* or drawn .*, not both"),
        ({"mean_uptime": 1.0}, "must be given together"),
        ({"power_cap": 1.0, "platform": "soc-ds3", "num_devices": None}, "power_cap: must be at least 2.2525 W"),
        ({"noisy": ["tpu"]}, "noisy: must be among p1, p2, p3, p4"),
        ({"misestimation": {"tpu": 2.0}}, "misestimation: must be among p1"),
        ({"reward_weights": {"fame": 1.0}}, "reward_weights: must be among deadlines"),
        ({"contention": "bus"}, "contention"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HetgymError, match=message):
        load_scenario("random-noisy", **changes)


@pytest.mark.parametrize(("on_failure", "makespan"), [("resume", 5.0), ("restart", 6.0)])
def test_recorded_outages_happen_in_every_episode(on_failure: Any, makespan: float) -> None:
    """A task of 2 s is interrupted at 1 s, for 3 s: it goes on, or is run again."""
    graph = independent([2.0])
    simulator = TaskGraphSimulator(
        GivenGraph(graph=graph), graph.default_platform(), num_envs=2, window=1,
        rules=Rules(mode="dispatch", on_failure=on_failure), luck=Luck(outages=((0, 1.0, 4.0),)),
    )  # fmt: skip
    assert play(simulator, make_policy("fifo"), [0, 1])["makespan"].tolist() == [makespan] * 2
    quiet = Instance(graph, graph.default_platform(), outages=np.array([[0, 9.0, 10.0]]))
    simulator.reset([0, 1], [quiet, quiet])
    policy = make_policy("fifo")
    policy.reset(simulator)
    while not simulator.outcome["terminated"].all():
        simulator.step(policy.act(simulator.observation, simulator))
    assert simulator.state.status["makespan"].tolist() == [2.0] * 2
    assert play(simulator, make_policy("fifo"), [0, 1])["makespan"].tolist() == [makespan] * 2


def test_future_does_not_show() -> None:
    """Until a task has finished, nothing that is shown depends on how long it will take."""
    graph = random_task_graph(MOST_TASKS, 3, seed=1)
    quick, slow = (
        begin(Instance(graph, graph.default_platform(), np.full(MOST_TASKS, factor))) for factor in (0.5, 3.0)
    )
    steps = 0
    while quick.state.status["now"][0] == 0 and slow.state.status["now"][0] == 0:
        for name, array in quick.observation.items():
            np.testing.assert_array_equal(array, slow.observation[name], err_msg=name)
        assert quick.episode(0).equals(slow.episode(0))
        action = quick.observation["action_mask"].argmax(axis=1)
        if action[0] == 0:
            action = 1 + quick.observation["action_mask"][:, 1:].argmax(axis=1)
        quick.step(action)
        slow.step(action)
        steps += 1
    assert steps > 1


def test_wait_shows_the_next_finish_expected() -> None:
    simulator = begin(Instance.of(independent([2.0, 9.0], [2.0, 9.0], [3.0, 9.0])))
    simulator.step(simulator.name_action(np.array([0]), np.array([0])))
    row = dict(zip(SCHEMA.names()["candidates"], simulator.observation["candidates"][0, 0].tolist(), strict=True))
    scale = (2 * 5.5 + 6) / 3
    assert row.pop("wait") == 1
    assert row.pop("start_gap") == pytest.approx(2 / scale)
    assert not any(row.values())


@pytest.mark.parametrize("noise", ["lognormal", "gamma", "normal"])
def test_luck_is_that_of_seed_episode_and_task(noise: str) -> None:
    setting = load_scenario("random", mode="dispatch", noise=noise)
    one, many = setting.simulator(1), setting.simulator(3)
    one.reset([7])
    many.reset([6, 7, 8])
    for episode in range(3):
        lucks = [many.instance(row).slowdown.tolist() for row in range(3)]
        assert one.instance(0).slowdown.tolist() == lucks[1] == setting.instance(7, episode).slowdown.tolist()
        assert len({str(luck) for luck in lucks}) == 3
        one.reset_to_next()
        many.reset_to_next()


def test_realised_instance_can_be_played_again() -> None:
    setting = load_scenario("random", mode="dispatch", noise="gamma")
    first, again = setting.simulator(1), setting.simulator(1)
    policy = make_policy("rank-online")
    table = play(first, policy, [3])
    again.reset([99], [first.instance(0)])
    while not again.outcome["terminated"][0]:
        again.step(policy.act(again.observation, again))
    assert again.metrics_of(0)["makespan"] == table["makespan"][0]
