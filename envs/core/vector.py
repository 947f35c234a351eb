"""The Gymnasium face of many environments at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from ...errors import HetgymError
from .presentation import Presentation, copy_of, each_row, rows_of
from .scenario import Scenario, load_scenario
from .simulator import Simulator
from .single import SEED_LIMIT, check_render_mode, given_instance, picture


class BatchedEnv(VectorEnv[Any, Any, Any]):
    """Many environments over one simulator, without a Python loop over them.

    An episode that ends is followed by the next in the same step (``AutoresetMode.SAME_STEP``); ``infos`` then
    holds ``final_obs`` and ``final_info`` as Gymnasium names them. Observations are live arrays, valid for one
    further step, unless ``copy=True``.

    Attributes:
        scenario: What is played.
        simulator: The batch.
    """

    metadata = {  # noqa: RUF012 (Gymnasium declares it so)
        "render_modes": ["rgb_array"],
        "render_fps": 1,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        scenario: str | Path | Scenario,
        num_envs: int = 1,
        reward: str | None = None,
        observation: str = "dict",
        render_mode: str | None = None,
        copy: bool = False,
        **overrides: Any,
    ) -> None:
        """Prepares the environments; see the family's class."""
        if num_envs < 1:
            raise HetgymError(f"num_envs: must be at least 1 (given: {num_envs})")
        check_render_mode(render_mode)
        self.scenario = load_scenario(scenario, **overrides)
        self.simulator: Simulator = self.scenario.simulator(num_envs, reward)
        self.num_envs = num_envs
        self.render_mode = render_mode
        self._presentation = Presentation(self.simulator, observation)
        self._copy = copy
        self._seed_known = False
        self.single_observation_space = self._presentation.single_space
        self.single_action_space = self.simulator.single_action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def _observation(self) -> Any:
        batch = self._presentation.batch()
        return copy_of(batch) if self._copy else batch

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode in every environment.

        Args:
            seed: Environment i begins episode 0 of seed + i, or of its own entry of a list; without one, the next
                episode of its current seed.
            options: ``{"instance": ...}`` plays a given instance in all, or one of a list in each.
        """
        super().reset(seed=seed if isinstance(seed, int) else None)
        given = _instances(options, self.num_envs)
        if seed is None and self._seed_known:
            self.simulator.reset_to_next(given)
        else:
            if isinstance(seed, int):
                seeds = list(range(seed, seed + self.num_envs))
            else:
                drawn = self.np_random.integers(SEED_LIMIT, size=self.num_envs).tolist()
                chosen = seed if seed is not None else [None] * self.num_envs
                seeds = [new if old is None else old for old, new in zip(chosen, drawn, strict=True)]
            self.simulator.reset(seeds, given)
            self._seed_known = True
        return self._observation(), {}

    def step(
        self, actions: Any
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Takes one decision in every environment."""
        simulator = self.simulator
        noteworthy = simulator.step(actions)
        outcome = simulator.outcome
        reward, terminated = self._reward(), outcome["terminated"].copy()
        infos: dict[str, Any] = {}
        if noteworthy:
            infos = self._infos(terminated)
            simulator.restart(np.flatnonzero(terminated))
        return self._observation(), reward, terminated, np.zeros(self.num_envs, np.bool_), infos

    def _reward(self) -> Any:
        return self.simulator.outcome["reward"].copy()

    def _infos(self, done: NDArray[np.bool_]) -> dict[str, Any]:
        """Returns what `VectorEnv._add_info` would gather of single environments, without its loops."""
        invalid = self.simulator.outcome["invalid_action"]
        infos = _masked("invalid_action", invalid & ~done, invalid & ~done) if (invalid & ~done).any() else {}
        rows = np.flatnonzero(done)
        if not rows.size:
            return infos
        final = rows_of(self._presentation.batch(), rows)
        final_obs = np.full(self.num_envs, None, object)
        for row, observation in zip(rows.tolist(), each_row(final), strict=True):
            final_obs[row] = observation
        values = self.simulator.metrics(rows)
        spread, mask = np.zeros((len(values), self.num_envs)), done.copy()
        spread[:, rows] = list(values.values())
        metrics: dict[str, Any] = {}
        for name, of_all in zip(values, spread, strict=True):
            metrics[name], metrics[f"_{name}"] = of_all, mask
        final_info = _masked("metrics", metrics, done)
        if (invalid & done).any():
            final_info |= _masked("invalid_action", invalid & done, invalid & done)
        return infos | _masked("final_obs", final_obs, done) | _masked("final_info", final_info, done)

    def action_masks(self) -> NDArray[np.bool_]:
        """Returns what is allowed now, bool (B, A)."""
        mask: NDArray[np.bool_] = self.simulator.observation["action_mask"].astype(np.bool_)
        return mask

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Returns a picture of each environment's episode so far."""
        if self.render_mode is None:
            return None
        return tuple(picture(self.simulator, row) for row in range(self.num_envs))


def _masked(name: str, value: Any, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Returns an entry of a vector environment's infos with its mask, as Gymnasium names them."""
    return {name: value, f"_{name}": mask.copy()}


def _instances(options: dict[str, Any] | None, num_envs: int) -> list[Any] | None:
    given = given_instance(options)
    if given is None:
        return None
    if not isinstance(given, list | tuple):
        return [given] * num_envs
    if len(given) != num_envs:
        raise HetgymError(f"instance: {len(given)} instances for {num_envs} environments")
    return list(given)
