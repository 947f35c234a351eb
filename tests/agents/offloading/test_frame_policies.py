"""Policies that search for the best choices of each frame."""

import numpy as np
import pytest

from hetgym.agents.heuristics.offloading.frame_policies import FrameSearch, frames_of
from hetgym.agents.heuristics.offloading.policy import OffloadPolicy
from hetgym.agents.policy import Policy
from hetgym.envs import load_scenario
from hetgym.envs.offloading.frames import FrameSimulator, FrameWorkload
from hetgym.errors import HetgymError

DROO = FrameWorkload(
    system="droo", num_users=8, num_frames=20, distance=(2.5, 5.2), antenna_gain=4.11, exponent=2.8, noise=5e-17,
    power=3.0, efficiency=0.7, unit=1e6,
)  # fmt: skip
LYDROO = FrameWorkload(
    system="lydroo", num_users=8, num_frames=400, distance=(120.0, 255.0), placement="even", antenna_gain=3.0,
    exponent=3.0, fading="rician", k_factor=3 / 7, weights=(1.5, 1.0), noise=10**-20.4, power=0.1, max_frequency=3e8,
    rate_weight=20e6, energy_weight=1e16, energy_budget=0.08, mean_arrival=3e6, unit=1e14,
)  # fmt: skip


def played(workload, decide, num_envs=3):
    """Returns a simulator whose episodes have been played."""
    simulator = FrameSimulator(workload, num_envs)
    simulator.observes = False
    simulator.reset(np.arange(num_envs))
    if isinstance(decide, FrameSearch | OffloadPolicy):
        decide.reset(simulator)
    while not simulator.outcome["terminated"].all():
        actions = decide.act({}, simulator) if isinstance(decide, FrameSearch | OffloadPolicy) else decide(simulator)
        assert actions.dtype == np.int64
        assert actions.shape == (num_envs,)
        simulator.step(actions)
    return simulator


def rewards(simulator):
    """Returns the reward of each frame, (B, M)."""
    tables = [simulator.episode(row) for row in range(simulator.num_envs)]
    return np.array([table.groupby("frame")["reward"].first().to_numpy() for table in tables])


def test_every_frame_of_droo_is_best():
    best = rewards(played(DROO, FrameSearch("frame-search", exhaustive=True)))
    descent = rewards(played(DROO, FrameSearch("frame-descent", exhaustive=False)))
    local, edge = (
        rewards(played(DROO, OffloadPolicy("all-local", "all-local"))),
        rewards(played(DROO, OffloadPolicy("all-edge", "all-edge"))),
    )
    for other in (descent, local, edge):
        assert (best >= other * (1 - 1e-12)).all()
    assert descent.sum() > 0.99 * best.sum()
    assert best.sum() > 1.02 * max(local.sum(), edge.sum())


def test_same_choice_for_all():
    local, edge = (
        played(DROO, OffloadPolicy("all-local", "all-local")),
        played(DROO, OffloadPolicy("all-edge", "all-edge")),
    )
    assert not local.episode(0)["offloads"].any()
    assert edge.episode(0)["offloads"].all()


@pytest.mark.parametrize("exhaustive", [True, False])
def test_drift_plus_penalty_is_stable_within_the_budget(exhaustive):
    simulator = played(LYDROO, FrameSearch("frame-search", exhaustive))
    queues = np.array([simulator.episode(row).groupby("frame")["queue"].mean().to_numpy() for row in range(3)])
    local = played(LYDROO, OffloadPolicy("all-local", "all-local"))
    unstable = np.array([local.episode(row).groupby("frame")["queue"].mean().to_numpy() for row in range(3)])
    # The log has the last 128 frames of 400; queues that are stable do not grow over these.
    assert queues.shape == (3, 128)
    assert queues[:, 64:].mean() < 1.2 * queues[:, :64].mean()
    assert unstable[:, 64:].mean() > 1.1 * unstable[:, :64].mean()
    assert unstable.mean() > 5 * queues.mean()
    metrics = simulator.metrics(np.arange(3))
    assert (metrics["computation_rate"] > 0.9 * 8 * 3e6).all()
    # What was spent beyond the budget is at most the energy queue that is left.
    assert (metrics["energy"] <= 0.08 + simulator.state.energy_queues.mean(axis=1) / 400 + 1e-9).all()
    assert metrics["energy"].mean() <= 0.082


def test_many_users_are_searched_by_descent():
    workload = DROO.model_copy(update={"num_users": 13, "num_frames": 3})
    search = played(workload, FrameSearch("frame-search", exhaustive=True))
    descent = played(workload, FrameSearch("frame-descent", exhaustive=False))
    for row in range(3):
        assert search.episode(row).equals(descent.episode(row))


def test_a_policy_may_begin_within_a_frame():
    simulator, policy = FrameSimulator(DROO, 2), FrameSearch("frame-search", exhaustive=True)
    simulator.reset([0, 1])
    policy.reset(simulator)
    right = []
    for _ in range(8):
        right.append(policy.act({}, simulator))
        simulator.step(right[-1])
    simulator.reset([0, 1])
    for actions in right[:3]:
        simulator.step(actions)
    policy.reset(simulator)
    for actions in right[3:]:
        assert np.array_equal(policy.act({}, simulator), actions)
        simulator.step(actions)


def test_episodes_that_are_over_are_left_alone():
    simulator = played(DROO, FrameSearch("frame-search", exhaustive=True))
    policy = FrameSearch("frame-search", exhaustive=True)
    policy.reset(simulator)
    assert policy.act({}, simulator).tolist() == [0, 0, 0]


def test_is_a_policy_that_does_not_look():
    policy = FrameSearch("frame-search", exhaustive=True)
    assert isinstance(policy, Policy)
    assert (policy.name, policy.clairvoyant, policy.observes) == ("frame-search", False, False)


def test_needs_frames():
    simulator = load_scenario("tiny-moe").simulator(1)
    with pytest.raises(HetgymError, match="'frame-search' decides frames"):
        FrameSearch("frame-search", exhaustive=True).reset(simulator)
    with pytest.raises(HetgymError, match="'all-edge'"):
        frames_of("all-edge", simulator)
