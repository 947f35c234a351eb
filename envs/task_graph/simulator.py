"""The compiled simulator of the task-graph family: many graphs decided side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...compilation import hold
from ...errors import HetgymError
from ...hardware_models import Platform
from ...workloads.generators import DrawnGraphs, GraphSource
from ...workloads.task_graph import IntArray, TaskGraph
from ..core.simulator import Arrays, Simulator, observation_space
from . import dispatch, plan
from .features import MARK, SCHEMA, View
from .instance import Instance, Instances
from .list_scheduling import Draft, prepare
from .noise import draw_slowdowns
from .schedule import Schedule
from .state import State
from .world import NOTHING, World

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Rules:
    """How graphs are decided.

    Attributes:
        mode: Before anything runs (``plan``), or while it runs (``dispatch``).
        insertion: Plan: whether tasks may go into gaps.
        queue_limit: Dispatch: how many tasks may wait on a device behind the one in service.
        noise: Dispatch: how realised durations deviate, one of `noise.NOISES`.
        noise_sigma: Dispatch: by how much, as `draw_slowdowns` has it.
    """

    mode: Literal["plan", "dispatch"] = "plan"
    insertion: bool = True
    queue_limit: int = 0
    noise: str = "none"
    noise_sigma: float = 0.0


class TaskGraphSimulator(Simulator):
    """Decides task graphs, one task a step: which ready task, on which device; in Dispatch, or to wait.

    Attributes:
        rules: How they are decided.
        instances: The instances in play, side by side; ``state.slot`` says which of them each episode plays.
        state: Where the episodes stand.
        platform: What the graphs run on.
    """

    schema = SCHEMA

    def __init__(
        self,
        workload: GraphSource,
        platform: Platform,
        num_envs: int,
        window: int,
        pool: int,
        rules: Rules,
        reward: int,
    ) -> None:
        """Makes room for B episodes.

        Args:
            workload: Where the graphs come from, as `GraphSource.on` gives it for the platform.
            platform: What they run on.
            num_envs: B.
            window: How many ready tasks are candidates.
            pool: Graphs that each environment draws before they come round again.
            rules: How graphs are decided.
            reward: Place in `REWARDS`.
        """
        num_devices = platform.num_devices
        num_candidates = 1 + window * num_devices
        space = observation_space(SCHEMA, num_candidates, num_devices + workload.max_tasks, max(workload.max_edges, 1))
        super().__init__(num_envs, space, num_candidates)
        self.platform = platform
        self._workload = workload
        self._pool = pool if workload.varies else 1
        self.rules = rules
        self._kernels = plan if rules.mode == "plan" else dispatch
        self._all_rows = np.arange(num_envs)
        self._reward = reward
        # Rows: the drawn graphs of each environment (one row for all where the graph is fixed), then one row an
        # environment for an instance given at reset.
        self._num_drawn = num_envs * self._pool if workload.varies else 1
        num_rows = self._num_drawn + num_envs
        self.instances = Instances.empty(
            num_rows, workload.max_tasks, num_devices, max(workload.max_edges, 1), workload.max_jobs
        )
        self.instances.put_links(slice(None), platform)
        self._drawn_seed = np.full(self._num_drawn, -1, np.int64)
        self._given: dict[int, Instance] = {}
        self.state = State.empty(num_envs, workload.max_tasks, num_devices, workload.max_jobs)
        self._draft = Draft.empty(workload.max_tasks, num_devices)
        self._views = [self._view(buffer) for buffer in self.buffers]
        self._handles = [hold(World(self.instances, self.state, self.outcome, view)) for view in self._views]

    def _view(self, buffer: Arrays) -> View:
        mark = np.zeros(self.num_envs, MARK)
        mark["episode"] = -1
        return View(**buffer, flat=buffer["candidates"].reshape(self.num_envs, -1), mark=mark)

    def _begin(self, rows: IntArray, instances: Sequence[Any] | None) -> None:
        if instances is None:
            self._draw(rows)
        else:
            self._take(rows, instances)
        if self.rules.mode == "plan":
            plan.begin(self.handle, rows, self.rules.insertion)
        else:
            self._draw_luck(rows)
            dispatch.begin(self.handle, rows, self.rules.queue_limit)
        self._show(rows)

    def _show(self, rows: IntArray) -> None:
        """Brings the current observation of some episodes up to date."""
        self._kernels.advance(self.handle, rows, np.full(rows.size, NOTHING), self._reward)

    def _draw_luck(self, rows: IntArray) -> None:
        """Finds how long the tasks of some episodes will take."""
        num_tasks = self.state.tasks.shape[1]
        slowdown = draw_slowdowns(
            self.rules.noise, self.rules.noise_sigma, self.seeds[rows], self.episodes[rows], num_tasks
        )
        for index, row in enumerate(rows.tolist() if self._given else []):
            if row in self._given and self._given[row].slowdown is not None:
                slowdown[index, : self._given[row].graph.num_tasks] = self._given[row].slowdown
        self.state.runs["slowdown"][rows] = slowdown

    def _draw(self, rows: IntArray) -> None:
        """Makes the rows' episodes play the graphs that their seeds give."""
        for row in rows:
            self._given.pop(int(row), None)
        turns = self.episodes[rows] % self._pool
        slots = rows * self._pool + turns if self._workload.varies else np.zeros_like(rows)
        seeds = self.seeds[rows] if self._workload.varies else np.zeros_like(rows)
        self.state.status["slot"][rows] = slots
        fresh = self._drawn_seed[slots] != seeds
        if not fresh.any():
            return
        if isinstance(self._workload, DrawnGraphs):
            self._workload.fill(self.instances.graph, slots[fresh], seeds[fresh], turns[fresh])
        else:
            self.instances.put(0, Instance(self._workload.sample(0, 0), self.platform))
        prepare(self.instances, self._draft, np.unique(slots[fresh]))
        self._drawn_seed[slots] = seeds

    def _accept(self, instances: Sequence[Any] | None) -> list[Instance] | None:
        if instances is None:
            return None
        accepted = []
        for problem in instances:
            if not isinstance(problem, Instance | TaskGraph):
                raise HetgymError(
                    f"instance: must be a hetgym Instance or TaskGraph, not {type(problem).__name__} ({problem!r})"
                )
            accepted.append(problem if isinstance(problem, Instance) else Instance(problem, self.platform))
            self.instances.check_fits(accepted[-1])
        return accepted

    def _take(self, rows: IntArray, instances: Sequence[Instance]) -> None:
        """Makes the rows' episodes play given instances."""
        slots = self._num_drawn + rows
        for row, slot, instance in zip(rows.tolist(), slots.tolist(), instances, strict=True):
            self.instances.put(slot, instance)
            self._given[row] = instance
        prepare(self.instances, self._draft, slots)
        self.state.status["slot"][rows] = slots

    def _advance(self, actions: IntArray) -> int:
        noteworthy: int = self._kernels.advance(self.handle, self._all_rows, actions, self._reward)
        return noteworthy

    @property
    def handle(self) -> Any:
        """What compiled policies read: a handle of the `World`."""
        return self._handles[self._current]

    def name_action(self, tasks: IntArray, devices: IntArray) -> IntArray:
        """Returns actions that name ready tasks directly, in the window or not.

        Args:
            tasks: int64 (B,).
            devices: int64 (B,), the device of each task.
        """
        return self.num_candidates + tasks * self.platform.num_devices + devices

    def set_placement(self, insertion: bool) -> None:
        """Chooses for the episodes that have just begun whether tasks may go into gaps.

        It is part of a list scheduler's definition, so policies that are defined with one rule set it in their
        ``reset``.
        """
        self.state.status["insertion"] = insertion

    def instance(self, row: int) -> Instance:
        """Returns the instance that an episode plays."""
        if row in self._given:
            graph, platform = self._given[row].graph, self._given[row].platform
        else:
            graph = self._workload.sample(int(self.seeds[row]), int(self.episodes[row]) % self._pool)
            platform = self.platform
        slowdown = self.state.runs["slowdown"][row, : graph.num_tasks].copy()
        return Instance(graph, platform, slowdown if self.rules.mode == "dispatch" else None)

    def state_arrays(self) -> Mapping[str, NDArray[Any]]:
        """Returns the state, the seeds and what the last step gave."""
        if self._given:
            raise HetgymError("episodes that play given instances cannot be saved")
        return {
            "seeds": self.seeds,
            "episodes": self.episodes,
            "outcome": self.outcome,
            **self.state._asdict(),
        }

    def load_state_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continues from arrays that `state_arrays` gave."""
        self.seeds[:] = arrays["seeds"]
        self.episodes[:] = arrays["episodes"]
        rows = np.arange(self.num_envs)
        self._draw(rows)
        self._begun = True
        for name, array in {"outcome": self.outcome, **self.state._asdict()}.items():
            array[...] = arrays[name]
        for view in self._views:
            view.mark["episode"] = -1
        self._show(rows)

    def metrics(self, rows: IntArray) -> dict[str, NDArray[np.float64]]:
        """Returns what the docstring of the environments lists, in seconds; of the jobs once an episode is over."""
        status = self.state.status[rows]
        totals = self.instances.totals[status["slot"]]
        return {
            "makespan": status["makespan"],
            "heft_makespan": totals["heft_makespan"],
            "lower_bound": totals["lower_bound"],
            "job_latency_mean": status["job_latency_mean"],
            "deadlines_missed": status["deadlines_missed"].astype(np.float64),
        }

    def schedule(self, row: int) -> Schedule:
        """Returns what an episode has decided so far."""
        status = self.state.status[row]
        tasks = self.state.tasks[row, : self.instances.graph.num_tasks[status["slot"]]]
        return Schedule(
            device=tasks["device"].copy(),
            start=tasks["start"].copy(),
            finish=tasks["finish"].copy(),
            sequence=tasks["sequence"][: status["num_placed"]].copy(),
            decided=self.state.runs["decided"][row, : len(tasks)].copy() if self.rules.mode == "dispatch" else None,
        )

    def episode(self, row: int) -> pd.DataFrame:
        """Returns the schedule so far, one row a decided task, in order of decision (`Schedule.table`)."""
        return self.schedule(row).table(self.instance(row))

    def figure(self, row: int) -> Figure:
        """Returns a Gantt chart of the schedule so far."""
        from .render import gantt

        return gantt(self.instance(row), self.schedule(row))
