"""Oracles of the discrete face: bounds are below the best choices, and these below what any policy does."""

import importlib.util
import math
import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetgym.agents import make_policy
from hetgym.agents.oracles.offloading import ExhaustiveSearch
from hetgym.agents.oracles.offloading_bounds import fluid_bound, given_simulator, play_choices
from hetgym.agents.oracles.offloading_static import Milp, solve_static
from hetgym.envs.offloading.instance import FADING, FLIGHT
from hetgym.envs.offloading.reference import Run
from hetgym.envs.offloading.rules import Rules
from hetgym.errors import HetgymError

_path = Path(__file__).parents[2] / "envs" / "offloading" / "small_offloads.py"
_spec = importlib.util.spec_from_file_location("small_offloads", _path)
small_offloads = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small_offloads)
drawn_instance, small_instance = small_offloads.drawn_instance, small_offloads.small_instance

OBJECTIVES = ("cost", "delay", "energy", "makespan")
POLICIES = (
    "weighted-greedy", "weighted-selfish", "greedy-delay", "greedy-energy", "greedy-social", "least-work", "jsq",
    "power-of-two", "round-robin", "threshold", "lyapunov", "neurosurgeon", "all-local", "all-edge", "random",
)  # fmt: skip


def drawn_batch(seed, requests, servers, tails=True):
    """All at time 0, one for each user; servers are shared or first come, first served.

    Without tails nothing comes back from those that are shared.
    """
    luck = random.Random(seed)
    options, reached = [[{"local": [0, 0, 0, 1]}]], []
    for _ in range(servers):
        is_shared = luck.random() < 0.5
        work = "shared" if is_shared else "serial"
        late = tails or not is_shared
        options.append([{work: [0, 0, 0, 1], "up": [0, luck.uniform(0, 1)], "down": [0, luck.uniform(0, 1) * late]}])
        reached.append({"latency": luck.uniform(0, 0.2)})
    users = [
        {"speed": luck.uniform(0.2, 1), "power": luck.uniform(0.5, 2), "energy": luck.uniform(0.5, 2)}
        for _ in range(requests)
    ]
    speeds = [luck.uniform(1, 3) for _ in range(servers)]
    weights = [luck.expovariate(1) for _ in range(3)]
    return small_instance(
        requests=[
            {"user": n, "size": luck.uniform(0.5, 2), "work": luck.uniform(0.5, 2), "deadline": luck.uniform(1, 6)}
            for n in range(requests)
        ],
        options=options,
        users=[user | {"idle_power": 0.1, "receive_power": 0.2} for user in users],
        servers=[{"speed": speed, "per_job": 1 / speed, "energy": 0.1} for speed in speeds],
        accesses=[{}] * servers,
        targets=[{"access": s, "server": s} | reached[s] for s in range(servers)],
        gain=[[luck.uniform(0.5, 5) for _ in range(servers)] for _ in range(requests)],
        units=(luck.uniform(0.5, 2), luck.uniform(0.5, 2)),
        weights=[weight / sum(weights) for weight in weights],
    )


def greedy(field):
    return lambda forecasts, _: np.where(forecasts["exists"], forecasts[field], np.inf).argmin(axis=1)


def always(candidate):
    return lambda forecasts, _: np.full(len(forecasts), candidate)


def by_chance(forecasts, luck):
    return np.where(forecasts["exists"], luck.random(forecasts.shape), -1).argmax(axis=1)


def objectives(simulator):
    """Those of the episodes that have ended, (B,) each."""
    status = simulator.state.status
    cost = (simulator.state.total * simulator.state.weights).sum(axis=1)
    return {"cost": cost} | {name: status[name].copy() for name in OBJECTIVES[1:]}


def played(batches, choose):
    """The objectives of episodes side by side, (B,) each."""
    simulator, luck = given_simulator(batches, Rules()), np.random.default_rng(0)
    while not simulator.outcome["terminated"].all():
        simulator.step(choose(simulator.state.forecasts, luck))
    return objectives(simulator)


@pytest.mark.parametrize("requests", [4, 5, 6])
@pytest.mark.parametrize("servers", [2, 3])
def test_no_bound_is_above_the_best_and_no_policy_below_it(requests, servers):
    batches = [drawn_batch(seed, requests, servers) for seed in range(168)]
    policies = [greedy("cost"), greedy("end"), greedy("backlog"), *[by_chance] * 3]
    policies += [always(candidate) for candidate in range(1 + servers)]
    results = [played(batches, policy) for policy in policies]
    gaps, greedy_is_best = [], 0
    for number, batch in enumerate(batches):
        objective = OBJECTIVES[number % 4]
        best = ExhaustiveSearch(objective).search(batch).value
        bound = fluid_bound(batch, objective)
        assert 0 < bound <= best * (1 + 1e-9)
        assert all(best <= result[objective][number] * (1 + 1e-9) for result in results)
        gaps.append(best / bound)
        greedy_is_best += results[0][objective][number] <= best * (1 + 1e-9)
    assert np.mean(gaps) < 1.25
    assert greedy_is_best < len(batches) / 2


def decided(instance, name):
    """The objectives of an episode that one of hetgym's policies plays."""
    simulator, policy = given_simulator([instance], Rules()), make_policy(name, "offloading")
    policy.reset(simulator)
    while not simulator.outcome["terminated"].all():
        simulator.step(policy.act(simulator.observation, simulator))
    return objectives(simulator)


@settings(max_examples=settings.default.max_examples * 2 // 5)
@given(seed=st.integers(0, 2**32))
def test_no_bound_is_above_the_best_of_any_episode_and_none_of_our_policies_below_it(seed):
    instance = drawn_instance(seed, requests=3, options=2, targets=2)
    results = [decided(instance, name) for name in POLICIES]
    for objective in OBJECTIVES:
        best = ExhaustiveSearch(objective).search(instance).value
        assert fluid_bound(instance, objective) <= best * (1 + 1e-9)
        assert all(best <= result[objective][0] * (1 + 1e-9) for result in results)


@pytest.mark.parametrize("seed", range(8))
def test_exhaustive_is_the_best_that_plain_python_finds(seed):
    instance = drawn_instance(seed, requests=3, options=1, targets=2)
    rules = {"epochs": "slot", "slot": 0.4, "room": 1}
    values = {objective: [] for objective in OBJECTIVES}
    for targets in product(range(3), repeat=3):
        run = Run(instance, **rules)
        costs = np.zeros(3)
        try:
            for target in targets:
                costs += run.decide(target, 0).normalised
        except HetgymError:
            continue  # it does not exist
        table = run.table()
        values["cost"].append(costs @ instance.weights)
        values["delay"].append(table["delay"].sum())
        values["energy"].append(table["energy"].sum())
        values["makespan"].append(table["end"].max())
    for objective in OBJECTIVES:
        best = ExhaustiveSearch(objective).search(instance, Rules(**rules)).value
        assert best == pytest.approx(min(values[objective]), rel=1e-9)


def two_users():
    """Each has 4 units of work, which take 4 s at home; a bit takes 1 s on the air, and the server does 2 units/s."""
    return small_instance(
        requests=[{"user": 0}, {"user": 1}],
        options=[[{"local": 4}], [{"up": 1, "shared": 4}]],
        users=[{}, {}],
        servers=[{"per_job": 0.5}],
    )


def test_bounds_by_hand():
    batch = two_users()
    # Alone at the server: 1 s on the air and 2 s there.
    assert fluid_bound(batch, "delay") == pytest.approx(3 + 3)
    assert fluid_bound(batch) == pytest.approx(6)
    # 1 W for 1 s, not 4 J at home.
    assert fluid_bound(batch, "energy") == pytest.approx(1 + 1)
    # A share x of each goes: the server takes 2 x 2 x s, and nobody ends before 4 (1 - x) + 3 x: x = 0.8.
    assert fluid_bound(batch, "makespan") == pytest.approx(3.2)


def test_best_choices_by_hand():
    # Both at the server end at 1 + 8 / 2 = 5, one alone at 3, at home at 4.
    batch = two_users()
    delay = ExhaustiveSearch("delay").search(batch)
    assert (delay.choices.tolist(), delay.value) == ([0, 1], pytest.approx(4 + 3))
    makespan = ExhaustiveSearch("makespan").search(batch)
    assert (makespan.choices.tolist(), makespan.value) == ([0, 0], pytest.approx(4))
    energy = ExhaustiveSearch("energy").search(batch)
    assert (energy.choices.tolist(), energy.value) == ([1, 1], pytest.approx(2))
    solution = solve_static(batch)
    assert (solution.status, solution.makespan) == ("optimal", pytest.approx(4))
    assert solution.lower_bound == pytest.approx(4, rel=1e-6)


def test_delay_of_a_queue_by_hand():
    queue = small_instance(
        [{"arrival": 0, "work": 4}, {"arrival": 1, "work": 1}], [[{"exists": False}], [{"serial": [0, 0, 0, 1]}]]
    )
    # The second would go first: it ends at 2, the other at 5; alone they would take 4 + 1.
    assert fluid_bound(queue, "delay") == pytest.approx(1 + 5)
    assert ExhaustiveSearch("delay").search(queue).value == pytest.approx(4 + 4)


def test_missed_alone_is_missed():
    late = small_instance([{"deadline": 1.5}], [[{"local": 4}], [{"shared": 2}]], weights=(0, 0, 1))
    assert fluid_bound(late) == 1.0
    in_time = small_instance([{"deadline": 2.0}], [[{"local": 4}], [{"shared": 2, "error": 0.1}]], weights=(0, 0, 1))
    assert fluid_bound(in_time) == pytest.approx(0.1)


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("doppler", [0.0, 0.3])
def test_no_block_takes_less_energy_than_the_bound(kind, doppler):
    faded = small_instance(
        [{"arrival": float(n), "user": n} for n in range(300)],
        [[{"exists": False}], [{"up": 0.01}]],
        users=[{}] * 300,
        block=0.5,
        fading=np.array([(kind, 2.0, doppler)], FADING),
    )
    simulator = given_simulator([faded], Rules())
    play_choices(simulator, np.ones((1, 300), np.int64))
    energy, least = simulator.episode(0)["energy"], fluid_bound(faded, "energy") / 300
    assert 0.1 * energy.min() < least <= energy.min()


def test_nearest_place_of_a_flight():
    # It circles at 50 m around (0, 0), once in 4 s, and is right above the user at time 0.
    flight = np.array([(True, 0.0, 0.0, 100.0, 50.0, math.pi / 2, 0.0)], FLIGHT)
    energies = []
    for arrival in (0.0, 2.0):
        flying = small_instance(
            [{"arrival": arrival}], [[{"exists": False}], [{"up": 1e-6}]], accesses=[{"noise": 1e-12}],
            block=1.0, flights=flight, positions=np.array([[50.0, 0.0]]),
        )  # fmt: skip
        bound = fluid_bound(flying, "energy")
        energies.append(ExhaustiveSearch("energy").search(flying).value)
    assert bound == pytest.approx(energies[0], rel=1e-9)
    assert energies[1] > 1.05 * bound


@pytest.mark.parametrize("requests", [4, 5])
def test_milp_is_exact_where_it_says_so(requests):
    for seed in range(100):
        batch = drawn_batch(seed, requests, 2 + seed % 2)
        if all((batch.options["shared"] == 0).reshape(-1)):  # first come, first served
            assert solve_static(batch).status == "optimal"
        batch = drawn_batch(seed, requests, 2 + seed % 2, tails=False)
        solution = solve_static(batch)
        assert solution.status == "optimal"
        assert solution.makespan == pytest.approx(ExhaustiveSearch("makespan").search(batch).value, rel=2e-6)


def test_milp_is_a_bound_elsewhere():
    optimal = 0
    for seed in range(60):
        batch = drawn_instance(
            seed, requests=4, options=2, targets=2, at_once=True, sharing="dedicated", block=math.inf
        )
        best = ExhaustiveSearch("makespan").search(batch).value
        solution = solve_static(batch)
        assert fluid_bound(batch, "makespan") <= solution.lower_bound * (1 + 1e-9)
        assert solution.lower_bound * (1 - 2e-6) <= best <= solution.makespan * (1 + 1e-9)
        if solution.status == "optimal":
            assert solution.makespan <= best * (1 + 2e-6)
            optimal += 1
    assert 20 < optimal < 60


def test_milp_without_time_gives_what_it_has():
    batch = drawn_batch(3, 30, 3)
    solution = solve_static(batch, time_limit=1e-6)
    assert 0 < solution.lower_bound <= solution.makespan


def test_work_that_takes_no_time():
    nothing = small_instance([{}], [[{"local": 0}], [{"up": 1}]])
    assert fluid_bound(nothing, "makespan") == 0
    assert fluid_bound(nothing, "delay") == 0
    solution = solve_static(nothing)
    assert (solution.status, solution.choices.tolist(), solution.makespan) == ("optimal", [0], 0.0)


def play(policy, simulator):
    policy.reset(simulator)
    while not simulator.outcome["terminated"].all():
        simulator.step(policy.act(simulator.observation, simulator))


def test_milp_plays_its_plans():
    batches = [drawn_batch(seed, 5, 2, tails=False) for seed in range(3)]
    simulator = given_simulator(batches, Rules(room=5))
    play(Milp(), simulator)
    best = [ExhaustiveSearch("makespan").search(batch).value for batch in batches]
    assert simulator.state.status["makespan"] == pytest.approx(best, rel=2e-6)


def test_exhaustive_plays_the_best_of_drawn_episodes():
    template = two_users()
    simulator = given_simulator([template] * 2, Rules(num_requests=6, room=2))
    simulator.reset([1, 2])
    policy = ExhaustiveSearch()
    play(policy, simulator)
    assert policy.clairvoyant
    for row in range(2):
        instance = simulator.instance(row, 6)
        assert instance.requests["arrival"][-1] > 0
        best = policy.search(instance, simulator.rules).value
        assert simulator.outcome["episode_return"][row] == pytest.approx(-best)


def refused(message, rules=None, policy=None, **changes):
    batch = drawn_instance(1, **({"requests": 3, "at_once": True, "sharing": "dedicated", "block": math.inf} | changes))
    simulator = given_simulator([batch], rules or Rules())
    with pytest.raises(HetgymError, match=message) as error:
        (policy or Milp()).reset(simulator)
    assert "\n" not in str(error.value)


def test_what_oracles_cannot_solve_is_refused():
    refused("40 requests have [0-9]+ combinations", policy=ExhaustiveSearch(), requests=40)
    for policy in (Milp(), ExhaustiveSearch()):
        refused("continuous", Rules(continuous=True), policy, always_local=True)
    refused("the last arrives at", at_once=False)
    refused("no block", block=0.5)
    refused("sharing: must be 'dedicated'", sharing="equal")
    refused("at most 64", requests=65)
    refused("epochs: must be 'arrival'", Rules(epochs="slot"))
    refused("room: must be at least 3", Rules(room=2))
    endless = given_simulator([two_users()], Rules())
    endless.reset([0])
    for policy in (Milp(), ExhaustiveSearch()):
        with pytest.raises(HetgymError, match="num_requests"):
            policy.reset(endless)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExhaustiveSearch("speed"), "unknown objective of offloading 'speed'"),
        (lambda: fluid_bound(two_users(), "speed"), "unknown objective of offloading 'speed'"),
        (lambda: Milp(0.0), "time_limit: must be positive"),
        (lambda: solve_static(two_users(), math.nan), "time_limit: must be positive"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(HetgymError, match=message):
        make()
