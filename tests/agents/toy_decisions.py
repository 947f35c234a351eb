"""Small deterministic decision problems in the shape of a family's observation, and their optima by iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from hetgym.envs import Feature, ObservationSchema

END = -1
"""The state after the last decision."""


@dataclass(frozen=True)
class Toy:
    """What each action gives in each state and where it leads, (S, A) each, and whether it is allowed."""

    rewards: NDArray[np.float64]
    next_states: NDArray[np.int64]
    allowed: NDArray[np.bool_]

    @property
    def schema(self) -> ObservationSchema:
        states, actions = self.allowed.shape
        return ObservationSchema(
            candidates=tuple(Feature(f"action_{action}", "one-hot") for action in range(actions)),
            context=tuple(Feature(f"state_{state}", "one-hot") for state in range(states)),
        )

    def values(self, gamma: float, temperature: float = 0.0) -> NDArray[np.float64]:
        """Returns the optimal (soft) value of each action in each state, -inf where it is not allowed."""
        values = np.zeros(len(self.allowed))
        for _ in range(1_000):
            following = np.where(self.next_states == END, 0, values[self.next_states])
            action_values = np.where(self.allowed, self.rewards + gamma * following, -np.inf)
            best = action_values.max(axis=1)
            values = best
            if temperature > 0:
                values = best + temperature * np.log(np.exp((action_values - best[:, None]) / temperature).sum(axis=1))
        return action_values


def random_toy(states: int, actions: int, masked: bool, seed: int = 2) -> Toy:
    """Returns a problem that ends after at most as many decisions as it has states.

    Where it is masked, the best action of most states is not allowed, and one state allows a single action.
    """
    random = np.random.default_rng(seed)
    rewards = random.uniform(-1, 1, (states, actions))
    later = np.arange(states)[:, None] + random.integers(1, 3, (states, actions))
    toy = Toy(rewards, np.where(later < states, later, END), np.ones((states, actions), bool))
    if masked:
        best = toy.values(gamma=1.0).argmax(axis=1)
        toy.allowed[np.arange(0, states - 1), best[:-1]] = False
        toy.allowed[1] = np.arange(actions) == (best[1] + 1) % actions
    return toy


class ToyVecEnv(VecEnv):
    """Environment i begins its first episode in state i, and each further episode in the next state.

    An episode is cut short after `limit` decisions.
    """

    def __init__(self, toy: Toy, num_envs: int, limit: int = 1_000) -> None:
        self.toy = toy
        self.limit = limit
        self.render_mode = None
        states, actions = toy.allowed.shape
        self.begun = np.arange(num_envs) % states
        self.states = self.begun.copy()
        self.lengths = np.zeros(num_envs, np.int64)
        shown = {
            "candidates": spaces.Box(0, 1, (actions, actions), np.float32),
            "action_mask": spaces.Box(0, 1, (actions,), np.int8),
            "context": spaces.Box(0, 1, (states,), np.float32),
        }
        super().__init__(num_envs, spaces.Dict(shown), spaces.Discrete(actions))

    def observe(self, states: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Returns the observations of states; the end allows nothing."""
        num_states, actions = self.toy.allowed.shape
        live = states != END
        return {
            "candidates": np.broadcast_to(np.eye(actions, dtype=np.float32), (len(states), actions, actions)).copy(),
            "action_mask": (self.toy.allowed[states] & live[:, None]).astype(np.int8),
            "context": (np.eye(num_states, dtype=np.float32)[states] * live[:, None]).astype(np.float32),
        }

    def reset(self) -> dict[str, NDArray[Any]]:
        self.states[:] = self.begun
        self.lengths[:] = 0
        return self.observe(self.states)

    def step_async(self, actions: NDArray[np.int64]) -> None:
        self.actions = actions

    def step_wait(self) -> Any:
        assert self.toy.allowed[self.states, self.actions].all(), "a masked action was taken"
        rewards = self.toy.rewards[self.states, self.actions].astype(np.float32)
        self.states = self.toy.next_states[self.states, self.actions]
        self.lengths += 1
        over = self.states == END
        truncated = ~over & (self.lengths >= self.limit)
        done = over | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        last = self.observe(self.states)
        for row in np.flatnonzero(done).tolist():
            infos[row] = {
                "terminal_observation": {name: array[row] for name, array in last.items()},
                "TimeLimit.truncated": bool(truncated[row]),
            }
        self.begun[done] = (self.begun[done] + 1) % len(self.toy.allowed)
        self.states[done] = self.begun[done]
        self.lengths[done] = 0
        return self.observe(self.states), rewards, done, infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(attr_name)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise AttributeError(method_name)

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        return [False] * self.num_envs

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        return [None] * self.num_envs
