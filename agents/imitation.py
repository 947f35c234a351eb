"""Imitation: what an expert does in many situations, and how far a network is from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs import Simulator
from ..envs.core.simulator import Arrays
from ..errors import HetgymError
from .learned import greedy
from .networks import CandidateBatch, CandidateCategorical, CandidateScorer
from .networks.segments import segment_sum
from .policy import Policy

MARGIN = 1.0
"""By how much an expert's choice should be scored above each other candidate (``ranking``)."""

Loss = Callable[[Tensor, CandidateBatch, Tensor], Tensor]
"""Of scores, float32 (C,), the situations, and the row of each one's right candidate, int64 (B,)."""


def cross_entropy(scores: Tensor, batch: CandidateBatch, chosen: Tensor) -> Tensor:
    """Returns minus the mean log-probability of the experts' choices among what is allowed."""
    return -CandidateCategorical(scores, batch).log_probability.index_select(0, chosen).mean()


def ranking(scores: Tensor, batch: CandidateBatch, chosen: Tensor) -> Tensor:
    """Returns by how much other candidates come nearer than `MARGIN` to the experts' choices, on average.

    The pairwise hinge of RankSVM (Joachims 2002, doi:10.1145/775047.775067); all situations weigh the same, and each
    has two candidates or more.
    """
    short = torch.relu(MARGIN - scores.index_select(0, chosen).index_select(0, batch.situation) + scores)
    # A choice is as near as can be to itself.
    others = segment_sum(short, batch.situation, len(batch.num_candidates)) - MARGIN
    return (others / (batch.num_candidates - 1)).mean()


LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "ranking": ranking}
"""By name."""


@dataclass(frozen=True)
class Demonstrations:
    """What an expert does in D situations, each with two candidates or more.

    Attributes:
        situations: As a network reads them.
        actions: int64 (D,), the candidates that the expert takes.
        returns: float32 (D,), the discounted rewards from there to the end of the episode that was played.
        hidden: Further decisions, which were left out because the expert's choice was not among the candidates.
        forced: Further decisions, which were left out because there was only one candidate.
    """

    situations: CandidateBatch
    actions: Tensor
    returns: Tensor
    hidden: int
    forced: int

    def __len__(self) -> int:
        """Returns D."""
        return len(self.actions)

    @classmethod
    def concatenate(cls, parts: Sequence[Demonstrations]) -> Demonstrations:
        """Returns all demonstrations, in order."""
        return cls(
            CandidateBatch.concatenate([part.situations for part in parts]),
            torch.cat([part.actions for part in parts]),
            torch.cat([part.returns for part in parts]),
            sum(part.hidden for part in parts),
            sum(part.forced for part in parts),
        )


def demonstrate(
    network: CandidateScorer,
    simulator: Simulator,
    expert: Policy,
    share: float,
    gamma: float,
    chance: np.random.Generator,
) -> Demonstrations:
    """Plays the episodes that have just begun to their ends, and asks an expert in every situation what it would do.

    All decisions are played by the scenario's rules, whatever the expert's are: that is how the network will play.
    Each decision is the expert's with a probability, and else the network's (DAgger: Ross, Gordon, Bagnell 2011,
    arXiv:1011.0686); where all are the expert's this is behaviour cloning.

    Args:
        network: The learner; it takes the candidate that it scores highest.
        simulator: The episodes.
        expert: Who is asked.
        share: Probability that a decision is the expert's.
        gamma: Discount of the returns.
        chance: Whose decision each one is.

    Raises:
        HetgymError: If the expert is for other environments, or nothing can be learned from it.
    """
    expert.reset(simulator)
    simulator.restore_rules()
    recorder = _Recorder(network)
    live = np.arange(simulator.num_envs)
    while live.size:
        observation = simulator.observation
        actions = expert.act(observation, simulator)
        recorder.record(_rows(observation, live), live, simulator.candidates_of(actions)[live])
        own = live[chance.random(live.size) >= share]
        if own.size:
            actions[own] = greedy(network, _rows(observation, own))
        simulator.step(actions)
        recorder.reward(live, simulator.outcome["reward"])
        live = live[~simulator.outcome["terminated"][live]]
    return recorder.demonstrations(expert, gamma)


def _rows(observation: Arrays, rows: NDArray[np.int64]) -> Arrays:
    return {name: array[rows] for name, array in observation.items()}


class _Recorder:
    """Keeps what an expert chose and what was gained, step by step."""

    def __init__(self, network: CandidateScorer) -> None:
        self._network = network
        self._device = next(network.parameters()).device
        self._situations: list[CandidateBatch] = []
        self._actions: list[NDArray[np.int64]] = []
        self._places: list[tuple[int, NDArray[np.int64]]] = []
        self._rewards: list[NDArray[np.float64]] = []
        self._hidden = self._forced = 0

    def record(self, observation: Arrays, live: NDArray[np.int64], candidates: NDArray[np.int64]) -> None:
        """Keeps what can be learned from a step of the episodes that go on."""
        is_forced = observation["action_mask"].sum(axis=1) == 1
        is_hidden = ~is_forced & (candidates < 0)
        self._forced += int(is_forced.sum())
        self._hidden += int(is_hidden.sum())
        useful = np.flatnonzero(~is_forced & ~is_hidden)
        if useful.size:
            shown = {name: torch.from_numpy(array[useful]) for name, array in observation.items()}
            self._situations.append(self._network.read({name: array.to(self._device) for name, array in shown.items()}))
            self._actions.append(candidates[useful])
            self._places.append((len(self._rewards), live[useful]))

    def reward(self, live: NDArray[np.int64], rewards: NDArray[np.float64]) -> None:
        """Keeps what a step gave the episodes that went on."""
        gained = np.zeros(len(rewards))
        gained[live] = rewards[live]
        self._rewards.append(gained)

    def demonstrations(self, expert: Policy, gamma: float) -> Demonstrations:
        """Returns what was kept.

        Raises:
            HetgymError: If that is nothing.
        """
        if not self._situations:
            raise HetgymError(
                f"policy {expert.name!r}: nothing can be learned from it here: {self._forced:,} decisions have one "
                f"candidate, and {self._hidden:,} of its choices are not among the candidates that an agent is shown"
            )
        returns = np.array(self._rewards)
        for step in range(len(returns) - 2, -1, -1):
            returns[step] += gamma * returns[step + 1]
        followed = np.concatenate([returns[step, rows] for step, rows in self._places])
        return Demonstrations(
            CandidateBatch.concatenate(self._situations),
            torch.from_numpy(np.concatenate(self._actions)).to(self._device),
            torch.from_numpy(followed.astype(np.float32)).to(self._device),
            self._hidden,
            self._forced,
        )
