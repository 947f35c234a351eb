"""The stable-baselines3 face: a ``VecEnv`` over one simulator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices, VecEnvObs, VecEnvStepReturn

from .presentation import Presentation, each_row, rows_of
from .simulator import Simulator
from .single import SEED_LIMIT, given_instance, picture


class SharedVecEnv(VecEnv):
    """What ``VecEnv`` asks for, where environments are rows of simulators and have nothing of their own."""

    def close(self) -> None:
        """Does nothing: there is nothing to close."""

    def has_attr(self, attr_name: str) -> bool:
        """Whether the environments have an attribute."""
        return hasattr(self, attr_name)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns the joint attribute once for each environment."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refuses: the environments are rows of one simulator and have no attributes of their own."""
        raise AttributeError(f"{attr_name}: environments that share a simulator have no attributes of their own")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Returns each environment's share of what a method of the adapter returns for all."""
        result = getattr(self, method_name)(*args, **kwargs)
        return [result[index] for index in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Returns that no environment is wrapped."""
        return [False for _ in self._get_indices(indices)]


class SB3VecEnv(SharedVecEnv):
    """Many environments over one simulator, as stable-baselines3 takes them.

    Observations are live arrays, valid for one further step, which is what SB3's buffers need; terminal
    observations are fresh arrays. ``infos`` of an ended episode hold ``terminal_observation``, ``metrics`` and
    SB3's ``episode`` record.

    Attributes:
        simulator: The batch.
    """

    def __init__(self, simulator: Simulator, observation: str = "dict") -> None:
        """Prepares the face.

        Args:
            simulator: What it shows.
            observation: ``dict`` or ``flat``.
        """
        self.simulator = simulator
        self.render_mode = "rgb_array"
        self._presentation = Presentation(simulator, observation)
        self._seed_known = False
        self._actions: NDArray[Any] = np.zeros(simulator.num_envs, np.int64)
        super().__init__(simulator.num_envs, self._presentation.single_space, simulator.single_action_space)

    def reset(self) -> VecEnvObs:
        """Begins an episode in every environment: episode 0 of the seeds of `seed`, or the next.

        Raises:
            HetgymError: If `set_options` gave an instance to some environments but not to all.
        """
        instances = [given_instance(options) for options in self._options]
        given = None if all(instance is None for instance in instances) else instances
        if self._seed_known and self._seeds[0] is None:
            self.simulator.reset_to_next(given)
        else:
            drawn = np.random.default_rng().integers(SEED_LIMIT, size=self.num_envs).tolist()
            seeds = [new if old is None else old for old, new in zip(self._seeds, drawn, strict=True)]
            self.simulator.reset(seeds, given)
            self._seed_known = True
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return self._presentation.batch()

    def resume(self) -> VecEnvObs:
        """Returns the current observation of a simulator whose state was loaded, without a reset."""
        self._seed_known = True
        return self._presentation.batch()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keeps the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Takes one decision in every environment; ended episodes are followed by the next."""
        simulator = self.simulator
        noteworthy = simulator.step(self._actions)
        outcome = simulator.outcome
        reward, done = outcome["reward"].astype(np.float32), outcome["terminated"].copy()
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if noteworthy:
            self._note(infos)
            simulator.restart(np.flatnonzero(done))
        return self._presentation.batch(), reward, done, infos

    def _note(self, infos: list[dict[str, Any]]) -> None:
        """Writes down what was not allowed, and what has ended."""
        simulator, outcome = self.simulator, self.simulator.outcome
        for row in np.flatnonzero(outcome["invalid_action"]).tolist():
            infos[row]["invalid_action"] = True
        rows = np.flatnonzero(outcome["terminated"])
        if rows.size:
            final, metrics = each_row(rows_of(self._presentation.batch(), rows)), simulator.metrics(rows)
            for position, row in enumerate(rows.tolist()):
                infos[row] |= {
                    "terminal_observation": final[position],
                    "TimeLimit.truncated": False,
                    "metrics": {name: float(values[position]) for name, values in metrics.items()},
                    "episode": {
                        "r": float(outcome["episode_return"][row]),
                        "l": int(outcome["episode_length"][row]),
                    },
                }

    def action_masks(self) -> NDArray[np.bool_]:
        """Returns what is allowed now, bool (B, A)."""
        mask: NDArray[np.bool_] = self.simulator.observation["action_mask"].astype(np.bool_)
        return mask

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Returns a picture of each environment's episode so far."""
        return [picture(self.simulator, row) for row in range(self.num_envs)]
