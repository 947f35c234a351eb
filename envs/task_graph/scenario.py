"""The settings of the task-graph family."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from ...errors import unknown_name
from ...hardware_models import Platform, load_platform
from ...workloads import (
    FFT,
    CanonicalGraph,
    Chains,
    ForkJoin,
    GaussianElimination,
    GraphFile,
    RandomGraphs,
    TiledMatrix,
    WorkflowFile,
)
from ...workloads.generators import DrawnGraphs, GraphSource
from ..core.scenario import Scenario, register_family
from .instance import Instance
from .noise import draw_slowdowns
from .reward import REWARDS
from .simulator import Rules, TaskGraphSimulator

WIDEST_DEFAULT_WINDOW = 32
WORKFLOW_PLATFORM = "four-workers"


class TaskGraphScenario(Scenario):
    """Graphs, what they run on, and how they are decided.

    Attributes:
        workload: Where the graphs come from.
        platform: A name or path for `load_platform`; by default one device of each of the graph's kinds. Drawn
            graphs (all but canonical, tiled and recorded ones) are then drawn for its kinds and links.
        placement: Whether a task may go into a gap between decided ones (``insertion``) or only behind them
            (``append``).
        mode: Whether tasks are decided before anything runs (``plan``) or while they run (``dispatch``).
        queue_limit: Dispatch: how many tasks may wait on a device behind the one in service; 0 means that only idle
            devices are given tasks.
        noise: Dispatch: how the realised durations deviate from the expected ones, by one factor a task:
            ``none``, ``lognormal``, ``gamma`` or ``normal`` (truncated at zero), all of mean 1.
        noise_sigma: Dispatch: by how much: the standard deviation of the factor, or of its logarithm where that is
            normal.
        ready_window: How many of the most urgent ready tasks are shown; by default all of them where the graphs
            have at most 32 tasks, else 32.
        pool: Where graphs vary, how many each environment draws before they come round again: episode e plays
            graph e modulo ``pool``.
    """

    family: Literal["task-graph"] = "task-graph"
    workload: Annotated[
        CanonicalGraph
        | RandomGraphs
        | TiledMatrix
        | FFT
        | GaussianElimination
        | ForkJoin
        | Chains
        | GraphFile
        | WorkflowFile,
        Field(discriminator="kind"),
    ]
    platform: str | None = None
    mode: Literal["plan", "dispatch"] = "plan"
    placement: Literal["insertion", "append"] = "insertion"
    queue_limit: Annotated[int, Field(ge=0)] = 0
    noise: Literal["none", "lognormal", "gamma", "normal"] = "none"
    noise_sigma: Annotated[float, Field(gt=0, le=3)] = 0.3
    ready_window: Annotated[int, Field(ge=1)] | None = None
    pool: Annotated[int, Field(ge=1)] = 64

    @field_validator("platform")
    @classmethod
    def _beside_scenario(cls, platform: str | None, info: ValidationInfo) -> str | None:
        if platform and info.context and Path(platform).suffix:
            return str(info.context["folder"] / platform)
        return platform

    @model_validator(mode="after")
    def _drawn_fit_platform(self) -> TaskGraphScenario:
        if self.platform and isinstance(self.workload, DrawnGraphs):
            self.workload.on(self.devices)
        return self

    @model_validator(mode="after")
    def _plans_expect(self) -> TaskGraphScenario:
        if self.noise != "none" and self.mode == "plan":
            raise ValueError(f"noise: {self.noise!r} needs mode 'dispatch': a plan knows expected durations only")
        return self

    def sections(self) -> tuple[str, ...]:
        """Returns ``workload``: its settings can be overridden by their own names."""
        return ("workload",)

    @property
    def baselines(self) -> tuple[str, ...]:
        """The strongest list schedulers, and what is simplest; in Dispatch those that decide at run time as well."""
        if self.mode == "plan":
            return ("heft", "peft", "lookahead", "best-of-32:lookahead", "dls", "min-min", "mct", "random")
        online = ("re-heft", "rank-online-wait", "rank-online", "mct-online", "eft", "fifo")
        return ("heft", "lookahead", "best-of-32:lookahead", *online, "random")

    @cached_property
    def devices(self) -> Platform:
        """The platform, loaded."""
        if self.platform:
            return load_platform(self.platform)
        return Platform.fully_connected(f"devices-of-{self.name}", self.workload.kinds)

    @cached_property
    def graphs(self) -> GraphSource:
        """The workload on the platform."""
        return self.workload.on(self.devices)

    @property
    def window(self) -> int:
        """How many ready tasks are shown."""
        return self.ready_window or min(self.graphs.max_tasks, WIDEST_DEFAULT_WINDOW)

    def for_single_episodes(self) -> TaskGraphScenario:
        """Returns the scenario with room for one graph an environment."""
        return self.model_copy(update={"pool": 1})

    def instance(self, seed: int, episode: int) -> Instance:
        """Returns the instance of an episode."""
        graph = self.graphs.sample(seed, episode % self.pool)
        slowdown = None
        if self.mode == "dispatch":
            slowdown = draw_slowdowns(
                self.noise, self.noise_sigma, np.array([seed]), np.array([episode]), graph.num_tasks
            )[0]
        return Instance(graph, self.devices, slowdown)

    def simulator(self, num_envs: int, reward: str | None = None) -> TaskGraphSimulator:
        """Returns a simulator of so many episodes side by side.

        Args:
            num_envs: B.
            reward: ``lower-bound`` (default) or ``makespan``.

        Raises:
            HetgymError: If there is no such reward, or a workflow or platform file is not right.
        """
        if reward is not None and reward not in REWARDS:
            raise unknown_name("reward", reward, list(REWARDS))
        return TaskGraphSimulator(
            workload=self.graphs,
            platform=self.devices,
            num_envs=num_envs,
            window=self.window,
            pool=self.pool,
            rules=Rules(
                mode=self.mode,
                insertion=self.placement == "insertion",
                queue_limit=self.queue_limit,
                noise=self.noise,
                noise_sigma=self.noise_sigma,
            ),
            reward=REWARDS.index(reward or REWARDS[0]),
        )


def workflow_scenario(path: Path) -> TaskGraphScenario:
    """Returns the scenario of a WfFormat file on the platform ``four-workers``."""
    return TaskGraphScenario(name=path.stem, workload=WorkflowFile(path=path), platform=WORKFLOW_PLATFORM)


register_family("task-graph", TaskGraphScenario, {".json": workflow_scenario})
