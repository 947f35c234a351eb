"""The compiled simulator of frames: against the plain-Python player, and what it promises to agents."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from hetgym.envs.core.simulator import CLIP
from hetgym.envs.offloading.frames import FrameSimulator, FrameWorkload
from hetgym.envs.offloading.frames_reference import FrameRules, FrameRun
from hetgym.errors import HetgymError

DROO = FrameWorkload(
    system="droo", num_users=5, num_frames=12, distance=(2.5, 5.2), antenna_gain=4.11, exponent=2.8, noise=5e-17,
    power=3.0, efficiency=0.7, unit=1e6,
)  # fmt: skip
LYDROO = FrameWorkload(
    system="lydroo", num_users=5, num_frames=12, distance=(120.0, 255.0), placement="even", antenna_gain=3.0,
    exponent=3.0, fading="rician", k_factor=3 / 7, weights=(1.5, 1.0), noise=10**-20.4, power=0.1, max_frequency=3e8,
    rate_weight=20e6, energy_weight=1e16, energy_budget=0.08, mean_arrival=3e6, unit=1e14,
)  # fmt: skip
BOTH = pytest.mark.parametrize("workload", [DROO, LYDROO], ids=["droo", "lydroo"])


def begun(workload, num_envs=4, **arguments):
    simulator = FrameSimulator(workload, num_envs)
    simulator.reset(np.arange(num_envs) + 7, **arguments)
    return simulator


def any_actions(simulator, luck):
    """Returns choices by chance, of each episode with another propensity."""
    return (luck.random(simulator.num_envs) < np.linspace(0.2, 0.8, simulator.num_envs)).astype(np.int64)


def player(workload, instance):
    names = [name for name in FrameRules.__dataclass_fields__ if getattr(workload, name) is not None]
    rules = FrameRules(**{name: getattr(workload, name) for name in names})
    arrivals = instance.arrivals.tolist() if workload.system == "lydroo" else None
    return FrameRun(rules, instance.weights.tolist(), instance.gains.tolist(), arrivals)


def twins(first, second):
    """Whether two simulators show and gave the same, to the bit."""
    same = all(np.array_equal(first.observation[name], second.observation[name]) for name in first.observation)
    return same and first.outcome.tobytes() == second.outcome.tobytes()


@BOTH
def test_plays_as_the_reference_does(workload):
    luck = np.random.default_rng(1)
    simulator = begun(workload)
    runs = [player(workload, simulator.instance(row)) for row in range(4)]
    while not simulator.outcome["terminated"].all():
        for row, run in enumerate(runs):
            assert simulator.state.status["user"][row] == run.user
            assert simulator.state.queues[row] == pytest.approx(run.queues, rel=1e-8, abs=1e-3)
            assert simulator.state.energy_queues[row] == pytest.approx(run.energy_queues, rel=1e-8, abs=1e-12)
        actions = any_actions(simulator, luck)
        simulator.step(actions)
        rewards = [run.decide(int(action)) for run, action in zip(runs, actions, strict=True)]
        assert simulator.outcome["reward"] == pytest.approx(rewards, rel=1e-8, abs=1e-12)
        assert np.array_equal(simulator.outcome["terminated"], [run.is_over for run in runs])
    for row, run in enumerate(runs):
        table = simulator.episode(row)
        assert table["bits"].to_numpy() == pytest.approx(np.concatenate([a.bits for a in run.allocations]), rel=1e-7)
        energies = np.concatenate([a.energies for a in run.allocations])
        assert table["energy"].to_numpy() == pytest.approx(energies, rel=1e-7, abs=1e-12)
        shares = np.concatenate([a.shares for a in run.allocations])
        assert table["share"].to_numpy() == pytest.approx(shares, rel=1e-7, abs=1e-9)
        assert table["reward"].to_numpy()[::5] == pytest.approx(run.rewards)
        assert simulator.metrics_of(row) == pytest.approx(run.metrics())
        assert simulator.outcome["episode_return"][row] == pytest.approx(sum(run.rewards))


@BOTH
def test_table_says_what_happened(workload):
    luck = np.random.default_rng(2)
    simulator = begun(workload, 1)
    decided = []
    while not simulator.outcome["terminated"].all():
        decided.append(any_actions(simulator, luck)[0])
        simulator.step(np.array([decided[-1]]))
    table, instance = simulator.episode(0), simulator.instance(0)
    assert table["frame"].tolist() == np.repeat(np.arange(12), 5).tolist()
    assert table["user"].tolist() == list(range(5)) * 12
    assert table["offloads"].tolist() == [choice == 1 for choice in decided]
    assert np.array_equal(table["gain"], instance.gains.ravel())
    assert (table["share"][~table["offloads"]] == 0).all()
    assert table.groupby("frame")["share"].sum().max() <= 1 + 1e-12
    queues, bits = (table[name].to_numpy().reshape(12, 5) for name in ("queue", "bits"))
    assert (queues[0] == 0).all()
    if workload.system == "lydroo":
        assert queues[1:] == pytest.approx(np.maximum(queues - bits, 0)[:-1] + instance.arrivals[:-1])


def test_gains_follow_distances():
    # A (c / (4 pi f d))^e; every user has its place, and without fading its gain stays.
    simulator = begun(LYDROO.model_copy(update={"fading": "none"}), 1)
    distances = np.array([120.0, 153.75, 187.5, 221.25, 255.0])
    gains = 3.0 * (3e8 / (4 * np.pi * 915e6 * distances)) ** 3
    instance = simulator.instance(0)
    assert instance.mean_gains == pytest.approx(gains, rel=1e-12, abs=0)
    assert instance.gains == pytest.approx(np.tile(gains, (12, 1)), rel=1e-12, abs=0)
    assert instance.weights.tolist() == [1.5, 1.0, 1.5, 1.0, 1.5]


def test_episodes_are_drawn_as_said():
    workload = DROO.model_copy(update={"num_users": 50, "num_frames": 2000})
    instance = begun(workload, 1).instance(0)
    wave = 3e8 / (4 * np.pi * 915e6)
    distances = wave / (instance.mean_gains / 4.11) ** (1 / 2.8)
    assert 2.5 < distances.min() < 2.8
    assert 4.9 < distances.max() < 5.2
    fading = instance.gains / instance.mean_gains
    # Exponential: mean and deviation 1; of 1e5 numbers, off by 0.003 or so.
    assert fading.mean() == pytest.approx(1.0, abs=0.015)
    assert fading.std() == pytest.approx(1.0, abs=0.02)
    arrivals = begun(LYDROO.model_copy(update={"num_users": 50, "num_frames": 2000}), 1).instance(0).arrivals
    assert arrivals.mean() == pytest.approx(3e6, rel=0.015)
    assert arrivals.std() == pytest.approx(3e6, rel=0.02)
    assert abs(np.corrcoef(arrivals[:, 0], arrivals[:, 1])[0, 1]) < 0.1
    assert abs(np.corrcoef(fading[:, 0], fading[:, 1])[0, 1]) < 0.1
    assert abs(np.corrcoef(fading[1:, 0], fading[:-1, 0])[0, 1]) < 0.1


@BOTH
def test_episodes_differ_and_come_again(workload):
    simulator, other = begun(workload), begun(workload)
    gains = simulator.instance(0).gains
    assert np.array_equal(gains, other.instance(0).gains)
    assert not (gains == simulator.instance(1).gains).any()
    simulator.reset_to_next()
    assert not (gains == simulator.instance(0).gains).any()


@BOTH
def test_batch_size_does_not_matter(workload):
    luck = np.random.default_rng(3)
    together = begun(workload, 3)
    alone = [FrameSimulator(workload, 1) for _ in range(3)]
    for row, simulator in enumerate(alone):
        simulator.reset([row + 7])
    while not together.outcome["terminated"].all():
        actions = any_actions(together, luck)
        together.step(actions)
        for row, simulator in enumerate(alone):
            simulator.step(actions[row : row + 1])
            assert simulator.outcome[0] == together.outcome[row]
            for name, shown in simulator.observation.items():
                assert np.array_equal(shown[0], together.observation[name][row])


@BOTH
def test_saved_state_goes_on_to_the_bit(workload):
    luck = np.random.default_rng(4)
    first, second = begun(workload), FrameSimulator(workload, 4)
    for _ in range(13):
        first.step(any_actions(first, luck))
    second.load_state_arrays({name: array.copy() for name, array in first.state_arrays().items()})
    assert twins(first, second)
    for _ in range(60):
        actions = any_actions(first, luck)
        first.step(actions)
        second.step(actions)
        for simulator in (first, second):
            simulator.restart(np.flatnonzero(simulator.outcome["terminated"]))
        assert twins(first, second)
    assert first.episodes.tolist() == [1] * 4
    assert first.episode(2).equals(second.episode(2))


@BOTH
def test_given_instances_are_played(workload):
    drawn = begun(workload)
    instances = [drawn.instance(3 - row) for row in range(4)]
    given = begun(workload, instances=instances)
    assert given.instance(0) is instances[0]
    luck = np.random.default_rng(5)
    while not drawn.outcome["terminated"].all():
        actions = any_actions(drawn, luck)
        drawn.step(actions)
        given.step(actions[::-1].copy())
        assert np.array_equal(drawn.outcome, given.outcome[::-1])
        for name, shown in drawn.observation.items():
            assert np.array_equal(shown, given.observation[name][::-1])
    with pytest.raises(HetgymError, match="cannot be saved"):
        given.state_arrays()
    given.restart(np.arange(4))
    drawn.restart(np.arange(4))
    assert np.array_equal(given.observation["context"], drawn.observation["context"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gains": np.ones((11, 5))}, r"gains must be of the shape \(12, 5\)"),
        ({"weights": np.ones(4)}, r"weights must be of the shape \(5,\)"),
        ({"arrivals": np.full((12, 5), -1.0)}, "arrivals must be finite numbers, not negative"),
        ({"gains": np.full((12, 5), np.nan)}, "gains must be finite numbers"),
        ({"mean_gains": np.zeros(5)}, "mean_gains must be finite numbers, above 0"),
        ({"weights": np.array(["a"] * 5)}, "weights must be finite numbers"),
    ],
)
def test_wrong_instances_are_refused(changes, message):
    simulator = begun(LYDROO, 1)
    wrong = replace(simulator.instance(0), **changes)
    with pytest.raises(HetgymError, match=message):
        simulator.reset([0], instances=[wrong])
    with pytest.raises(HetgymError, match="FrameInstance"):
        simulator.reset([0], instances=["frames"])
    with pytest.raises(HetgymError, match="must be 1"):
        simulator.reset([0], instances=[simulator.instance(0)] * 2)


@BOTH
@pytest.mark.parametrize("num_users", [1, 5, 30])
def test_features_are_finite_and_not_clipped_away(workload, num_users):
    luck = np.random.default_rng(6)
    simulator = begun(workload.model_copy(update={"num_users": num_users, "num_frames": 40}))
    shown = []
    while not simulator.outcome["terminated"].all():
        observation = simulator.observation
        assert all(simulator.single_observation_space[name].contains(observation[name][0]) for name in observation)
        assert (observation["action_mask"] == 1).all()
        shown.append(np.hstack([observation["candidates"].reshape(4, -1), observation["context"]]))
        simulator.step(any_actions(simulator, luck))
    numbers = np.concatenate(shown)
    assert np.isfinite(numbers).all()
    assert (np.abs(numbers) == CLIP).mean() < 0.001
    assert np.array_equal(simulator.observation["action_mask"], [[1, 0]] * 4)
    assert not simulator.observation["candidates"].any()
    assert not simulator.observation["context"].any()


@BOTH
def test_last_forecast_is_what_happens(workload):
    # The last user's forecast has no later users: it is the frame.
    luck = np.random.default_rng(7)
    simulator = begun(workload)
    columns = [feature.name for feature in simulator.schema.candidates]
    units = workload.units()
    for step in range(1, 61):
        before = simulator.observation["candidates"].copy()
        actions = any_actions(simulator, luck)
        simulator.step(actions)
        if step % 5 == 0:
            for row in range(4):
                last = simulator.episode(row).iloc[-1]
                seen = dict(zip(columns, before[row, actions[row]], strict=True))
                assert seen["bits"] == pytest.approx(np.log2(1 + last["bits"] / units[0]) / 4, rel=1e-5, abs=1e-6)
                assert seen["energy"] == pytest.approx(np.log2(1 + last["energy"] / units[1]) / 4, rel=1e-5, abs=1e-6)
                assert seen["time"] == pytest.approx(last["share"], rel=1e-5, abs=1e-6)


def test_advantage_is_the_gain_in_value():
    # The last user's advantage in droo is the difference of what the frame is worth, in its own bits.
    workload = DROO.model_copy(update={"num_frames": 1})
    shown, values = [], []
    for choice in (0, 1):
        simulator = begun(workload, 1)
        for action in (1, 0, 1, 0, choice):
            shown.append(simulator.observation["candidates"][0].copy())
            simulator.step(np.array([action]))
        values.append(simulator.outcome["reward"][0] * 1e6)
    bits = (values[1] - values[0]) / simulator.state.weights[0, 4] / workload.units()[0]
    assert shown[-1][1, 4] == pytest.approx(np.sign(bits) * np.log2(1 + abs(bits)) / 4, rel=1e-5)
    assert shown[-1][0, 4] == 0.0


def test_observations_left_out_change_nothing():
    luck = np.random.default_rng(8)
    first, second = begun(LYDROO), begun(LYDROO)
    second.observes = False
    while not first.outcome["terminated"].all():
        actions = any_actions(first, luck)
        first.step(actions)
        second.step(actions)
        assert first.outcome.tobytes() == second.outcome.tobytes()


def test_what_is_not_allowed_is_local():
    simulator = begun(DROO, 2)
    assert simulator.step(np.array([2, 1])) == 1
    assert simulator.outcome["invalid_action"].tolist() == [True, False]
    assert simulator.state.choices[:, 0].tolist() == [0, 1]


def test_episodes_that_are_over_stay():
    simulator = begun(DROO.model_copy(update={"num_frames": 1}), 2)
    for _ in range(5):
        simulator.step(np.array([1, 0]))
    ended = simulator.outcome.copy()
    assert ended["terminated"].all()
    assert simulator.step(np.array([1, 0])) == 2
    assert np.array_equal(simulator.outcome, ended)


def test_long_episodes_are_remembered_in_part():
    workload = DROO.model_copy(update={"num_users": 1, "num_frames": 1500})
    simulator = begun(workload, 2)
    for _ in range(1500):
        simulator.step(np.zeros(2, np.int64))
    assert simulator.episode(1)["frame"].tolist() == list(range(1500 - 1024, 1500))
    assert np.array_equal(simulator.episode(1)["gain"], simulator.instance(1).gains[1500 - 1024 :, 0])


@BOTH
@pytest.mark.parametrize("steps", [0, 5, 60])
def test_figures_are_drawn(workload, steps):
    simulator = begun(workload, 1)
    for _ in range(steps):
        simulator.step(np.ones(1, np.int64))
    axes = simulator.figure(0).axes
    assert len(axes) == (2 if workload.system == "droo" else 4)
    assert len(axes[0].images) == (steps > 0)
    computed = [patch.get_data().values for patch in axes[1].patches]
    rates = simulator.episode(0).groupby("frame")["bits"].sum().to_numpy()
    assert np.array_equal(np.concatenate([*computed, []]), rates)


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (DROO, {"efficiency": None}, "efficiency: the system droo needs it"),
        (DROO, {"mean_arrival": 1e6}, "mean_arrival: is of the system lydroo"),
        (LYDROO, {"rate_weight": None}, "rate_weight: the system lydroo needs it"),
        (LYDROO, {"distance": (5.0, 2.0)}, "must not be above the second"),
        (LYDROO, {"noise": float("nan")}, "noise"),
        (LYDROO, {"weights": ()}, "weights"),
        (LYDROO, {"users": 3}, "users"),
    ],
)
def test_wrong_settings_are_refused(base, changes, message):
    with pytest.raises(ValidationError, match=message):
        FrameWorkload(**(base.model_dump() | changes))
