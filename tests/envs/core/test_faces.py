"""The vector face and the SB3 face show the same episodes as single environments."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray
from sb3_contrib.common.maskable.utils import get_action_masks

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.agents.heuristics.list_schedulers import heft
from hetgym.envs import TaskGraphScenario, make_sb3
from hetgym.envs.core.sb3 import SB3VecEnv
from hetgym.envs.core.simulator import Arrays
from hetgym.envs.core.vector import BatchedEnv
from hetgym.envs.task_graph.instance import Instance
from hetgym.workloads import RandomGraphs, TaskGraph, random_task_graph

ENV = "hetgym/TaskGraphPlan-v0"
SEED = 11
SCENARIO = TaskGraphScenario(name="small", workload=RandomGraphs(num_tasks=6, num_devices=3), ready_window=2, pool=3)
GRAPHS = [random_task_graph(num_tasks=size, num_devices=3, seed=size) for size in (2, 3, 5)]
"""Of unlike sizes, so that the episodes of a batch end at unlike times."""


def make_vec(num_envs: int, **arguments: Any) -> BatchedEnv:
    env = gymnasium.make_vec(
        ENV, num_envs=num_envs, vectorization_mode="vector_entry_point", scenario=SCENARIO, **arguments
    )
    assert isinstance(env, BatchedEnv)
    return env


def make_single(**arguments: Any) -> gymnasium.Env[Any, Any]:
    return gymnasium.make(ENV, scenario=SCENARIO, **arguments).unwrapped


def copied(observation: Arrays) -> Arrays:
    return {name: array.copy() for name, array in observation.items()}


def bits(observation: Arrays) -> dict[str, tuple[str, bytes]]:
    return {name: (array.dtype.str, array.tobytes()) for name, array in observation.items()}


def allowed(mask: NDArray[Any], chance: np.random.Generator) -> NDArray[np.int64]:
    return np.array([chance.choice(np.flatnonzero(row)) for row in mask])


def mostly_allowed(mask: NDArray[Any], chance: np.random.Generator) -> NDArray[np.int64]:
    return np.where(
        chance.random(len(mask)) < 0.3, chance.integers(mask.shape[1], size=len(mask)), allowed(mask, chance)
    )


class FirstGiven(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Plays a given instance when it is seeded, and what comes next afterwards."""

    def __init__(self, env: gymnasium.Env[Any, Any], graph: TaskGraph) -> None:
        super().__init__(env)
        self.graph = graph

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=seed, options=options if seed is None else {"instance": self.graph})


def sync_of_singles() -> SyncVectorEnv:
    def maker(graph: TaskGraph) -> Callable[[], gymnasium.Env[Any, Any]]:
        return lambda: FirstGiven(gymnasium.make(ENV, scenario=SCENARIO), graph)

    return SyncVectorEnv([maker(graph) for graph in GRAPHS], autoreset_mode=AutoresetMode.SAME_STEP)


def assert_same(one: Any, other: Any) -> None:
    """Nested dictionaries, tuples and arrays, also of objects: same keys, types, shapes and numbers."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, tuple) or (isinstance(one, np.ndarray) and one.dtype == object):
        for entry, wanted in zip(one, other, strict=True):
            assert_same(entry, wanted)
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, strict=True)
    else:
        assert one == other


def test_vector_face_is_gymnasiums_own_over_singles() -> None:
    """Same observations, rewards, ends and infos, through several episodes and masked actions."""
    chance = np.random.default_rng(0)
    vector, sync = make_vec(3), sync_of_singles()
    assert vector.single_observation_space == sync.single_observation_space
    assert vector.observation_space == sync.observation_space
    assert vector.action_space == sync.action_space
    shown, info = vector.reset(seed=SEED, options={"instance": GRAPHS})
    assert_same((shown, info), sync.reset(seed=SEED))
    seen: set[str] = set()
    for _ in range(40):
        actions = mostly_allowed(vector.action_masks(), chance)
        result, wanted = vector.step(actions), sync.step(actions)
        assert_same(result, wanted)
        infos = result[-1]
        seen |= infos.keys() | {f"final {key}" for key in infos.get("final_info", {})}
    assert {"invalid_action", "final_obs", "final_info", "final metrics", "final invalid_action"} <= seen


def test_autoreset_mode_is_declared() -> None:
    assert make_vec(1).metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def trajectories(num_envs: int, seed: int, steps: int = 20) -> list[list[Any]]:
    """What each environment shows and gives, step by step, as bytes."""
    env, policy = make_vec(num_envs), make_policy("random")
    shown, _ = env.reset(seed=seed)
    kept: list[list[Any]] = [[] for _ in range(num_envs)]
    for _ in range(steps):
        actions = policy.act(shown, env.simulator)
        shown, reward, terminated, *_ = env.step(actions)
        for row, steps_of_row in enumerate(kept):
            observation = {name: array[row] for name, array in shown.items()}
            steps_of_row.append((actions[row], bits(observation), reward[row].tobytes(), terminated[row]))
    return kept


def test_batch_size_changes_nothing() -> None:
    of_64 = trajectories(64, SEED)
    assert len({str(steps) for steps in of_64}) == 64
    for first in (0, 7, 57):
        assert trajectories(7, SEED + first) == of_64[first : first + 7]
    for row in (0, 5, 63):
        assert trajectories(1, SEED + row) == of_64[row : row + 1]


def test_list_of_seeds_is_one_for_each() -> None:
    shown, _ = make_vec(3).reset(seed=[5, 1, 5])
    wanted = [make_single().reset(seed=seed)[0] for seed in (5, 1, 5)]
    for row in range(3):
        assert_same({name: array[row] for name, array in shown.items()}, wanted[row])


MISUSES = {
    "few actions": "vector.step(np.zeros(1, int))",
    "many actions": "vector.step(np.zeros(50_000_000, int))",
    "columns": "vector.step(np.zeros((2, 1), int))",
    "negative": "vector.reset(seed=-1)",
    "negative in list": "vector.reset(seed=[0, -1])",
    "negative for sb3": "hetgym.envs.make_sb3(env_id, 2, -1).reset()",
    "step before reset": "fresh.step(np.zeros(2, int))",
}


def test_misuse_is_refused() -> None:
    """In a process of its own: what compiled code does with wrong sizes and seeds can end the process."""
    program = f"""
import gymnasium, hetgym, hetgym.envs, numpy as np
env_id = {ENV!r}
vector, fresh = (gymnasium.make_vec(env_id, 2, "vector_entry_point") for _ in range(2))
vector.reset(seed=0)
for name, play in {MISUSES!r}.items():
    try:
        eval(play)
    except (hetgym.HetgymError, gymnasium.error.Error):
        print(name, flush=True)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stdout.splitlines() == list(MISUSES), result.stderr


def test_live_observation_is_valid_for_one_further_step() -> None:
    env, chance = make_vec(3), np.random.default_rng(0)
    shown, _ = env.reset(seed=SEED)
    history = [(shown, copied(shown))]
    for step in range(20):
        shown, *_ = env.step(allowed(env.action_masks(), chance)) if step != 9 else env.reset()
        history.append((shown, copied(shown)))
        assert bits(history[-2][0]) == bits(history[-2][1])
        for name, array in shown.items():
            assert not np.shares_memory(array, history[-2][0][name])
            assert step == 0 or np.shares_memory(array, history[-3][0][name])


@pytest.mark.parametrize("observation", ["dict", "flat"])
def test_copied_observation_is_valid_for_ever(observation: str) -> None:
    env, chance = make_vec(3, observation=observation, copy=True), np.random.default_rng(0)
    shown, _ = env.reset(seed=SEED)
    history = [(shown, pickled(shown))]
    for _ in range(20):
        shown, *_, infos = env.step(allowed(env.action_masks(), chance))
        history += [(shown, pickled(shown)), (infos, pickled(infos))]
    assert all(pickled(live) == kept for live, kept in history)


def pickled(values: Any) -> bytes:
    return pickle.dumps(values)


def test_rewards_and_infos_are_fresh() -> None:
    env, chance = make_vec(3), np.random.default_rng(0)
    env.reset(seed=SEED, options={"instance": GRAPHS})
    history: list[tuple[Any, bytes]] = []
    for _ in range(20):
        _, *rest = env.step(allowed(env.action_masks(), chance))
        history += [(part, pickled(part)) for part in rest]
    assert all(pickled(part) == kept for part, kept in history)


@pytest.mark.parametrize("copy", [False, True])
def test_single_face_copies_unless_told_otherwise(copy: bool) -> None:
    env = make_single(copy=copy)
    first, _ = env.reset(seed=SEED)
    kept = copied(first)
    env.step(1)
    assert bits(first) == bits(kept)
    env.step(1)
    assert (bits(first) == bits(kept)) is copy


def test_reset_without_seed_plays_the_next_episode() -> None:
    vector, single, chance = make_vec(1), make_single(), np.random.default_rng(0)
    shown, _ = vector.reset(seed=SEED)
    played = [bits(copied(shown))]
    for _ in range(12):
        shown, _, terminated, *_ = vector.step(allowed(vector.action_masks(), chance))
        played += [bits(copied(shown))] if terminated[0] else []
    again = [single.reset(seed=SEED), single.reset(), single.reset()]
    assert [bits(observation) for observation, _ in again] == played
    assert len({str(observation) for observation in played}) == 3


def test_first_reset_without_seed_is_by_chance() -> None:
    assert bits(make_vec(1).reset()[0]) != bits(make_vec(1).reset()[0])
    assert bits(make_single().reset()[0]) != bits(make_single().reset()[0])


@pytest.mark.parametrize("graph", [GRAPHS[0], Instance(GRAPHS[2], GRAPHS[2].default_platform())])
def test_given_instance_is_played(graph: TaskGraph | Instance) -> None:
    env, chance = make_single(), np.random.default_rng(0)
    shown, _ = env.reset(seed=SEED, options={"instance": graph})
    num_tasks = Instance.of(graph).graph.num_tasks
    assert shown["counts"][0] == 3 + num_tasks
    terminated, info = False, dict[str, Any]()
    while not terminated:
        shown, _, terminated, _, info = env.step(allowed(shown["action_mask"][None], chance)[0])
    assert len(env.get_wrapper_attr("episode")()) == num_tasks
    assert info["metrics"]["heft_makespan"] == heft().schedule(graph).makespan
    # Afterwards the seed's episodes go on as if the given one had been the first.
    assert bits(env.reset()[0]) == bits(episode_1())


def episode_1() -> Arrays:
    env = make_single()
    env.reset(seed=SEED)
    shown: Arrays = env.reset()[0]
    return shown


UNFIT = [
    pytest.param(random_task_graph(7, 3), "7 tasks", id="tasks"),
    pytest.param(random_task_graph(6, 4), "4 devices|cannot run|no device", id="devices"),
    pytest.param("heft-paper", "instance", id="name"),
]


@pytest.mark.parametrize(("graph", "message"), UNFIT)
def test_unfit_instance_is_refused(graph: Any, message: str) -> None:
    if isinstance(graph, TaskGraph):
        graph = Instance(graph, graph.default_platform())
    with pytest.raises(HetgymError, match=message):
        make_single().reset(options={"instance": graph})
    with pytest.raises(HetgymError, match=message):
        make_vec(2).reset(options={"instance": [GRAPHS[0], graph]})


def test_too_many_edges_are_refused() -> None:
    sparse = TaskGraphScenario(name="sparse", workload=RandomGraphs(num_tasks=12, num_devices=3, out_degree=1))
    edges = np.argwhere(np.triu(np.ones((12, 12)), 1)).T
    graph = TaskGraph("dense", ("p1", "p2", "p3"), np.ones((12, 3)), edges, np.ones(66))
    with pytest.raises(HetgymError, match="66 edges; the scenario has room for 24"):
        gymnasium.make(ENV, scenario=sparse).reset(options={"instance": graph})


def test_scenario_object_takes_overrides() -> None:
    env = gymnasium.make(ENV, scenario=SCENARIO, num_tasks=4, ready_window=3)
    shown, _ = env.reset(seed=0)
    assert shown["counts"][0] == 3 + 4
    assert len(shown["action_mask"]) == 1 + 3 * 3


def test_wrong_number_of_instances_is_refused() -> None:
    with pytest.raises(HetgymError, match="3 instances for 2"):
        make_vec(2).reset(options={"instance": GRAPHS})


def test_refused_instance_leaves_the_episode_as_it_was() -> None:
    env, twin, chance = make_vec(2), make_vec(2), np.random.default_rng(0)
    for one in (env, twin):
        one.reset(seed=SEED, options={"instance": GRAPHS[2]})
    for step in range(5):
        actions = allowed(twin.action_masks(), chance)
        assert_same(env.step(actions), twin.step(actions))
        if step == 2:
            with pytest.raises(HetgymError):
                env.reset(options={"instance": [GRAPHS[0], random_task_graph(7, 3)]})
            np.testing.assert_array_equal(env.action_masks(), twin.action_masks())


def make_sb3_small(num_envs: int, seed: int | None, **arguments: Any) -> SB3VecEnv:
    return make_sb3(ENV, num_envs, seed, scenario=SCENARIO, **arguments)


@pytest.mark.parametrize("observation", ["dict", "flat"])
def test_sb3_face_is_the_vector_face(observation: str) -> None:
    """Same observations, rewards and ends; terminal observations, metrics and masked actions in SB3's places."""
    sb3, vector = make_sb3_small(3, SEED, observation=observation), make_vec(3, observation=observation)
    chance = np.random.default_rng(0)
    assert_same(sb3.reset(), vector.reset(seed=SEED)[0])
    returns, lengths = np.zeros(3), np.zeros(3, int)
    kept: list[tuple[Any, bytes]] = []
    for _ in range(20):
        actions = mostly_allowed(sb3.action_masks(), chance)
        shown, reward, done, infos = sb3.step(actions)
        wanted, wanted_reward, terminated, _, wanted_infos = vector.step(actions)
        assert_same(shown, wanted)
        assert_same(reward, wanted_reward.astype(np.float32))
        assert_same(done, terminated)
        returns, lengths = returns + wanted_reward, lengths + 1
        for row, info in enumerate(infos):
            final = {} if not done[row] else wanted_infos["final_info"]
            invalid = (final if done[row] else wanted_infos).get("invalid_action", np.zeros(3))
            assert info.get("invalid_action", False) == invalid[row]
            assert ("terminal_observation" in info) == ("episode" in info) == ("metrics" in info) == done[row]
            if not done[row]:
                continue
            assert_same(info["terminal_observation"], wanted_infos["final_obs"][row])
            assert info["metrics"]["makespan"] == final["metrics"]["makespan"][row]
            assert info["episode"] == {"r": pytest.approx(returns[row]), "l": lengths[row]}
            assert info["TimeLimit.truncated"] is False
            returns[row], lengths[row] = 0.0, 0
            kept.append((info, pickled(info)))
    assert len(kept) >= 9
    assert all(pickled(info) == before for info, before in kept)


def test_sb3_face_gives_masks_as_sb3_contrib_asks() -> None:
    env = make_sb3_small(3, SEED)
    shown = env.reset()
    assert isinstance(shown, dict)
    masks = get_action_masks(env)
    assert masks.dtype == np.bool_
    np.testing.assert_array_equal(masks, shown["action_mask"] == 1)
    np.testing.assert_array_equal(env.env_method("action_masks", indices=[2, 0]), masks[[2, 0]])
    assert env.has_attr("action_masks")


def test_sb3_seeds() -> None:
    env = make_sb3_small(3, SEED)
    first = pickled(env.reset())
    following = pickled(env.reset())
    assert first == pickled(make_vec(3).reset(seed=SEED)[0])
    assert following != first
    env.seed(SEED)
    assert [pickled(env.reset()), pickled(env.reset())] == [first, following]
    assert pickled(make_sb3_small(3, None).reset()) != pickled(make_sb3_small(3, None).reset())


def test_sb3_observation_is_valid_for_one_further_step() -> None:
    env, chance = make_sb3_small(3, SEED), np.random.default_rng(0)
    before = env.reset()
    for _ in range(20):
        kept = pickled(before)
        shown, *_ = env.step(allowed(env.action_masks(), chance))
        assert pickled(before) == kept
        before = shown


def test_sb3_pictures() -> None:
    env = make_sb3_small(2, SEED)
    env.reset()
    assert [picture.dtype for picture in env.get_images() if picture is not None] == [np.uint8] * 2


def test_unknown_environment_is_refused() -> None:
    with pytest.raises(HetgymError, match=ENV):
        make_sb3("hetgym/Nothing-v0")
    with pytest.raises(HetgymError, match=r"observation 'tree'.*dict, flat"):
        make_sb3(ENV, observation="tree")


def test_sb3_face_plays_given_instances() -> None:
    env = make_sb3(ENV, 2, seed=0, num_tasks=6, num_devices=3)
    graph = random_task_graph(4, 3, seed=5)
    env.set_options({"instance": graph})
    assert env.reset()["counts"][:, 0].tolist() == [3 + 4, 3 + 4]
    assert env.reset()["counts"][:, 0].tolist() == [3 + 6, 3 + 6]
    env.set_options([{"instance": graph}, {}])
    with pytest.raises(HetgymError, match="instance"):
        env.reset()
