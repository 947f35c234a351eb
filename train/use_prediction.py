"""Trains the network that predicts which experts will be used soon, on the routing of a scenario."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..agents.card import find_last, load_card
from ..agents.checkpoint import load_weights, save_checkpoint, saved_training
from ..agents.heuristics.caching.use_filter import OBSERVED, observations
from ..agents.learner import load_optimizer_state, optimizer_state, part
from ..agents.network_settings import NetworkSettings
from ..agents.use_predictor import ALGORITHM, UseNetwork, UsePredictor, find_relatives
from ..envs.expert_cache.instance import Instance
from ..envs.expert_cache.scenario import ExpertCacheScenario
from ..envs.expert_cache.simulator import ExpertCacheSimulator
from .checks import check_unchanged
from .environments import TRAINING_SEED
from .recorder import HELD_OUT_SEED, make_card, read_curve, write_curve
from .settings import FOLDS, UsePredictionSettings

ELSEWHERE = ("output", "resume", "updates", "threads")
"""Settings that a resumed run may change; with other updates its learning rate falls otherwise from then on."""

_WARM_UP = 5
_LARGEST_GRADIENT = 1.0


def parts(scenario: ExpertCacheScenario, folds: set[int]) -> list[Instance]:
    """Returns the requests of a recording that are in some of its parts, an instance each.

    Args:
        scenario: Of a recording.
        folds: Which parts; request r is in part (r // 5) % 5.
    """
    recording = scenario.workload.trace(0, 0)
    chosen = [request for request in recording.request_ids.tolist() if request // FOLDS % FOLDS in folds]
    return [scenario.build(recording.select([request])) for request in chosen]


def discounted_uses(share: Tensor, discount: float) -> Tensor:
    """Returns what is to be predicted: sum over i of (1 - discount) discount^(i - 1) (1 if used i steps ahead else 0).

    Args:
        share: (S, L, E), above 0 where an expert is used in a step.
        discount: From 0, for the next step alone, to below 1.
    """
    uses = torch.zeros_like(share)
    for step in range(len(share) - 2, -1, -1):
        uses[step] = (1 - discount) * (share[step + 1] > 0) + discount * uses[step + 1]
    return uses


def train_use_predictor(
    settings: UsePredictionSettings, progress: Callable[[int, dict[str, float]], None] | None = None
) -> Path:
    """Trains the network of a cache policy.

    The loss is the cross-entropy of the discounted uses of every expert after every step: "used within the next steps"
    is what pays, not the time of the next use (arXiv:2608.07911). Uses do not depend on the cache: nothing is played.

    Args:
        settings: What, and for how long.
        progress: Called after each update with the updates done and the latest numbers.

    Returns:
        The run's folder: ``best`` and ``last`` are checkpoints, ``curve.csv`` the results on held-out episodes.

    Raises:
        HetgymError: If a setting is not right, or there is nothing to resume.
    """
    settings.check()
    scenario = settings.load_scenario()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    observed, wanted, counts = _examples(_training_instances(settings, scenario), settings)
    share = observed[..., OBSERVED.index("share")]
    network = UseNetwork(
        *find_relatives(share), settings.width, settings.hidden, scenario.top_k / scenario.items.num_experts
    )
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate)
    recorder = _Recorder(settings, scenario, network, optimizer)
    done = recorder.resume(find_last(settings.output)) if settings.resume else 0
    for update in range(done, settings.updates):
        optimizer.param_groups[0]["lr"] = _learning_rate(settings, update)
        chosen = torch.randperm(len(observed))[: settings.batch_size]
        loss = nn.functional.binary_cross_entropy_with_logits(
            network(observed[chosen]), wanted[chosen], counts[chosen].expand_as(wanted[chosen])
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT)
        optimizer.step()
        recorder.note(update + 1, loss.item())
        if progress:
            progress(update + 1, recorder.latest)
    return settings.output


def _learning_rate(settings: UsePredictionSettings, done: int) -> float:
    return settings.learning_rate * (min(1.0, (done + 1) / _WARM_UP) * (1 - done / settings.updates))


def _training_instances(settings: UsePredictionSettings, scenario: ExpertCacheScenario) -> list[Instance]:
    if not scenario.varies:
        return parts(scenario, set(range(FOLDS)) - {settings.fold, (settings.fold + 1) % FOLDS})
    first = TRAINING_SEED + settings.seed * 2**16
    return [scenario.instance(first + i, 0) for i in range(settings.traces)]


def _examples(instances: list[Instance], settings: UsePredictionSettings) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what is observed of the prompts of some instances, what is to be predicted, and whether it counts.

    Returns:
        (P, S, L, E, observed), (P, S, L, E) and (P, S, 1, 1): prompts that are shorter are filled up.
    """
    observed, wanted = [], []
    for instance in instances:
        steps = instance.batches // instance.items.num_layers
        for prompt in map(torch.from_numpy, np.split(observations(instance), steps[1:-1])):
            # What follows the last step is not known.
            uses = discounted_uses(prompt[..., OBSERVED.index("share")], settings.discount)[:-1]
            observed.append(prompt[:-1][: settings.window])
            wanted.append(uses[: settings.window])
    counts = [torch.ones(len(uses), 1, 1) for uses in wanted]
    pad = nn.utils.rnn.pad_sequence
    return pad(observed, batch_first=True), pad(wanted, batch_first=True), pad(counts, batch_first=True)


class _Recorder:
    """Evaluates on held-out episodes, and keeps the best and the last checkpoint."""

    def __init__(
        self, settings: UsePredictionSettings, scenario: ExpertCacheScenario, network: UseNetwork, optimizer: Optimizer
    ) -> None:
        self.latest: dict[str, float] = {}
        self._settings, self._scenario, self._network, self._optimizer = settings, scenario, network, optimizer
        self._curve: list[dict[str, float]] = []
        self._losses: list[float] = []
        self._held_out = None if scenario.varies else parts(scenario, {(settings.fold + 1) % FOLDS})
        count = len(self._held_out) if self._held_out else settings.held_out
        self._simulator: ExpertCacheSimulator = scenario.for_single_episodes().simulator(count)
        self._simulator.observes = self._simulator.logs = False

    def resume(self, last: Path) -> int:
        """Brings what has just been made to where a checkpoint was written, and returns the updates until then.

        Raises:
            HetgymError: If the run was started with other settings, or a file is broken.
        """
        card = load_card(last)
        check_unchanged(last, card, self._settings, ELSEWHERE)
        load_weights(self._network, last)
        with saved_training(last) as state:
            load_optimizer_state(self._optimizer, part(state, "optimizer"))
            torch.set_rng_state(state["torch_random"])
        self._curve = read_curve(self._settings.output, card.steps)
        return card.steps

    def note(self, update: int, loss: float) -> None:
        """Notes the loss of an update; from time to time it is an evaluation's turn."""
        self._losses.append(loss)
        if update % self._settings.evaluate_every == 0 or update == self._settings.updates:
            self._record(update)

    def _record(self, update: int) -> None:
        count = self._simulator.num_envs
        self._simulator.reset(range(HELD_OUT_SEED, HELD_OUT_SEED + count), self._held_out)
        UsePredictor(ALGORITHM, self._network.compiled()).replay(self._simulator)
        metrics = self._simulator.metrics(np.arange(count))
        self.latest = {
            "return": -float((metrics["stall"] / self._simulator.state.status["unit"]).mean()),
            "hit_rate": float(metrics["hit_rate"].mean()),
            "loss": float(np.mean(self._losses)),
        }
        self._losses = []
        best = max((point["hit_rate"] for point in self._curve), default=-np.inf)
        self._curve.append({"steps": update, **self.latest})
        output = self._settings.output
        card = make_card(
            self._settings,
            self._scenario,
            algorithm=ALGORITHM,
            steps=update,
            network=NetworkSettings(hidden=self._settings.width, rounds=0, outputs=self._settings.hidden),
            features={"observed": list(OBSERVED)},
            results=self.latest,
        )
        weights = self._network.state_dict()
        if self.latest["hit_rate"] > best:
            save_checkpoint(output / "best", card, weights)
        write_curve(self._curve, output)
        training = {f"optimizer.{name}": tensor for name, tensor in optimizer_state(self._optimizer).items()}
        training["torch_random"] = torch.get_rng_state()
        save_checkpoint(output / "last", card, weights, training)
