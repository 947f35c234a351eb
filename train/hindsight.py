"""Rewards by what turns out: for training alone, where luck would drown what a decision was worth."""

from __future__ import annotations

import numpy as np
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from ..envs import Scenario
from ..envs.core.sb3 import SB3VecEnv
from ..envs.task_graph.scenario import TaskGraphScenario
from ..envs.task_graph.simulator import TaskGraphSimulator
from ..errors import HetgymError


class HindsightVecEnv(SB3VecEnv):
    """Shows what is known, and rewards a decision by what turns out.

    A twin of the simulator plays the same graphs with the same luck and takes the same decisions, but knows the
    realised durations. Its lower bound on the makespan is that of the episode's luck, so a decision costs what it lost,
    and nothing for tasks that merely take long. An episode returns -(makespan - what no decision changes) / HEFT
    makespan, as it does without a twin: what is best stays the same, and returns vary less. As in asymmetric
    actor-critic (Pinto et al. 2017, arXiv:1710.06542), what only training knows is kept from who decides.

    Attributes:
        twin: The simulator that knows.
    """

    simulator: TaskGraphSimulator

    def __init__(self, simulator: TaskGraphSimulator, twin: TaskGraphSimulator) -> None:
        """Prepares the face.

        Args:
            simulator: What it shows.
            twin: Of the same scenario and batch size, with the information ``exact``.
        """
        super().__init__(simulator)
        self.twin = twin
        twin.observes = False

    @classmethod
    def of(cls, scenario: Scenario, num_envs: int, reward: str | None = None) -> HindsightVecEnv:
        """Returns so many environments of a scenario.

        Args:
            scenario: Of task graphs in Dispatch.
            num_envs: B.
            reward: ``lower-bound``, the default.

        Raises:
            HetgymError: If luck plays no part in the scenario, its durations are known already, or the reward does not
                depend on what is known.
        """
        if not (
            isinstance(scenario, TaskGraphScenario) and scenario.mode == "dispatch" and scenario.metric == "makespan"
        ):
            raise HetgymError(f"hindsight: needs task graphs in mode 'dispatch', no stream (given: {scenario.name!r})")
        if scenario.information != "expected":
            raise HetgymError(f"hindsight: needs information 'expected' (given: {scenario.information!r})")
        if reward not in (None, "lower-bound"):
            raise HetgymError(f"hindsight: needs the reward 'lower-bound', of which it is a form (given: {reward!r})")
        knowing = scenario.model_copy(update={"information": "exact"})
        return cls(scenario.simulator(num_envs), knowing.simulator(num_envs))

    def reset(self) -> VecEnvObs:
        """Begins an episode in every environment and its twin."""
        observation = super().reset()
        self.twin.seeds[:] = self.simulator.seeds
        self.twin.episodes[:] = self.simulator.episodes - 1
        self.twin.reset_to_next()
        return observation

    def step_wait(self) -> VecEnvStepReturn:
        """Takes one decision in every environment and its twin; ended episodes are followed by the next."""
        unit = self.simulator.state.status["makespan_unit"].copy()
        self.twin.step(self.simulator.names_of(self._actions))
        observation, _, ended, infos = super().step_wait()
        # The twin's unit is the HEFT makespan of what turns out.
        reward = self.twin.outcome["reward"] * self.twin.state.status["makespan_unit"] / unit
        self.twin.restart(np.flatnonzero(ended))
        return observation, reward.astype(np.float32), ended, infos
