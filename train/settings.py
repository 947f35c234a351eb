"""The settings of a training run: one dataclass, which is also the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..envs import Scenario, load_scenario
from ..envs.core.changes import parse_changes
from ..errors import HetgymError


@dataclass(frozen=True)
class TrainSettings:
    """Trains an agent with masked PPO on the instances of a scenario."""

    scenario: str = "random"
    """A scenario's name, or a path to a YAML scenario or a WfFormat workflow."""
    set: tuple[str, ...] = ()
    """Settings of the scenario to change, as NAME=VALUE."""
    reward: str | None = None
    """One of the family's rewards; its first by default."""
    output: Path = Path("runs/latest")
    """Folder of the run: checkpoints, TensorBoard files, the training curve."""
    resume: bool = False
    """Go on from the last checkpoint in the output folder, until `steps` in all."""
    seed: int = 0
    """Of the instances, the network and the exploration."""
    steps: int = 200_000
    """Decisions to train for, rounded up to whole rollouts."""
    num_envs: int = 64
    """Environments side by side."""
    rollout: int = 40
    """Decisions in each environment between two updates."""
    epochs: int = 4
    """Passes over a rollout."""
    batch_size: int = 512
    """Decisions in a gradient step."""
    learning_rate: float = 1e-3
    """Of Adam, at first."""
    gamma: float = 1.0
    """Discount."""
    gae_lambda: float = 0.95
    """Of generalised advantage estimation."""
    clip: float = 0.2
    """PPO's clipping range."""
    entropy: float = 0.01
    """Weight of the entropy bonus, at first."""
    decay: bool = False
    """Whether learning rate and entropy bonus fall linearly to 0 at `steps`; a resumed run with other steps differs."""
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
        for name, least in (
            ("seed", 0), ("steps", 1), ("num_envs", 1), ("rollout", 1), ("epochs", 1), ("batch_size", 2), ("hidden", 1),
            ("rounds", 0), ("evaluate_every", 1), ("held_out", 1), ("threads", 1), ("entropy", 0), ("clip", 0),
        ):  # fmt: skip
            if not getattr(self, name) >= least:
                raise HetgymError(f"{name}: must be at least {least} (given: {getattr(self, name)})")
        if self.hidden > 4096 or self.rounds > 64:
            raise HetgymError(f"hidden: at most 4096, and rounds at most 64 (given: {self.hidden}, {self.rounds})")
        for name in ("gamma", "gae_lambda", "learning_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise HetgymError(f"{name}: must be above 0 and at most 1 (given: {getattr(self, name)})")
        if self.rollout * self.num_envs < 2:
            raise HetgymError("rollout: must hold at least 2 decisions in all environments together")

    def load_scenario(self) -> Scenario:
        """Returns the scenario with its changed settings."""
        return load_scenario(self.scenario, **parse_changes(self.set))
