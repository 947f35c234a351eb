"""Trains a network to decide as another policy does: behaviour cloning and DAgger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from gymnasium.spaces import Discrete
from numpy.typing import NDArray
from stable_baselines3.sac.policies import Actor
from torch import nn

from ..agents.imitation import LOSSES, Demonstrations, demonstrate
from ..agents.networks import CandidateCategorical, CandidateScorer
from ..agents.policy import Policy
from ..agents.sac_continuous import ContinuousSAC, decide
from ..envs import Scenario, Simulator
from ..envs.core.simulator import Arrays
from ..errors import HetgymError
from .settings import ImitationSettings

LEAST_EXPLORATION = -2.0
"""Logarithm of the standard deviation that an actor explores with at first when it has imitated."""


@dataclass(frozen=True)
class Round:
    """What came of a round.

    Attributes:
        number: Which, from 0.
        share: Of the decisions that were the expert's.
        decisions: Demonstrations so far, in all rounds.
        hidden: Decisions so far that were left out because the expert's choice was not among the candidates.
        forced: Decisions so far that were left out because there was only one candidate.
        loss: Mean over the last epoch.
        agreement: Share of the demonstrations in which the network scored the expert's choice highest, over the last
            epoch.
    """

    number: int
    share: float
    decisions: int
    hidden: int
    forced: int
    loss: float
    agreement: float


def imitate(
    network: CandidateScorer,
    scenario: Scenario,
    expert: Policy,
    settings: ImitationSettings,
    seed: int,
    reward: str | None = None,
    gamma: float = 1.0,
    progress: Callable[[int], None] | None = None,
    after_round: Callable[[Round], None] | None = None,
) -> None:
    """Trains a network to decide as an expert does, in place.

    With a reactive expert this is DAgger (Ross, Gordon, Bagnell 2011, arXiv:1011.0686): it is asked what it would do
    in the situations that the network gets into, and the network is trained on the demonstrations of all rounds. An
    expert that is not reactive (`hetgym.agents.Policy`) is cloned: all rounds show its own way.

    Args:
        network: It decides by the scores; its values learn the returns of the episodes that were played.
        scenario: What is played.
        expert: Any policy that chooses among candidates.
        settings: How.
        seed: Of the first environment, and of all chance; environment i has seed + i.
        reward: One of the family's rewards, for the returns.
        gamma: Discount of the returns that values are trained on.
        progress: Called with the number of episodes that have just ended.
        after_round: Called after each round; it may look at the network.

    Raises:
        HetgymError: If a setting is not right, the scenario's face is continuous, the expert is for other
            environments, or none of its choices is among the candidates.
    """
    settings.check()
    simulator = scenario.simulator(min(settings.num_envs, settings.episodes), reward)
    if not isinstance(simulator.single_action_space, Discrete):
        raise HetgymError(f"scenario {scenario.name!r}: imitation chooses among candidates: its face is continuous")
    chance, order = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, settings.rounds * settings.epochs)
    parts: list[Demonstrations] = []
    for number in range(settings.rounds):
        share = settings.beta**number if getattr(expert, "reactive", True) else 1.0
        for _ in range(0, settings.episodes, simulator.num_envs):
            _begin(simulator, None if parts else seed)
            parts.append(demonstrate(network, simulator, expert, share, gamma, chance))
            if progress:
                progress(simulator.num_envs)
        parts = [Demonstrations.concatenate(parts)]
        for _ in range(settings.epochs):
            loss, agreement = _epoch(network, parts[0], settings, optimizer, order)
            schedule.step()
        if after_round:
            shown = parts[0]
            after_round(Round(number, share, len(shown), shown.hidden, shown.forced, loss, agreement))


def _begin(simulator: Simulator, seed: int | None) -> None:
    """Begins the first episodes of the seeds from one on, or the next."""
    if seed is None:
        simulator.reset_to_next()
    else:
        simulator.reset(np.arange(seed, seed + simulator.num_envs))


def _epoch(
    network: CandidateScorer,
    shown: Demonstrations,
    settings: ImitationSettings,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Passes over all demonstrations once; returns the mean loss, and how often the network agreed."""
    network.train()
    total, agreed = 0.0, 0
    weight = settings.value / max(shown.returns.square().mean().item(), 1e-8)
    order = torch.randperm(len(shown), generator=generator).to(shown.actions.device)
    for chosen in torch.split(order, settings.batch_size):
        situations = shown.situations.select(chosen)
        right = situations.rows_of(shown.actions[chosen])
        scores, values = network(situations)
        loss = LOSSES[settings.loss](scores, situations, right)
        total += loss.item() * len(chosen)
        agreed += int((CandidateCategorical(scores, situations).mode() == right).sum())
        if settings.value:
            loss = loss + weight * torch.nn.functional.mse_loss(values, shown.returns[chosen])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    network.eval()
    return total / len(shown), agreed / len(shown)


def imitate_continuous(
    model: ContinuousSAC, scenario: Scenario, expert: Policy, settings: ImitationSettings, seed: int
) -> float:
    """Trains an actor to do what an expert does, by regression in the situations that the actor itself gets into.

    It is DAgger (Ross, Gordon, Bagnell 2011, arXiv:1011.0686): the expert plays the first round, the actor the others;
    after each round the actor learns from what the expert would have done in all rounds. From then on it explores
    little (`LEAST_EXPLORATION`).

    Args:
        model: Whose actor is trained.
        scenario: What is played; its face is continuous.
        expert: Any policy.
        settings: How; read are `rounds`, `num_envs`, `epochs`, `batch_size` and `learning_rate`, which falls to 0 in
            each round. A round is an episode in each environment.
        seed: Of the first environment.

    Returns:
        The mean squared error of the last epoch.

    Raises:
        HetgymError: If a setting is not right, or the expert is for other environments.
    """
    settings.check()
    simulator = scenario.simulator(settings.num_envs)
    _begin(simulator, seed)
    actor, error = model.actor, float("nan")
    seen: list[Arrays] = []
    shown: list[NDArray[np.float64]] = []
    expert.reset(simulator)
    for number in range(settings.rounds):
        over = False
        while not over:
            observation = {name: array.copy() for name, array in simulator.observation.items()}
            actions = expert.act(observation, simulator)
            seen.append(observation)
            shown.append(actions)
            simulator.step(decide(actor, observation) if number else actions)
            ended = simulator.outcome["terminated"]
            over = bool(ended.any())
            simulator.restart(np.flatnonzero(ended))
        error = _regress(actor, seen, np.concatenate(shown), settings)
    with torch.no_grad():
        log_std = cast("nn.Linear", actor.log_std)
        log_std.weight.zero_()
        log_std.bias.fill_(LEAST_EXPLORATION)
    return error


def _regress(actor: Actor, seen: list[Arrays], shown: NDArray[np.float64], settings: ImitationSettings) -> float:
    """Fits an actor's deterministic action, and returns the mean squared error of the last epoch."""
    observations = {name: torch.from_numpy(np.concatenate([one[name] for one in seen])) for name in seen[0]}
    targets, squared = torch.from_numpy(shown).float(), 0.0
    optimizer = torch.optim.Adam(actor.parameters(), settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, settings.epochs)
    for _ in range(settings.epochs):
        squared = 0.0
        for rows in torch.randperm(len(targets)).split(settings.batch_size):  # type: ignore[no-untyped-call]
            chosen = {name: tensor[rows] for name, tensor in observations.items()}
            loss = nn.functional.mse_loss(actor(chosen, deterministic=True), targets[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            squared += loss.item() * len(rows)
        schedule.step()
    return squared / len(targets)
