"""The settings of training runs: dataclasses, which are also the command line. Nothing here needs torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from ..agents.network_settings import NetworkSettings
from ..envs import ExpertCacheScenario, Scenario, load_scenario
from ..envs.core.changes import parse_changes
from ..errors import HetgymError, unknown_name
from ..evaluate.sweep import parse_sweep
from ..workloads.routing.sources import GeneratedRouting, RecordedRouting
from .checks import check_least, check_most, check_parts, check_shares

Loss = Literal["cross-entropy", "ranking"]
"""Of imitation: a key of `hetgym.agents.imitation.LOSSES`."""


@dataclass(frozen=True)
class ImitationSettings:
    """How a policy is imitated."""

    rounds: int = 4
    """Of demonstrations, each followed by training on all that there are."""
    episodes: int = 512
    """In a round, rounded up to whole batches."""
    num_envs: int = 128
    """Environments side by side."""
    beta: float = 0.5
    """In round i, from 0, the expert takes a share beta^i of the decisions, the network the others; of an expert that
    is not reactive, all are the expert's."""
    epochs: int = 4
    """Passes over all demonstrations in a round."""
    batch_size: int = 512
    """Decisions in a gradient step."""
    learning_rate: float = 2e-3
    """Of Adam, at first; it falls linearly, epoch by epoch, to 0 after the last."""
    loss: Loss = "cross-entropy"
    """Which of `hetgym.agents.imitation.LOSSES`."""
    value: float = 0.5
    """Weight of the squared error of the values, as a share of the returns' mean square, so that returns of any size
    leave the network free to learn the decisions; 0 leaves values out."""

    def check(self) -> None:
        """Checks the numbers.

        Raises:
            HetgymError: If one is out of range, or there is no such loss.
        """
        check_least(self, rounds=1, episodes=1, num_envs=1, epochs=1, batch_size=1, value=0)
        check_parts(self, "beta")
        check_shares(self, "learning_rate")
        if self.loss not in get_args(Loss):
            raise unknown_name("loss", self.loss, list(get_args(Loss)))


@dataclass(frozen=True)
class OffPolicySettings:
    """What only discrete SAC, DQN and QR-DQN read."""

    buffer_size: int = 100_000
    """Decisions in the replay buffer."""
    learning_starts: int = 2_000
    """Decisions before the first update."""
    gradient_steps: int = 8
    """Updates after each rollout."""
    tau: float = 0.01
    """By which share the target networks follow at each update."""
    target_entropy: float = 0.3
    """SAC: part of the logarithm of the number of allowed candidates that the temperature is adapted to."""
    temperature: float = 0.1
    """SAC: weight of the entropy, at first."""
    adapt_temperature: bool = True
    """SAC: whether the temperature is adapted at all."""
    combine: Literal["min", "mean"] = "min"
    """SAC: how the values of the two critics become one."""
    q_clip: float | None = None
    """SAC: how far a critic may depart from its target network before a step is no gain to it."""
    entropy_penalty: float = 0.0
    """SAC: weight of the squared distance of the entropy from that of the policy that acted."""
    critic_entropy: float | None = None
    """SAC: weight of the entropy in the critics' targets; by default the temperature."""
    quantiles: int = 32
    """QR-DQN: numbers that a candidate's return is described by."""
    exploration: float = 0.05
    """DQN, QR-DQN: part of the decisions that are drawn at random, after the first tenth of `steps`."""

    def check(self, num_envs: int) -> None:
        """Checks the numbers; those of SAC alone are checked by `hetgym.agents.sac.DiscreteSAC`.

        Args:
            num_envs: Environments side by side.

        Raises:
            HetgymError: If one is out of range.
        """
        check_least(self, buffer_size=num_envs, learning_starts=0, gradient_steps=1, quantiles=1)
        check_shares(self, "tau")
        check_parts(self, "exploration")


@dataclass(frozen=True)
class TrainSettings:
    """Trains an agent on the instances of a scenario."""

    scenario: str = "random"
    """A scenario's name, or a path to a YAML scenario or a WfFormat workflow."""
    set: tuple[str, ...] = ()
    """Settings of the scenario to change, as NAME=VALUE."""
    mix: tuple[str, ...] = ()
    """Further scenarios to learn from at the same time, names or paths, with equal shares of the environments: for a
    generalist, or with what `hetgym evaluate --adversarial` has found."""
    curriculum: tuple[str, ...] = ()
    """Settings of the scenario that grow more difficult as training goes on, as NAME=A,B,C: each stage takes an equal
    share of `steps` and begins with the network of the one before; several settings change together."""
    algorithm: Literal["ppo", "sac", "dqn", "qr-dqn"] = "ppo"
    """How to learn: masked PPO, SAC (discrete, or for a continuous face), DQN or QR-DQN."""
    reward: str | None = None
    """One of the family's rewards; its first by default."""
    hindsight: bool = False
    """Whether decisions are rewarded by what turns out, which varies less: for task graphs in Dispatch, no streams."""
    output: Path = Path("runs/latest")
    """Folder of the run: checkpoints, TensorBoard files, the training curve."""
    start: Path | None = None
    """A checkpoint, or the folder of a run, whose network training begins with."""
    imitate: str | None = None
    """A policy or an oracle to imitate before anything else; the value of what follows is learned along with it."""
    imitation: ImitationSettings = field(default_factory=ImitationSettings)
    """How `imitate` is done."""
    resume: bool = False
    """Go on from the last checkpoint in the output folder, until `steps` in all."""
    seed: int = 0
    """Of the instances, the network and the exploration."""
    steps: int = 200_000
    """Decisions to train for, rounded up to whole rollouts; 0 where all that is wanted is to imitate."""
    num_envs: int = 64
    """Environments side by side."""
    rollout: int = 40
    """Decisions in each environment between two updates."""
    epochs: int = 4
    """PPO: passes over a rollout."""
    batch_size: int = 512
    """Decisions in a gradient step."""
    learning_rate: float = 1e-3
    """Of Adam, at first."""
    gamma: float = 1.0
    """Discount."""
    normalise_returns: bool = False
    """Whether rewards are divided by the running standard deviation of discounted returns: for costs far from 1."""
    gae_lambda: float = 0.95
    """PPO: of generalised advantage estimation."""
    value_first: int = 0
    """PPO: rollouts after which only what values situations has been trained: a network that imitates or began with
    another's weights would else be led astray by values that it does not know yet."""
    clip: float = 0.2
    """PPO: clipping range."""
    entropy: float = 0.01
    """PPO: weight of the entropy bonus, at first."""
    decay: bool = False
    """Whether learning rate and entropy bonus fall linearly to 0 at `steps`; a resumed run with other steps differs."""
    off_policy: OffPolicySettings = field(default_factory=OffPolicySettings)
    """What only SAC, DQN and QR-DQN read."""
    hidden: int = 32
    """Width of the network."""
    rounds: int = 2
    """Rounds of message passing along edges; 0 with the pooling value or scores leaves the graph out."""
    encoder: Literal["mean", "gin", "gat"] = "mean"
    """How nodes hear each other."""
    pooling: Literal["value", "scores", "nodes"] = "nodes"
    """What a score depends on beside the candidate: nothing, all candidates, or those of the same nodes."""
    hierarchy: bool = False
    """Whether nodes are summed up by job, and jobs by situation."""
    evaluate_every: int = 10
    """Rollouts between two evaluations on held-out instances, each with a checkpoint."""
    held_out: int = 100
    """Held-out instances."""
    threads: int = 1
    """Threads of torch; more than one is often slower on small networks."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the network is trained."""

    def check(self) -> None:
        """Checks the numbers.

        Raises:
            HetgymError: If one is out of range.
        """
        check_least(
            self, seed=0, steps=0 if self.imitate else 1, num_envs=1, rollout=1, epochs=1, batch_size=2, hidden=1,
            rounds=0, evaluate_every=1, held_out=1, threads=1, entropy=0, clip=0, value_first=0,
        )  # fmt: skip
        if self.hidden > 4096 or self.rounds > 64:
            raise HetgymError(f"hidden: at most 4096, and rounds at most 64 (given: {self.hidden}, {self.rounds})")
        check_shares(self, "gamma", "gae_lambda", "learning_rate")
        self.imitation.check()
        if self.algorithm != "ppo":
            self.off_policy.check(self.num_envs)
        if self.decisions_per_rollout < 2:
            raise HetgymError("rollout: must hold at least 2 decisions in all environments together")

    def stages(self) -> list[TrainSettings]:
        """Returns the settings of each stage of the curriculum, each with its own folder; without one, just these.

        Raises:
            HetgymError: If the curriculum's settings have different numbers of values.
        """
        if not self.curriculum:
            return [self]
        grown = dict(parse_sweep(word) for word in self.curriculum)
        numbers = {len(values) for values in grown.values()}
        if len(numbers) != 1:
            raise HetgymError(f"curriculum: all settings need equally many values (given: {' '.join(self.curriculum)})")
        changes = [
            tuple(f"{name}={json.dumps(value)}" for name, value in zip(grown, values, strict=True))
            for values in zip(*grown.values(), strict=True)
        ]
        return [
            replace(
                self,
                set=self.set + change,
                curriculum=(),
                imitate=None if index else self.imitate,
                output=self.output / f"stage-{index}",
                steps=-(-self.steps // len(changes)),
            )
            for index, change in enumerate(changes)
        ]

    @property
    def decisions_per_rollout(self) -> int:
        """The number of decisions between two updates."""
        return self.num_envs * self.rollout

    @property
    def network(self) -> NetworkSettings:
        """The settings of the network."""
        outputs = self.off_policy.quantiles if self.algorithm == "qr-dqn" else 1
        return NetworkSettings(
            self.hidden, self.rounds, outputs, encoder=self.encoder, pooling=self.pooling, hierarchy=self.hierarchy
        )

    def load_scenario(self) -> Scenario:
        """Returns the scenario with its changed settings."""
        return load_scenario(self.scenario, **parse_changes(self.set))


FOLDS = 5
"""Parts of a recording. Of one nothing is ever read, another is held out to choose the best checkpoint by."""


@dataclass(frozen=True)
class UsePredictionSettings:
    """Trains the network of a cache policy to predict which experts will be used soon."""

    scenario: str = "qwen3-30b"
    """A scenario of the family expert-cache, or a path to one."""
    set: tuple[str, ...] = ()
    """Settings of the scenario to change, as NAME=VALUE."""
    output: Path = Path("runs/latest")
    """Folder of the run: checkpoints, the training curve."""
    resume: bool = False
    """Go on from the last checkpoint in the output folder, until `updates` in all."""
    seed: int = 0
    """Of the traces, the network and the order of training."""
    traces: int = 24
    """Traces that are drawn for training; a recording is what it is."""
    updates: int = 200
    """Gradient steps."""
    batch_size: int = 4
    """Prompts in a gradient step."""
    window: int = 96
    """Steps of a prompt, from its first, that are learnt from."""
    learning_rate: float = 0.02
    """Of Adam, at first; it falls linearly to 0."""
    discount: float = 0.3
    """A use i steps ahead counts (1 - discount) discount^(i - 1)."""
    width: int = 8
    """Numbers in the state of an expert."""
    hidden: int = 8
    """Hidden units of the score."""
    evaluate_every: int = 50
    """Updates between two evaluations on held-out episodes, each with a checkpoint."""
    held_out: int = 8
    """Held-out episodes, where traces are drawn."""
    fold: int = 0
    """Which fifth of a recording's requests is never read: that with (request // 5) % 5 = fold."""
    threads: int = 1
    """Threads of torch."""

    def check(self) -> None:
        """Checks the numbers.

        Raises:
            HetgymError: If one is out of range.
        """
        check_least(
            self, seed=0, traces=1, updates=1, batch_size=1, window=2, width=1, hidden=1, evaluate_every=1, held_out=1,
            threads=1,
        )  # fmt: skip
        if not 0 <= self.discount < 1:
            raise HetgymError(f"discount: must be at least 0 and below 1 (given: {self.discount})")
        check_shares(self, "learning_rate")
        if not 0 <= self.fold < FOLDS:
            raise HetgymError(f"fold: must be from 0 to {FOLDS - 1} (given: {self.fold})")

    def load_scenario(self) -> ExpertCacheScenario:
        """Returns the scenario with its changed settings.

        Raises:
            HetgymError: If it is of another family, plays one layer only, or has no routing of a model.
        """
        scenario = load_scenario(self.scenario, **parse_changes(self.set))
        if not isinstance(scenario, ExpertCacheScenario):
            raise HetgymError(f"scenario {scenario.name!r}: must be of the family expert-cache, not {scenario.family}")
        if scenario.pool == "layer" or not isinstance(scenario.workload, GeneratedRouting | RecordedRouting):
            raise HetgymError(
                f"scenario {scenario.name!r}: the network reads how all layers of a model are routed: pool must be "
                f"'model' and workload of kind generated or recorded (given: {scenario.pool}, {scenario.workload.kind})"
            )
        return scenario


LARGEST_POPULATION = 128
"""A larger one has the optimiser learn variances at a rate above 1."""


@dataclass(frozen=True)
class EvolutionSettings:
    """Trains a dispatching rule of weighted features by evolution."""

    scenario: str = "soc-stream-high"
    """A scenario of task graphs in mode dispatch, or a path to one."""
    set: tuple[str, ...] = ()
    """Settings of the scenario to change, as NAME=VALUE."""
    output: Path = Path("runs/latest")
    """Folder of the run: checkpoints, the training curve."""
    resume: bool = False
    """Go on from the last checkpoint in the output folder, until `generations` in all."""
    seed: int = 0
    """Of the instances and the trials."""
    generations: int = 60
    """Each tries a population of rules on the same new episodes."""
    population: int = 24
    """Rules in a generation, 4 to 128."""
    episodes: int = 16
    """That each rule plays in a generation."""
    reference: str = "mct-online"
    """What rules are measured against, on the same episodes."""
    tail: float = 0.3
    """Streams: weight of the 99th percentile of job latency, as far as it is not 3 % below the reference's."""
    evaluate_every: int = 5
    """Generations between two evaluations on held-out episodes, each with a checkpoint."""
    held_out: int = 64
    """Held-out episodes."""

    def check(self) -> None:
        """Checks the numbers.

        Raises:
            HetgymError: If one is out of range.
        """
        check_least(self, seed=0, generations=1, population=4, episodes=1, tail=0, evaluate_every=1, held_out=1)
        check_most(self, seed=2**32 - 1, population=LARGEST_POPULATION)
