"""The continuous face: no decision for a request alone is better than the optimum, and both parts end together."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from hetgym.agents.oracles.offloading_bounds import given_simulator
from hetgym.agents.oracles.offloading_continuous import convex_optimum
from hetgym.agents.oracles.offloading_shares import Convex, PartialSplit
from hetgym.envs.offloading.checker import violations
from hetgym.envs.offloading.instance import SHARINGS
from hetgym.envs.offloading.rules import Rules
from hetgym.errors import HetgymError

_path = Path(__file__).parents[2] / "envs" / "offloading" / "small_offloads.py"
_spec = importlib.util.spec_from_file_location("small_offloads", _path)
small_offloads = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small_offloads)
drawn_instance, small_instance = small_offloads.drawn_instance, small_offloads.small_instance

STEPS = np.linspace(-1, 1, 11)
GRID = np.stack(np.meshgrid(STEPS, STEPS, STEPS, indexing="ij"), axis=-1).reshape(-1, 3)


def costs_of(instance, knobs):
    """What the first decisions of a request alone cost in the simulator, (B,)."""
    simulator = given_simulator([instance] * len(knobs), Rules(continuous=True, room=1))
    simulator.step(knobs)
    assert simulator.outcome["terminated"].all()
    return -simulator.outcome["episode_return"]


def knobs_of(choice, power):
    shares = choice.fraction, (choice.power / power - 0.01) / 0.99, (choice.factor - 0.1) / 0.9
    return 2 * np.array([shares]) - 1


@pytest.mark.parametrize("seed", range(40))
def test_no_decision_is_better_than_the_optimum(seed):
    alone = drawn_instance(seed, requests=1, options=1, always_local=True, block=math.inf, fading="none")
    best = convex_optimum(alone)
    knobs = knobs_of(best, alone.users["power"][alone.requests["user"][0]])
    # Around it as well, one to three knobs at a time.
    near = np.clip(knobs + 0.01 * np.round(GRID), -1, 1)
    costs = costs_of(alone, np.concatenate([knobs, GRID, near]))
    assert costs[0] == pytest.approx(best.cost, rel=1e-7)
    assert costs.min() >= best.cost * (1 - 1e-6)


def one_request(
    weights=(1, 0, 0), local=4.0, energy=1.0, deadline=math.inf, up=2.0, gain=1.0, work="shared", requests=1
):
    """A request of 4 units, 1 unit/s at home and 2 at the server, and of 2 bits, 1 bit/s at the full power of 1 W."""
    return small_instance(
        [{"size": 2, "work": 4, "deadline": deadline}] * requests,
        [[{"local": [0, 0, 0, local / 4]}], [{work: [0, 0, 0, 1], "up": [0, up / 2]}]],
        users=[{"energy": energy}],
        servers=[{"speed": 2, "per_job": 0.5}],
        gain=gain,
        weights=weights,
    )


def test_delay_alone_by_hand():
    # 4 (1 - f) = f (2 / 1 + 4 / 2): half of it goes, and both halves take 2 s, with all power and speed.
    best = convex_optimum(one_request())
    assert best == pytest.approx((2.0, 0.5, 1.0, 1.0), rel=1e-6)
    # At 2 units/s at home 2 (1 - f) = 4 f: a third, in 4/3 s.
    assert convex_optimum(one_request(local=2.0)) == pytest.approx((4 / 3, 1 / 3, 1.0, 1.0), rel=1e-6)


def test_energy_alone_by_hand():
    # A tenth of the speed takes a hundredth of the energy; at a hundredth of the power 2 bits take
    # 2 / log2(1.01) = 139.3 s and 1.393 J.
    assert convex_optimum(one_request(weights=(0, 1, 0))) == pytest.approx((0.04, 0.0, 0.01, 0.1), rel=1e-6)
    dear = convex_optimum(one_request(weights=(0, 1, 0), energy=1000.0))
    assert dear[:3] == pytest.approx((0.01 * 2 / math.log2(1.01), 1.0, 0.01), rel=1e-6)


def test_power_of_what_is_sent_as_a_whole():
    # Nothing is done at home, where it would take 4e6 s; the server takes 2 s.
    best = convex_optimum(one_request(weights=(0.3, 0.7, 0), local=4e6, gain=5.0))

    def cost(power):
        airtime = 2 / math.log2(1 + 5 * power)
        return 0.3 * (airtime + 2) + 0.7 * power * airtime

    wanted = minimize_scalar(cost, bounds=(0.01, 1), options={"xatol": 1e-10})
    assert 0.02 < wanted.x < 0.98
    assert best.fraction == 1.0
    assert best.power == pytest.approx(wanted.x, rel=1e-4)
    assert best.cost == pytest.approx(wanted.fun, rel=1e-7)


def test_deadlines_are_met_where_that_is_worth_it():
    # Nothing can be sent. At half the speed it takes 8 s and a quarter of 4 J, at a tenth 40 s and 0.04 J.
    def best(misses):
        return convex_optimum(one_request(weights=(0, 0.1, misses), deadline=8.0, up=1e9))

    assert best(0.9)[::3] == pytest.approx((0.1, 0.5), rel=1e-6)
    assert best(0.05)[::3] == pytest.approx((0.1 * 0.04 + 0.05, 0.1), rel=1e-6)
    # No way to end in 0.1 s.
    late = convex_optimum(one_request(weights=(0.5, 0, 0.5), deadline=0.1))
    assert late[:2] == pytest.approx((0.5 * 2 + 0.5, 0.5), rel=1e-6)


@pytest.mark.parametrize("policy", [Convex(), PartialSplit()])
def test_even_shares_by_hand(policy):
    simulator = given_simulator([one_request(work="serial", requests=2)], Rules(continuous=True))
    policy.reset(simulator)
    while not simulator.outcome["terminated"].all():
        simulator.step(policy.act(simulator.observation, simulator))
    first, second = simulator.episode(0).to_dict("records")
    assert (first["fraction"], first["end"]) == (pytest.approx(0.5, rel=1e-6), pytest.approx(2, rel=1e-6))
    # The processor is free at 2 s, the radio at 1 s, the server has 1 s of work coming:
    # 2 + 4 (1 - f) = max(1 + 2 f, 1) + 2 f.
    assert (second["fraction"], second["end"]) == (pytest.approx(5 / 8, rel=1e-6), pytest.approx(3.5, rel=1e-6))


def test_a_busy_server_gets_less():
    # The air takes no time. The first sends f with 4 (1 - f) = 2 f; the second finds 4/3 s of work at the server and at
    # home: 4/3 + 4 (1 - f) = 4/3 + 2 f.
    simulator = given_simulator([one_request(work="serial", requests=2, up=0.0)], Rules(continuous=True))
    policy = PartialSplit()
    shares = []
    while not simulator.outcome["terminated"].all():
        shares.append(policy.act(simulator.observation, simulator)[0])
        simulator.step(np.array([shares[-1]]))
    assert shares == pytest.approx(2 * np.array([[2 / 3, 1, 1]] * 2) - 1)


@pytest.mark.parametrize(("local", "up", "share"), [(1e-3, 2.0, 0.0), (4e3, 0.0, 1.0)])
def test_all_or_nothing_where_a_constant_is_too_much(local, up, share):
    instance = one_request(local=local, up=up)
    instance.options["local" if share else "shared"][..., 0] = 100.0
    simulator = given_simulator([instance], Rules(continuous=True))
    assert PartialSplit().act(simulator.observation, simulator)[0, 0] == pytest.approx(2 * share - 1)
    assert convex_optimum(instance).fraction == share


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("policy", [Convex(), PartialSplit()])
def test_policies_play_whole_episodes(sharing, policy):
    instances = [
        drawn_instance(
            seed, 8, users=3, servers=2, accesses=2, targets=3, options=1, sharing=sharing, always_local=True
        )
        for seed in range(40)
    ]
    # Those that have as many kinds of devices and of requests.
    instances = [instance for instance in instances if instance.options.shape == instances[0].options.shape]
    simulator = given_simulator(instances, Rules(continuous=True))
    policy.reset(simulator)
    while not simulator.outcome["terminated"].all():
        knobs = policy.act(simulator.observation, simulator)
        assert (np.abs(knobs) <= 1 + 1e-9).all()
        simulator.step(knobs)
    for row, instance in enumerate(instances):
        assert violations(simulator.episode(row), instance, continuous=True) == []


def test_convex_is_better_than_even_shares_and_chance():
    returns = []
    for seed in range(10):
        instance = drawn_instance(seed, 10, options=1, always_local=True, gap=1.0)
        for policy in (Convex(), PartialSplit(), None):
            simulator, luck = given_simulator([instance], Rules(continuous=True)), np.random.default_rng(seed)
            while not simulator.outcome["terminated"].all():
                knobs = policy.act(simulator.observation, simulator) if policy else luck.uniform(-1, 1, (1, 3))
                simulator.step(knobs)
            returns.append(simulator.outcome["episode_return"][0])
    convex, even, chance = np.array(returns).reshape(10, 3).T
    assert (convex >= even - 1e-9).mean() >= 0.8
    assert convex.mean() > 0.9 * even.mean()
    assert (convex > chance).mean() >= 0.8


def test_the_policy_is_the_optimum_of_a_request_alone():
    alone = drawn_instance(5, requests=1, options=1, always_local=True, block=math.inf, fading="none")
    simulator = given_simulator([alone], Rules(continuous=True))
    knobs = Convex().act(simulator.observation, simulator)
    assert costs_of(alone, knobs)[0] == pytest.approx(convex_optimum(alone).cost, rel=1e-9)


def test_what_cannot_be_solved_is_refused():
    instance = one_request()
    concave = one_request()
    concave.options["local"][..., 2] = -0.1
    bound = one_request()
    bound.options["exists"][..., 0, 0] = False
    for given, request, message in (
        (instance, 1, "request: must be from 0 to 0"),
        (replace(instance, channel=replace(instance.channel, block=1.0)), 0, "no block"),
        (concave, 0, "concave"),
        (bound, 0, "a part must be able to stay"),
    ):
        with pytest.raises(HetgymError, match=message):
            convex_optimum(given, request)
    discrete = given_simulator([instance], Rules())
    for policy in (Convex(), PartialSplit()):
        with pytest.raises(HetgymError, match="the scenario must be continuous"):
            policy.reset(discrete)
