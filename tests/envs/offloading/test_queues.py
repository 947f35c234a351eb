"""What theory says of queues: requests that share a server, and requests that are served in turn."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hetgym.envs.offloading.luck import PLACEMENT, Luck
from hetgym.envs.offloading.rules import Rules
from hetgym.envs.offloading.simulator import OffloadSimulator, Source
from hetgym.workloads.arrivals import PoissonArrivals
from hetgym.workloads.requests import LAWS, REQUEST_KIND

_path = Path(__file__).with_name("small_offloads.py")
_spec = importlib.util.spec_from_file_location("small_offloads", _path)
small_offloads = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small_offloads)
small_instance = small_offloads.small_instance

NOTHING = {"exists": False}
WORK = (0.0, 0.0, 0.0, 1.0)


def simulator(instance, num_envs=1, load=1.0, law="constant", **rules):
    """Environments in which requests of work 1 on average arrive at a rate."""
    kinds = np.zeros(1, REQUEST_KIND)
    kinds["share"] = 1.0
    kinds["work"]["law"], kinds["work"]["mean"], kinds["work"]["high"] = LAWS.index(law), 1.0, np.inf
    kinds["work"]["sigma"] = 1.0
    kinds["deadline"]["mean"] = kinds["deadline"]["high"] = np.inf
    source = Source(
        template=replace(instance, requests=instance.requests[:0]),
        luck=Luck(np.ones((1, 2)), np.ones((1, 2)), np.zeros(1, PLACEMENT), np.zeros(1)),
        process=PoissonArrivals(mean_interarrival=1.0 / load).law(None),
        recorded_times=np.empty(0),
        kinds=kinds,
        recorded=np.zeros((1, 1)),
        cloud=np.zeros(1, np.bool_),
    )
    made = OffloadSimulator(source, Rules(**rules), num_envs)
    made.observes = False
    return made


def play(played):
    actions = np.ones(played.num_envs, np.int64)
    while not played.outcome["terminated"].all():
        played.step(actions)


def sojourns(requests, unit="shared", **server):
    """Seconds from arrival to end of each request, all of which go to one server."""
    instance = small_instance(requests, options=[[NOTHING], [{unit: WORK}]], servers=[server])
    played = simulator(instance)
    played.reset([0], [instance])
    play(played)
    return played.episode(0)["delay"].to_numpy()


def by_hand(arrivals, work, server):
    """Processor sharing in virtual time: each takes what it needs of what each of those who are there is given."""
    virtual, now, there, ends = 0.0, 0.0, {}, {}
    waiting = list(range(len(arrivals)))
    while waiting or there:
        pace = server.get("fixed", 0.0) + server["per_job"] * len(there)
        first = min(there, key=there.get, default=None)
        leaves = now + (there[first] - virtual) * pace if there else np.inf
        if waiting and arrivals[waiting[0]] < leaves:
            request = waiting.pop(0)
            virtual += (arrivals[request] - now) / pace if there else 0.0
            now = arrivals[request]
            there[request] = virtual + work[request]
        else:
            now, virtual = leaves, there.pop(first)
            ends[first] = now
    return np.array([ends[request] - arrivals[request] for request in range(len(arrivals))])


@pytest.mark.parametrize("server", [{"per_job": 1.0}, {"per_job": 0.5}, {"fixed": 2.0, "per_job": 0.25}])
@pytest.mark.parametrize("seed", range(5))
def test_those_who_arrive_together_leave_by_their_work(seed, server):
    # The k-th to leave has had all others beside it until they left: sum over j <= k of
    # (w_j - w_{j-1}) (fixed + per_job (n - j + 1)), with w_0 = 0 and w in ascending order.
    work = np.random.default_rng(seed).exponential(size=20)
    ascending = np.sort(work)
    steps = np.diff(ascending, prepend=0.0) * (server.get("fixed", 0.0) + server["per_job"] * np.arange(20, 0, -1))
    found = sojourns([{"work": amount} for amount in work], **server)
    np.testing.assert_allclose(np.sort(found), np.cumsum(steps), rtol=0, atol=1e-9)
    assert (np.argsort(found) == np.argsort(work)).all()


def test_two_who_overlap_by_hand():
    # 3 units from 0 s, 1 unit from 1 s: alone 1 s, both until 3 s (1 unit each), then 1 s alone.
    np.testing.assert_allclose(sojourns([{"work": 3.0}, {"arrival": 1.0}]), [4.0, 2.0], rtol=0, atol=1e-9)
    # First come, first served: until 3 s, and until 4 s.
    found = sojourns([{"work": 3.0}, {"arrival": 1.0}], unit="serial")
    np.testing.assert_allclose(found, [3.0, 3.0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("server", [{"per_job": 1.0}, {"fixed": 0.3, "per_job": 0.6}])
@pytest.mark.parametrize("seed", range(10))
def test_sharing_in_virtual_time(seed, server):
    luck = np.random.default_rng(seed)
    arrivals, work = np.cumsum(luck.exponential(1.2, 300)), luck.exponential(size=300)
    requests = [{"arrival": arrival, "work": amount} for arrival, amount in zip(arrivals, work, strict=True)]
    np.testing.assert_allclose(sojourns(requests, **server), by_hand(arrivals, work, server), rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_in_turn_by_lindley(seed):
    # Lindley 1952: W' = max(W + work - gap, 0).
    luck = np.random.default_rng(seed)
    gaps, work = luck.exponential(1.2, 300), luck.exponential(size=300)
    waits = [0.0]
    for amount, gap in zip(work, gaps[1:], strict=False):
        waits.append(max(waits[-1] + amount - gap, 0.0))
    requests = [{"arrival": arrival, "work": amount} for arrival, amount in zip(np.cumsum(gaps), work, strict=True)]
    np.testing.assert_allclose(sojourns(requests, unit="serial"), np.array(waits) + work, rtol=0, atol=1e-9)


LOAD = 0.7


@pytest.mark.parametrize(
    ("unit", "law", "mean"),
    [
        # Service takes 1 s on average. M/M/1 has 1 / (1 - load), in turn or shared; shared, the law of the work does
        # not matter; in turn, Pollaczek and Khinchine have 1 + load (1 + c^2) / (2 (1 - load)) with c^2 = 0 if it is
        # constant, 1 if exponential.
        ("shared", "exponential", 1 / (1 - LOAD)),
        ("serial", "exponential", 1 / (1 - LOAD)),
        ("shared", "constant", 1 / (1 - LOAD)),
        ("serial", "constant", 1 + LOAD / (2 * (1 - LOAD))),
        ("shared", "lognormal", 1 / (1 - LOAD)),
    ],
)
def test_mean_sojourn_time(unit, law, mean):
    num_envs, num_requests = 64, 40_000
    instance = small_instance([{}], options=[[NOTHING], [{unit: WORK}]])
    played = simulator(instance, num_envs, LOAD, law, num_requests=num_requests)
    played.logs = False
    played.reset(np.arange(num_envs))
    play(played)
    metrics = played.metrics(np.arange(num_envs))
    assert (metrics["requests"] == num_requests).all()
    assert metrics["delay"].mean() == pytest.approx(mean, rel=0.02)
