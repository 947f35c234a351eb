"""Several scenarios side by side, as one ``VecEnv`` of stable-baselines3: for agents that learn from all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from ...errors import HetgymError
from .sb3 import SB3VecEnv, SharedVecEnv
from .simulator import Arrays


class PopulationVecEnv(SharedVecEnv):
    """Joins batches of different sizes: observations are padded to the largest, padding is masked.

    Environments lie part after part. Observations are live arrays, valid for one further step.

    Attributes:
        parts: The batches, each over a simulator of its own.
    """

    def __init__(self, parts: Sequence[SB3VecEnv]) -> None:
        """Joins the parts.

        Args:
            parts: Batches whose observations mean the same, each a dictionary with discrete actions.

        Raises:
            HetgymError: If they show different features.
        """
        self.parts = list(parts)
        schema = parts[0].simulator.schema.names()
        for part in parts:
            if part.simulator.schema.names() != schema or not isinstance(part.action_space, spaces.Discrete):
                raise HetgymError("scenarios: an agent can learn from several only if all show the same features")
        shown = [cast("spaces.Dict", part.observation_space) for part in parts]
        space = spaces.Dict({name: _widest([one[name] for one in shown]) for name in shown[0]})
        widest = max(int(cast("spaces.Discrete", part.action_space).n) for part in parts)
        num_envs = sum(part.num_envs for part in parts)
        self.render_mode = "rgb_array"
        self._ends = np.cumsum([part.num_envs for part in parts]).tolist()
        self._buffers = [_blank(space, num_envs), _blank(space, num_envs)]
        super().__init__(num_envs, space, spaces.Discrete(widest))

    def _rows(self) -> list[slice]:
        return [slice(end - part.num_envs, end) for part, end in zip(self.parts, self._ends, strict=True)]

    def _joined(self, batches: Sequence[VecEnvObs]) -> Arrays:
        """Writes the parts' observations into the buffer that was shown before the last one."""
        self._buffers.reverse()
        for rows, batch in zip(self._rows(), batches, strict=True):
            for name, array in cast("Arrays", batch).items():
                _copy_into(self._buffers[0][name][rows], array)
        return self._buffers[0]

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds environment i with seed + i at the next reset."""
        for part, rows in zip(self.parts, self._rows(), strict=True):
            part.seed(None if seed is None else seed + rows.start)
        return super().seed(seed)

    def reset(self) -> VecEnvObs:
        """Begins an episode in every environment."""
        observation = self._joined([part.reset() for part in self.parts])
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return observation

    def resume(self) -> VecEnvObs:
        """Returns the current observation of simulators whose states were loaded, without a reset."""
        return self._joined([part.resume() for part in self.parts])

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keeps the actions for `step_wait`."""
        for part, rows in zip(self.parts, self._rows(), strict=True):
            part.step_async(actions[rows])

    def step_wait(self) -> VecEnvStepReturn:
        """Takes one decision in every environment; ended episodes are followed by the next."""
        batches, rewards, dones, infos = zip(*(part.step_wait() for part in self.parts), strict=True)
        together = [info for part in infos for info in part]
        for info in together:
            if "terminal_observation" in info:
                info["terminal_observation"] = self._padded(info["terminal_observation"])
        return self._joined(batches), np.concatenate(rewards), np.concatenate(dones), together

    def _padded(self, observation: Arrays) -> Arrays:
        padded = {name: np.zeros(array.shape[1:], array.dtype) for name, array in self._buffers[0].items()}
        for name, array in observation.items():
            _copy_into(padded[name], array)
        return padded

    def action_masks(self) -> NDArray[np.bool_]:
        """Returns what is allowed now, bool (B, A)."""
        masks = np.zeros((self.num_envs, int(cast("spaces.Discrete", self.action_space).n)), np.bool_)
        for part, rows in zip(self.parts, self._rows(), strict=True):
            _copy_into(masks[rows], part.action_masks())
        return masks


def _widest(boxes: Sequence[Any]) -> spaces.Box:
    """Returns a space that holds observations of all of some spaces, padded with zeros."""
    shape = np.max([box.shape for box in boxes], axis=0)
    low = min(float(box.low.min()) for box in boxes)
    high = max(float(box.high.max()) for box in boxes)
    return spaces.Box(low, high, tuple(shape.tolist()), boxes[0].dtype)


def _blank(space: spaces.Dict, num_envs: int) -> Arrays:
    return {name: np.zeros((num_envs, *(box.shape or ())), box.dtype) for name, box in space.items()}


def _copy_into(room: NDArray[Any], array: NDArray[Any]) -> None:
    """Copies an array into the lower corner of one that is at least as large; the rest stays as it is: zeros."""
    room[tuple(slice(size) for size in array.shape)] = array
