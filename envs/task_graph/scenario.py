"""The settings of the task-graph family."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from ...errors import HetgymError
from ...hardware_models import Platform, load_platform
from ...workloads import WorkflowFile
from ...workloads.generators import DrawnGraphs, GraphSource
from ...workloads.sources import AnyGraphs
from ...workloads.stream import JobStream
from ..core.scenario import Scenario, register_family
from .instance import Instance
from .luck import Luck, Noise, draw_slowdowns
from .reward import REWARDS
from .rules import Contention, Information, Mode, OnFailure, Rules
from .simulator import TaskGraphSimulator
from .stream_log import jobs_as_graph, slowdowns_of_jobs

WIDEST_DEFAULT_WINDOW = 32
WORKFLOW_PLATFORM = "four-workers"

_NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Probability = Annotated[float, Field(ge=0, le=1)]

DISPATCH_ONLY = (
    "noise",
    "straggler_probability",
    "misestimation",
    "misestimation_sigma",
    "mean_uptime",
    "outages",
    "contention",
    "moving_delay",
    "power_cap",
)
"""Settings that mean something only while tasks run."""


class TaskGraphScenario(Scenario):
    """Graphs, what they run on, and how they are decided and run; `docs/dispatch.md` has the rules of Dispatch.

    Attributes:
        workload: Where the graphs come from.
        platform: A name or path for `load_platform`; by default one device of each of the graph's kinds. Drawn
            graphs (all but canonical, tiled and recorded ones) are then drawn for its kinds and links.
        placement: Whether a task may go into a gap between decided ones (``insertion``) or only behind them
            (``append``).
        mode: Whether tasks are decided before anything runs (``plan``) or while they run (``dispatch``).
        queue_limit: Dispatch: how many tasks may wait on a device behind the one in front; 0 means that only idle
            devices are given tasks.
        noise: Dispatch: how the realised durations deviate from the expected ones, by one factor a task:
            ``none``, ``lognormal``, ``gamma`` or ``normal`` (drawn anew below ``noise_floor``), all of mean 1.
        noise_sigma: Dispatch: by how much: the standard deviation of the factor, or of its logarithm where that is
            normal.
        noise_floor: Dispatch: the least factor of ``normal`` noise.
        noisy: Dispatch: kinds of device whose runs are noisy; all by default.
        straggler_probability: Dispatch: that a task straggles.
        straggler_factor: Dispatch: how many times longer it then takes.
        misestimation: Dispatch: by name or kind of a device, how many times longer everything takes there than
            expected.
        misestimation_sigma: Dispatch: standard deviation of the logarithm of a further factor of mean 1, drawn for each
            device and episode.
        mean_uptime: Dispatch: seconds from a device's repair to its next failure on average; without it devices
            do not fail.
        mean_downtime: Dispatch: seconds that a device is down on average.
        outages: Dispatch: recorded outages instead: index of the device, begin and end in seconds.
        on_failure: Dispatch: whether tasks of a device that fails ``restart``, anywhere, or wait and ``resume``.
        contention: Dispatch: what transfers have to share: ``none``, each ``link``, each device's port (``nic``), or
            the links with max-min fairness (``fair``).
        moving_delay: Dispatch: seconds that a device prepares for a task of another job.
        speed_steps: Dispatch: between how many operating points of each device can be chosen.
        power_cap: Dispatch: W, for all devices together; none by default.
        information: What everybody who decides takes for the durations: the ``expected`` ones, the realised ones
            (``exact``), or nothing (``blind``).
        reward_weights: Of the rewards, for the reward ``weighted``.
        ready_window: How many of the most urgent ready tasks are shown; by default all of them where the graphs
            have at most 32 tasks, else 32.
        pool: Where graphs vary, how many each environment draws before they come round again: episode e plays
            graph e modulo ``pool``.
    """

    family: Literal["task-graph"] = "task-graph"
    workload: Annotated[AnyGraphs | JobStream, Field(discriminator="kind")]
    platform: str | None = None
    mode: Mode = "plan"
    placement: Literal["insertion", "append"] = "insertion"
    queue_limit: Annotated[int, Field(ge=0)] = 0
    noise: Noise = "none"
    noise_sigma: Annotated[float, Field(gt=0, le=3)] = 0.3
    noise_floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    noisy: tuple[str, ...] | None = None
    straggler_probability: _Probability = 0.0
    straggler_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 3.0
    misestimation: dict[str, _Positive] = Field(default_factory=dict)
    misestimation_sigma: Annotated[float, Field(ge=0, le=3)] = 0.0
    mean_uptime: _Positive | None = None
    mean_downtime: _Positive | None = None
    outages: tuple[tuple[int, float, float], ...] = ()
    on_failure: OnFailure = "restart"
    contention: Contention = "none"
    moving_delay: _NonNegative = 0.0
    speed_steps: Annotated[int, Field(ge=1, le=100)] = 1
    power_cap: _Positive | None = None
    information: Information = "expected"
    reward_weights: dict[str, float] = Field(default_factory=dict)
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
        if self.mode == "plan":
            for name in DISPATCH_ONLY:
                if getattr(self, name) not in (None, "none", 0.0, (), {}):
                    raise ValueError(
                        f"{name}: {getattr(self, name)!r} needs mode 'dispatch': a plan knows expected durations only"
                    )
            if self.speed_steps > 1 or isinstance(self.workload, JobStream):
                raise ValueError("speed_steps above 1 and streams of jobs need mode 'dispatch'")
        return self

    @model_validator(mode="after")
    def _check_failures(self) -> TaskGraphScenario:
        if (self.mean_uptime is None) != (self.mean_downtime is None):
            raise ValueError("mean_uptime and mean_downtime must be given together")
        if self.outages and self.mean_uptime is not None:
            raise ValueError("outages are recorded (outages) or drawn (mean_uptime), not both")
        return self

    @model_validator(mode="after")
    def _check_names(self) -> TaskGraphScenario:
        platform = self.devices
        names = {*platform.kinds, *(device.name for device in platform.devices)}
        for field, given, known in (
            ("noisy", self.noisy or (), {*platform.kinds}),
            ("misestimation", self.misestimation, names),
            ("reward_weights", self.reward_weights, {*REWARDS}),
        ):
            for name in given:
                if name not in known:
                    raise ValueError(f"{field}: must be among {', '.join(sorted(known))} (given: {name!r})")
        for device, begin, end in self.outages:
            if not (0 <= device < platform.num_devices and 0 <= begin < end < np.inf):
                raise ValueError(
                    f"outages: must be (device from 0 to {platform.num_devices - 1}, begin, a later end) "
                    f"(given: {(device, begin, end)})"
                )
        for (device, begin, end), (other, later, _) in pairwise(sorted(self.outages)):
            if device == other and later < end:
                raise ValueError(
                    f"outages: device {device} is down from {begin:g} to {end:g} s, and fails again at {later:g}: "
                    "outages of a device must not overlap"
                )
        return self

    @model_validator(mode="after")
    def _check_power_cap(self) -> TaskGraphScenario:
        if self.power_cap is not None:
            devices = self.devices.devices
            least = sum(device.idle_power for device in devices) + max(
                min(power for _, power in device.steps(self.speed_steps)) - device.idle_power for device in devices
            )
            if self.power_cap < least:
                raise ValueError(
                    f"power_cap: must be at least {least:g} W, what the devices draw when idle and one runs at its "
                    f"lowest speed step (given: {self.power_cap:g})"
                )
        return self

    def sections(self) -> tuple[tuple[str, ...], ...]:
        """Returns the workload, and the arrivals of a stream: their settings can be overridden by their own names."""
        return (("workload",), ("workload", "arrivals")) if isinstance(self.workload, JobStream) else (("workload",),)

    @property
    def baselines(self) -> tuple[str, ...]:
        """The strongest list schedulers, and what is simplest; in Dispatch those that decide at run time as well."""
        if self.mode == "plan":
            return ("heft", "peft", "lookahead", "best-of-32:lookahead", "dls", "min-min", "mct", "random")
        online = ("re-heft", "rank-online-wait", "rank-online", "mct-online", "eft", "fifo")
        if isinstance(self.workload, JobStream):
            by_job = ("lwkr", "weighted-fair", "srcpf", "drf")
            return ("eft", "mct-online", *by_job, "re-heft", *online[1:3], "fifo", "random")
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

    @cached_property
    def luck(self) -> Luck:
        """What may befall tasks and devices."""
        return Luck(
            noise=self.noise,
            noise_sigma=self.noise_sigma,
            noise_floor=self.noise_floor,
            noisy=self.noisy,
            straggler_probability=self.straggler_probability,
            straggler_factor=self.straggler_factor,
            misestimation=tuple(self.misestimation.items()),
            misestimation_sigma=self.misestimation_sigma,
            mean_uptime=self.mean_uptime or np.inf,
            mean_downtime=self.mean_downtime or 0.0,
            outages=self.outages,
        )

    @property
    def rules(self) -> Rules:
        """How graphs are decided and run."""
        return Rules(
            mode=self.mode,
            insertion=self.placement == "insertion",
            queue_limit=self.queue_limit,
            contention=self.contention,
            moving_delay=self.moving_delay,
            on_failure=self.on_failure,
            speed_steps=self.speed_steps,
            power_cap=self.power_cap or np.inf,
        )

    def instance(self, seed: int, episode: int) -> Instance:
        """Returns the instance of an episode; in a stream, all its jobs as one graph.

        Raises:
            HetgymError: If a stream has more than 200,000 tasks.
        """
        if isinstance(self.graphs, JobStream):
            arrival, templates = self.graphs.all_jobs(seed, episode)
            graph = jobs_as_graph(self.graphs, self.devices, templates, arrival)
            jobs = np.arange(len(arrival))
            slowdown = slowdowns_of_jobs(self.graphs, self.devices, self.luck, seed, episode, jobs, templates)
            return Instance(graph, self.devices, slowdown, self.information)
        graph = self.graphs.sample(seed, episode % self.pool)
        if self.mode == "plan":
            return Instance(graph, self.devices, information=self.information)
        slowdown = draw_slowdowns(self.luck, self.devices, seed, episode, graph.num_tasks)
        return Instance(graph, self.devices, slowdown, self.information)

    @property
    def metric(self) -> str:
        """What policies are compared by: the makespan, in a stream the mean latency of jobs."""
        return "job_latency_mean" if isinstance(self.workload, JobStream) else "makespan"

    @property
    def more_is_better(self) -> frozenset[str]:
        """Of what gets done, and of devices at work."""
        devices = [f"utilisation_{device.name}" for device in self.devices.devices]
        return frozenset({"jobs_ended", "jobs_counted", "throughput", "utilisation", *devices})

    @property
    def bounds(self) -> Mapping[str, str]:
        """The lower bound of the expected makespan, where durations are as expected and there is no stream of jobs."""
        is_known = self.noise == "none" and not self.misestimation and not isinstance(self.workload, JobStream)
        return {"makespan": "lower_bound"} if is_known else {}

    @property
    def reference(self) -> str:
        """HEFT, where it is played."""
        return "heft"

    def simulator(self, num_envs: int, reward: str | None = None) -> TaskGraphSimulator:
        """Returns a simulator of so many episodes side by side.

        Args:
            num_envs: B.
            reward: One of `REWARDS` or ``weighted``; by default ``lower-bound``, in a stream ``jobs-in-system``.

        Raises:
            HetgymError: If there is no such reward, or a workflow or platform file is not right.
        """
        if reward == "weighted":
            if not self.reward_weights:
                raise HetgymError("reward: 'weighted' needs the setting reward_weights")
            weights = self.reward_weights
        else:
            weights = {reward or ("jobs-in-system" if isinstance(self.workload, JobStream) else REWARDS[0]): 1.0}
        return TaskGraphSimulator(
            workload=self.graphs,
            platform=self.devices,
            num_envs=num_envs,
            window=self.window,
            pool=self.pool,
            rules=self.rules,
            luck=self.luck,
            information=self.information,
            reward=weights,
        )


def workflow_scenario(path: Path) -> TaskGraphScenario:
    """Returns the scenario of a WfFormat file on the platform ``four-workers``."""
    return TaskGraphScenario(name=path.stem, workload=WorkflowFile(path=path), platform=WORKFLOW_PLATFORM)


register_family("task-graph", TaskGraphScenario, {".json": workflow_scenario})
