"""The Gymnasium face of one environment: a batch of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ...errors import HetgymError, unknown_name
from .presentation import Presentation, copy_of
from .scenario import Scenario, load_scenario
from .simulator import Simulator

if TYPE_CHECKING:
    import pandas as pd

SEED_LIMIT = 2**31


class SingleEnv(gymnasium.Env[Any, Any]):
    """One environment over a simulator; the families' classes say what is simulated.

    Attributes:
        scenario: What is played.
        simulator: The batch of one.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012 (Gymnasium declares it so)

    def __init__(
        self,
        scenario: str | Path | Scenario,
        reward: str | None = None,
        observation: str = "dict",
        render_mode: str | None = None,
        copy: bool = True,
        **overrides: Any,
    ) -> None:
        """Prepares the environment; see the family's class."""
        check_render_mode(render_mode)
        self.scenario = load_scenario(scenario, **overrides)
        self.simulator: Simulator = self.scenario.simulator(1, reward)
        self.render_mode = render_mode
        self._presentation = Presentation(self.simulator, observation)
        self._copy = copy
        self._seed_known = False
        self.action_space = self.simulator.single_action_space
        self._actions = np.zeros((1, *(self.action_space.shape or ())), np.int64)
        if isinstance(self.action_space, spaces.Box):
            self._actions = self._actions.astype(np.float64)
        self._outcome = self.simulator.outcome[0]  # live
        self.observation_space = self._presentation.single_space

    def _observation(self) -> Any:
        observation = self._presentation.first()
        return copy_of(observation) if self._copy else observation

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode.

        Args:
            seed: Begins episode 0 of this seed; without one, the next episode of the current seed.
            options: ``{"instance": ...}`` plays a given instance.
        """
        super().reset(seed=seed)
        instance = given_instance(options)
        given = None if instance is None else [instance]
        if seed is None and self._seed_known:
            self.simulator.reset_to_next(given)
        else:
            self.simulator.reset([int(self.np_random.integers(SEED_LIMIT)) if seed is None else seed], given)
            self._seed_known = True
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Takes one decision; a masked action executes the lowest-index allowed one."""
        self._actions[0] = action
        terminated = False
        info: dict[str, Any] = {}
        if self.simulator.step(self._actions):
            terminated = bool(self._outcome["terminated"])
            if self._outcome["invalid_action"]:
                info["invalid_action"] = True
            if terminated:
                info["metrics"] = self.simulator.metrics_of(0)
        return self._observation(), self._reward(), terminated, False, info

    def _reward(self) -> Any:
        return float(self._outcome["reward"])

    def action_masks(self) -> NDArray[np.bool_]:
        """Returns what is allowed now, bool (A,), as sb3-contrib asks for it."""
        mask: NDArray[np.bool_] = self.simulator.observation["action_mask"][0].astype(np.bool_)
        return mask

    def episode(self) -> pd.DataFrame:
        """Returns what the episode has decided so far, as a table."""
        return self.simulator.episode(0)

    def render(self) -> NDArray[np.uint8] | None:
        """Returns a picture of the episode so far, uint8 (height, width, 3)."""
        if self.render_mode is None:
            return None
        return picture(self.simulator, 0)


def check_render_mode(render_mode: str | None) -> None:
    """Checks a render mode.

    Raises:
        HetgymError: If it is none that the environments have.
    """
    if render_mode not in (None, "rgb_array"):
        raise HetgymError(f"render_mode: must be None or 'rgb_array' (given: {render_mode!r})")


def given_instance(options: dict[str, Any] | None) -> Any:
    """Returns what ``reset`` was asked to play, None for nothing in particular.

    Raises:
        HetgymError: If there are other options.
    """
    unknown = sorted(set(options or {}) - {"instance"})
    if unknown:
        raise unknown_name("option of reset", unknown[0], ["instance"])
    return (options or {}).get("instance")


def picture(simulator: Simulator, row: int) -> NDArray[np.uint8]:
    """Returns a figure of one episode as pixels, uint8 (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(simulator.figure(row))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
