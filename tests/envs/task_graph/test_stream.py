"""Streams: the jobs that arrive, the places they take, and what becomes of them."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.envs import load_scenario
from hetgym.envs.task_graph.checker import violations
from hetgym.envs.task_graph.rules import Rules
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.envs.task_graph.stream import latency_quantiles
from hetgym.evaluate import play
from hetgym.workloads.generators import GivenGraph
from hetgym.workloads.stream import JobStream

HEFT_JOBS = {"jobs": [{"workload": {"kind": "canonical", "graph": "heft-paper"}}]}
ARRIVALS = {
    "poisson": {"mean_interarrival": 50.0},
    "periodic": {"mean_interarrival": 50.0},
    "bursty": {"mean_interarrival": 80.0, "burst_interarrival": 10.0, "mean_calm": 400.0, "mean_burst": 100.0},
}


def stream(**settings: Any) -> TaskGraphSimulator:
    num_envs = settings.pop("num_envs", 1)
    simulator = load_scenario("canonical-stream", **settings).simulator(num_envs)
    assert isinstance(simulator, TaskGraphSimulator)
    return simulator


def arrivals(kind: str, num_jobs: int = 4000) -> np.ndarray:
    source = JobStream(**HEFT_JOBS, arrivals={"kind": kind, **ARRIVALS[kind]}, num_jobs=num_jobs)
    return source.arriving(1, 0, num_jobs)[0]


def test_poisson_arrivals() -> None:
    times = arrivals("poisson")
    assert stats.kstest(np.diff(times, prepend=0.0), stats.expon(scale=50).cdf).pvalue > 0.001


def test_periodic_arrivals() -> None:
    assert arrivals("periodic", 4).tolist() == [0, 50, 100, 150]


def test_bursty_arrivals() -> None:
    gaps = np.diff(arrivals("bursty", 20_000), prepend=0.0)
    # Calms of 400 s with 5 jobs and bursts of 100 s with 10 jobs: a job every 500 / 15 s, and no Poisson process.
    assert gaps.mean() == pytest.approx(500 / 15, rel=0.1)
    assert gaps.std() > 1.3 * gaps.mean()


def test_recorded_arrivals(tmp_path: Any) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrival,tokens\n2023-11-16 18:15:46.68,3\n2023-11-16 18:15:50.93,5\n2023-11-16 18:16:00,7\n")
    source = JobStream(**HEFT_JOBS, arrivals={"kind": "recorded", "path": path, "scale": 2.0}, num_jobs=3)
    assert source.arriving(0, 0, 3)[0].tolist() == pytest.approx([0, 8.5, 26.64])
    assert source.arriving(0, 0, 4)[0][3] == np.inf


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read arrivals"),
        ("", "cannot read arrivals"),
        ("time\n1\n", "no column 'arrival'; there are time"),
        ("arrival\n1\n0.5\n", "row 1 must be a finite time, not before the one above"),
        ("arrival\n1\n\nx\n", "neither seconds nor timestamps"),
        ("arrival\n", "there must be at least one arrival"),
    ],
)
def test_broken_recordings_are_refused(tmp_path: Any, content: str | None, message: str) -> None:
    path = tmp_path / "trace.csv"
    if content is not None:
        path.write_text(content)
    source = JobStream(**HEFT_JOBS, arrivals={"kind": "recorded", "path": path}, num_jobs=3)
    with pytest.raises(HetgymError, match=message):
        source.arriving(0, 0, 3)


def test_jobs_are_mixed_by_their_shares() -> None:
    jobs = [
        {"workload": {"kind": "canonical", "graph": "heft-paper"}, "share": 3},
        {"workload": {"kind": "random", "num_tasks": 4, "num_devices": 3}, "share": 1, "variants": 2},
    ]
    source = JobStream(jobs=jobs, arrivals={"kind": "poisson", "mean_interarrival": 1.0}, num_jobs=9000)
    assert [graph.num_tasks for graph in source.templates] == [10, 4, 4]
    counts = np.bincount(source.arriving(0, 0, 9000)[1])
    assert stats.chisquare(counts, [6750, 1125, 1125]).pvalue > 0.001


@pytest.mark.parametrize("name", ["eft", "rank-online-wait", "random", "re-heft", "weighted-fair"])
@pytest.mark.parametrize(
    "settings", [{}, {"active_jobs": 2}, {"queue_limit": 2, "active_jobs": 3, "moving_delay": 4.0}]
)
def test_streams_are_valid_schedules(name: str, settings: dict[str, Any]) -> None:
    simulator = stream(num_jobs=60, **settings)
    table = play(simulator, make_policy(name), [7])
    instance, schedule = simulator.instance(0), simulator.schedule(0)
    assert instance.graph.num_jobs == 60
    assert len(schedule.sequence) == 600
    rules = simulator.rules
    assert violations(instance, schedule, rules) == []
    latency = np.zeros(60)
    np.maximum.at(latency, instance.graph.job, schedule.finish)
    latency -= instance.graph.arrival
    assert table["job_latency_mean"][0] == pytest.approx(latency.mean())
    assert table["job_latency_p50"][0] == pytest.approx(np.quantile(latency, 0.5, method="inverted_cdf"), rel=0.006)
    assert table["job_latency_p99"][0] == pytest.approx(latency.max(), rel=0.006)
    assert table["throughput"][0] == pytest.approx(60 / schedule.makespan)
    assert table["return"][0] == pytest.approx(-latency.sum() / 80)
    busy = np.zeros(3)
    np.add.at(busy, schedule.device, schedule.finish - schedule.start)
    assert [table[f"utilisation_p{p + 1}"][0] for p in range(3)] == pytest.approx(busy / schedule.makespan)


def test_a_stream_is_the_graph_of_its_jobs() -> None:
    """With room for all jobs, every decision of the same policy is the same."""
    scenario = load_scenario("canonical-stream", num_jobs=15, active_jobs=15)
    streamed = scenario.simulator(1)
    play(streamed, make_policy("rank-online-wait"), [3])
    instance = scenario.instance(3, 0)
    assert instance.graph.num_tasks == 150
    graph = GivenGraph(graph=instance.graph)
    whole = TaskGraphSimulator(graph, instance.platform, num_envs=1, window=8, rules=Rules(mode="dispatch"))
    whole.reset([0], [instance])
    policy = make_policy("rank-online-wait")
    policy.reset(whole)
    while not whole.outcome["terminated"][0]:
        whole.step(policy.act(whole.observation, whole))
    one, other = streamed.schedule(0), whole.schedule(0)
    assert one.sequence.tolist() == other.sequence.tolist()
    assert one.device.tolist() == other.device.tolist()
    assert one.finish == pytest.approx(other.finish)


def test_jobs_find_room_in_order() -> None:
    simulator = stream(num_jobs=40, active_jobs=1, mean_interarrival=20.0)
    play(simulator, make_policy("eft"), [0])
    instance, schedule = simulator.instance(0), simulator.schedule(0)
    begin, end = np.full(40, np.inf), np.zeros(40)
    np.minimum.at(begin, instance.graph.job, schedule.start)
    np.maximum.at(end, instance.graph.job, schedule.finish)
    assert (begin[1:] >= end[:-1]).all()


def test_horizon_and_warmup() -> None:
    end, warmup = 1500.0, 500.0
    simulator = stream(num_jobs=None, horizon=end, warmup=warmup)
    table = play(simulator, make_policy("eft"), [5])
    # The same stream, longer, as a reference.
    longer = stream(num_jobs=60)
    play(longer, make_policy("eft"), [5])
    instance, schedule = longer.instance(0), longer.schedule(0)
    finish = np.zeros(60)
    np.maximum.at(finish, instance.graph.job, schedule.finish)
    arrival = instance.graph.arrival
    counted = (arrival >= warmup) & (finish <= end)
    assert table["makespan"][0] == end
    assert table["jobs_arrived"][0] == (arrival <= end).sum()
    assert table["jobs_ended"][0] == (finish <= end).sum()
    assert table["jobs_counted"][0] == counted.sum() > 3
    assert table["job_latency_mean"][0] == pytest.approx((finish - arrival)[counted].mean())
    assert table["throughput"][0] == pytest.approx(counted.sum() / (end - warmup))
    busy = np.clip(schedule.finish, warmup, end) - np.clip(schedule.start, warmup, end)
    assert table["utilisation"][0] == pytest.approx(busy.sum() / 3 / (end - warmup))


def test_deadlines() -> None:
    simulator = stream(num_jobs=50, deadline_factor=2.5)
    table = play(simulator, make_policy("edf"), [5])
    instance, schedule = simulator.instance(0), simulator.schedule(0)
    finish = np.zeros(50)
    np.maximum.at(finish, instance.graph.job, schedule.finish)
    assert instance.graph.deadline == pytest.approx(instance.graph.arrival + 2.5 * 54)
    assert table["deadlines_missed"][0] == (finish > instance.graph.deadline).sum() > 0


@pytest.mark.parametrize("information", ["expected", "exact", "blind"])
def test_information_changes_what_is_known_not_what_happens(information: str) -> None:
    simulator = stream(num_jobs=20, information=information, active_jobs=20)
    play(simulator, make_policy("eft"), [2])
    instance, schedule = simulator.instance(0), simulator.schedule(0)
    run = schedule.finish - schedule.start
    realised = instance.realised_duration[np.arange(200), schedule.device]
    assert run == pytest.approx(realised)
    known = simulator.instances.graph.duration
    assert (known == np.inf).all()


@pytest.mark.parametrize("num_envs", [7, 64])
def test_batches_of_any_size_play_the_same(num_envs: int) -> None:
    many = stream(num_envs=num_envs, num_jobs=30)
    table = play(many, make_policy("eft"), range(10, 10 + num_envs))
    for row in (0, 3, num_envs - 1):
        alone = play(stream(num_jobs=30), make_policy("eft"), [10 + row])
        for column in table.columns.drop("decision_seconds"):
            assert alone[column][0] == table[column][row], column


def test_quantiles_of_bins() -> None:
    values = np.random.default_rng(0).lognormal(0, 1, 5000)
    histogram = np.zeros((1, 2560), np.int64)
    np.add.at(histogram[0], ((np.log2(values / 3.0) + 10) * 64).astype(int), 1)
    wanted = np.quantile(values, [0.5, 0.95, 0.99], method="inverted_cdf")
    assert latency_quantiles(histogram, 3.0, (0.5, 0.95, 0.99))[0] == pytest.approx(wanted, rel=0.006)
    assert np.isnan(latency_quantiles(np.zeros((1, 2560), np.int64), 1.0, (0.5,))).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_jobs": None}, "needs num_jobs or a horizon"),
        ({"horizon": 5.0, "warmup": 6.0}, "warmup: must be before the horizon"),
        ({"mode": "plan", "noise": "none"}, "streams of jobs need mode 'dispatch'"),
        ({"mean_interarrival": -1}, "mean_interarrival"),
        ({"active_jobs": 0}, "active_jobs"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(HetgymError, match=message):
        load_scenario("canonical-stream", **settings)


def test_given_instances_and_plans_are_refused() -> None:
    simulator = stream()
    instance = load_scenario("heft-paper").instance(0, 0)
    with pytest.raises(HetgymError, match="a stream plays its own jobs"):
        simulator.reset([0], [instance])
    with pytest.raises(HetgymError, match="'heft' plans whole graphs"):
        play(simulator, make_policy("heft"), [0])
