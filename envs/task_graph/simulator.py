"""The compiled simulator of the task-graph family: many graphs decided side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...compilation import hold
from ...errors import HetgymError
from ...hardware_models import Platform
from ...workloads.generators import DrawnGraphs, GraphSource
from ...workloads.stream import JobStream
from ...workloads.task_graph import FloatArray, IntArray, TaskGraph
from ..core.simulator import Arrays, Simulator, first_places, observation_space
from . import dispatch, plan
from .features import DISPATCH_SCHEMA, MARK, PLAN_SCHEMA, View
from .instance import Instance, Instances
from .list_scheduling import Draft, prepare
from .luck import Luck, draw_slowdowns, drawn_outages, realise
from .reward import REWARDS, reward_weights
from .rules import Information, Rules
from .schedule import Schedule
from .state import Room, State
from .stream import latency_quantiles, no_stream, put_averages, stream_of
from .stream_log import jobs_as_graph, remembered_jobs, remembered_schedule, slowdowns_of_jobs
from .transfers import Network
from .world import NOTHING, World

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


OUTAGE_ROOM = 64
"""Outages that a given instance may have."""


class TaskGraphSimulator(Simulator):
    """Decides task graphs, one task a step: which ready task, on which device; in Dispatch, or to wait.

    Attributes:
        rules: How they are decided and run.
        luck: What may befall tasks and devices.
        information: What everybody who decides takes for the durations.
        instances: The instances in play, side by side; ``state.slot`` says which of them each episode plays. In a
            stream, the active jobs of each environment.
        state: Where the episodes stand.
        platform: What the graphs run on.
    """

    def __init__(
        self,
        workload: GraphSource,
        platform: Platform,
        num_envs: int,
        window: int,
        pool: int = 1,
        rules: Rules = Rules(),  # noqa: B008 (frozen)
        luck: Luck = Luck(),  # noqa: B008 (frozen)
        information: Information = "expected",
        reward: Mapping[str, float] | None = None,
    ) -> None:
        """Makes room for B episodes.

        Args:
            workload: Where the graphs come from, as `GraphSource.on` gives it for the platform.
            platform: What they run on.
            num_envs: B.
            window: How many ready tasks are candidates.
            pool: Graphs that each environment draws before they come round again.
            rules: How graphs are decided and run.
            luck: What may befall tasks and devices, in Dispatch.
            information: What everybody who decides takes for the durations.
            reward: Weights of the rewards, as `reward_weights` takes them; ``lower-bound`` by default.
        """
        num_devices = platform.num_devices
        num_candidates = 1 + window * num_devices * rules.speed_steps
        self.schema = PLAN_SCHEMA if rules.mode == "plan" else DISPATCH_SCHEMA
        max_edges = max(workload.max_edges, 1)
        space = observation_space(self.schema, num_candidates, num_devices + workload.max_tasks, max_edges)
        super().__init__(num_envs, space, num_candidates)
        self.platform = platform
        self.rules, self.luck, self.information = rules, luck, information
        self._workload = workload
        self._stream = workload if isinstance(workload, JobStream) else None
        self._kernels = plan if rules.mode == "plan" else dispatch
        self._all_rows = np.arange(num_envs)
        # Rows: the drawn graphs of each environment (one row for all where the graph is fixed), then one row an
        # environment for an instance given at reset. Where realised durations are known, episodes share no row.
        self._has_rows = workload.varies or information == "exact"
        self._pool = pool if workload.varies and not self._stream else 1
        self._kept = 1 if information == "exact" else self._pool
        self._num_drawn = num_envs * self._kept if self._has_rows else 1
        num_rows = self._num_drawn + (0 if self._stream else num_envs)
        self.instances = Instances.empty(
            num_rows, workload.max_tasks, num_devices, max_edges, workload.max_jobs, rules.speed_steps
        )
        self.instances.put_platform(slice(None), platform)
        durations = self.instances.graph.duration
        self._expected = durations if information == "expected" else np.empty_like(durations)
        self._drawn_seed = np.full(self._num_drawn, -1, np.int64)
        self._given: dict[int, Instance] = {}
        self._draft = Draft.empty(workload.max_tasks, num_devices)
        self._law, self._exposure = luck.law(platform)
        self._prepare_world(reward or {REWARDS[0]: 1.0})

    def _prepare_world(self, reward: Mapping[str, float]) -> None:
        """Makes all arrays that kernels work on."""
        rules, platform, is_plan = self.rules, self.platform, self.rules.mode == "plan"
        network = Network.of(platform, rules.contention)
        _, num_tasks, num_devices = self.instances.graph.duration.shape
        self.state = State.empty(
            Room(
                num_envs=self.num_envs,
                num_tasks=num_tasks,
                num_devices=num_devices,
                num_jobs=self.instances.graph.jobs.shape[1],
                num_edges=self.instances.graph.edges.shape[1] if rules.contention == "fair" else 0,
                num_channels=len(network.bandwidth),
                num_outages=0 if is_plan else max(OUTAGE_ROOM, len(self.luck.outages)),
                is_plan=is_plan,
            )
        )
        for row in range(0 if is_plan else self.num_envs):
            self._put_outages(row, self._recorded_outages)
        law, stream = rules.law(), no_stream(self.num_envs, num_devices)
        if self._stream:
            law["is_stream"] = True
            law["horizon"] = self._stream.horizon or np.inf
            law["warmup"] = self._stream.warmup
            stream = stream_of(self._stream, platform, self.information, self.num_envs)
            put_averages(self.instances, self._stream, stream)
        self._world = World(
            instances=self.instances,
            state=self.state,
            outcome=self.outcome,
            shown=self._view(self.buffers[0]),
            law=law,
            weights=reward_weights(reward),
            luck=self._law,
            network=network,
            stream=stream._replace(luck=self._law, exposure=self._exposure),
        )
        self._views = [self._world.shown, self._view(self.buffers[1])]
        self._handles = [hold(self._world._replace(shown=view)) for view in self._views]

    def _view(self, buffer: Arrays) -> View:
        mark = np.zeros(self.num_envs, MARK)
        mark["episode"] = -1
        return View(**buffer, flat=buffer["candidates"].reshape(self.num_envs, -1), mark=mark)

    def _begin(self, rows: IntArray, instances: Sequence[Any] | None) -> None:
        if instances is None:
            self._draw(rows)
        else:
            self._take(rows, instances)
        self.state.status["seed"][rows] = self.seeds[rows]
        self.state.status["episode"][rows] = self.episodes[rows]
        self._kernels.begin(self.handle, rows)
        self._show(rows)

    def _show(self, rows: IntArray) -> None:
        """Brings the current observation of some episodes up to date."""
        self._kernels.advance(self.handle, rows, np.full(rows.size, NOTHING), True)

    def _draw(self, rows: IntArray) -> None:
        """Makes the rows' episodes play the graphs that their seeds give."""
        for row in rows.tolist():
            if self._given.pop(row, None) is not None:
                self._put_outages(row, self._recorded_outages)
        turns = self.episodes[rows] % self._pool
        slots = rows * self._kept + turns % self._kept if self._has_rows else np.zeros_like(rows)
        self.state.status["slot"][rows] = slots
        if self._stream:
            return
        seeds = self.seeds[rows] if self._workload.varies else np.zeros_like(rows)
        fresh = self._drawn_seed[slots] != seeds
        if self.information == "exact":
            fresh[:] = True
        if isinstance(self._workload, DrawnGraphs):
            self._workload.fill(self.instances.graph, slots[fresh], seeds[fresh], turns[fresh])
        elif fresh.any():
            graph = self._workload.sample(0, 0)
            for slot in np.unique(slots[fresh]).tolist():
                self.instances.put(slot, Instance(graph, self.platform))
        self._drawn_seed[slots] = seeds
        self._realise(rows, np.unique(slots[fresh]))

    def _realise(self, rows: IntArray, fresh: IntArray) -> None:
        """Finds how long tasks will take, what is known of it, and what follows from that.

        Args:
            rows: Episodes that begin.
            fresh: Rows of ``instances`` that have just been filled with expected durations.
        """
        slots = self.state.status["slot"][rows]
        durations, num_tasks = self.instances.graph.duration, self.instances.graph.num_tasks
        if self._expected is not durations:
            self._expected[fresh] = durations[fresh]
        if self.rules.mode == "dispatch":
            self._draw_luck(rows, slots)
        for row, slot in zip(rows.tolist(), slots.tolist(), strict=True) if self.information == "exact" else ():
            durations[slot] = self.state.actual[row]
        for slot in fresh.tolist() if self.information == "blind" else ():
            duration = durations[slot, : num_tasks[slot]]
            duration[np.isfinite(duration)] = duration[np.isfinite(duration)].mean()
        if fresh.size:
            prepare(self.instances, self._draft, fresh)

    def _draw_luck(self, rows: IntArray, slots: IntArray) -> None:
        """Finds how long the tasks of some episodes will take."""
        actual, graphs = self.state.actual, self.instances.graph
        realise(
            self._law,
            self._exposure,
            self.seeds,
            self.episodes,
            self._expected,
            graphs.num_tasks,
            slots,
            actual,
            rows,
        )
        for row in rows.tolist() if self._given else ():
            if row in self._given and self._given[row].slowdown is not None:
                actual[row, : self._given[row].graph.num_tasks] = self._given[row].realised_duration

    def _accept(self, instances: Sequence[Any] | None) -> list[Instance] | None:
        if instances is None:
            return None
        if self._stream:
            raise HetgymError("instance: a stream plays its own jobs, not given ones")
        accepted = []
        for problem in instances:
            if not isinstance(problem, Instance | TaskGraph):
                raise HetgymError(
                    f"instance: must be a hetgym Instance or TaskGraph, not {type(problem).__name__} ({problem!r})"
                )
            instance = problem if isinstance(problem, Instance) else Instance(problem, self.platform)
            self._check_playable(instance)
            accepted.append(instance)
        return accepted

    def _check_playable(self, instance: Instance) -> None:
        self.instances.check_fits(instance)
        if self.rules.contention in ("link", "fair") and instance.platform != self.platform:
            raise HetgymError(
                f"instance: where transfers share links, its platform must be the scenario's, {self.platform.name!r} "
                f"(given: {instance.platform.name!r})"
            )
        if len(instance.outages) > self.state.outages.shape[1]:
            raise HetgymError(
                f"instance: outages: at most {self.state.outages.shape[1]} (given: {len(instance.outages)})"
            )
        if len(instance.outages) and self.luck.mean_uptime < np.inf:
            raise HetgymError("instance: outages: the scenario draws its own (mean_uptime): leave one of both out")

    def _take(self, rows: IntArray, instances: Sequence[Instance]) -> None:
        """Makes the rows' episodes play given instances."""
        slots = self._num_drawn + rows
        for row, slot, instance in zip(rows.tolist(), slots.tolist(), instances, strict=True):
            self.instances.put(slot, replace(instance, information="expected"))
            self._put_outages(row, instance.outages if len(instance.outages) else self._recorded_outages)
            self._given[row] = instance
        self.state.status["slot"][rows] = slots
        self._realise(rows, slots)

    @property
    def _recorded_outages(self) -> FloatArray:
        return np.array(self.luck.outages, np.float64).reshape(-1, 3)

    def _put_outages(self, row: int, outages: FloatArray) -> None:
        """Writes recorded outages, (N, 3), by device and time; those that touch are one."""
        room, place = self.state.outages[row], -1
        room["device"] = -1
        for device, begin, end in sorted(outages.tolist()):
            if place >= 0 and room[place]["device"] == device and room[place]["end"] == begin:
                room[place]["end"] = end
            else:
                place += 1
                room[place] = int(device), begin, end

    def _advance(self, actions: IntArray) -> int:
        noteworthy: int = self._kernels.advance(self.handle, self._all_rows, actions, self.observes)
        return noteworthy

    @property
    def workload(self) -> GraphSource:
        """Where the graphs come from."""
        return self._workload

    @property
    def is_stream(self) -> bool:
        """Whether jobs keep arriving."""
        return self._stream is not None

    @property
    def handle(self) -> Any:
        """What compiled policies read: a handle of the `World`."""
        return self._handles[self._current]

    def name_action(self, tasks: IntArray, devices: IntArray, steps: IntArray | int = 0) -> IntArray:
        """Returns actions that name ready tasks directly, in the window or not.

        Args:
            tasks: int64 (B,).
            devices: int64 (B,), the device of each task.
            steps: int64 (B,), the speed step of each device; the highest by default.
        """
        pairs = tasks * self.platform.num_devices + devices
        return self.num_candidates + pairs * self.rules.speed_steps + steps

    def names_of(self, candidates: IntArray) -> IntArray:
        """Returns actions that name directly what candidates mean, so that they mean the same in another window.

        Args:
            candidates: int64 (B,), each shown and allowed.
        """
        pairs, steps = np.divmod(candidates - 1, self.rules.speed_steps)
        slots, devices = np.divmod(pairs, self.platform.num_devices)
        tasks = self.state.tasks["ready"][self._all_rows, slots]
        return np.where(candidates > 0, self.name_action(tasks, devices, steps), 0)

    def _candidates_named(self, names: IntArray) -> IntArray:
        pairs, steps = np.divmod(names, self.rules.speed_steps)
        tasks, devices = np.divmod(pairs, self.platform.num_devices)
        window = (self.num_candidates - 1) // (self.platform.num_devices * self.rules.speed_steps)
        slots = first_places(self.state.tasks["ready"][:, :window], self.state.status["num_ready"], tasks)
        candidates = 1 + (slots * self.platform.num_devices + devices) * self.rules.speed_steps + steps
        return np.where(slots >= 0, candidates, -1)

    def set_placement(self, insertion: bool) -> None:
        """Chooses for the episodes that have just begun whether tasks may go into gaps.

        It is part of a list scheduler's definition, so policies that are defined with one rule set it in their
        ``reset``.
        """
        self.state.status["insertion"] = insertion

    def restore_rules(self) -> None:
        """Undoes `set_placement`."""
        self.set_placement(self.rules.insertion)

    def instance(self, row: int) -> Instance:
        """Returns the instance that an episode plays; in a stream, the jobs whose runs are remembered."""
        if self.rules.mode == "plan":
            return Instance(self._graph(row), self._platform(row))
        seed, episode = int(self.seeds[row]), int(self.episodes[row])
        now = float(self.state.status["now"][row])
        outages = drawn_outages(self.luck, self.platform, seed, episode, now)
        if self._stream:
            jobs, templates, arrival = remembered_jobs(self._stream, self.state, self._world.stream.log, row)
            graph = jobs_as_graph(self._stream, self.platform, templates, arrival)
            slowdown = slowdowns_of_jobs(self._stream, self.platform, self.luck, seed, episode, jobs, templates)
            return Instance(graph, self.platform, slowdown, self.information, outages)
        given = self._given.get(row)
        if given is not None and len(given.outages):
            outages = given.outages
        if given is not None and given.slowdown is not None:
            return replace(given, information=self.information, outages=outages)
        graph = self._graph(row)
        slowdown = draw_slowdowns(self.luck, self.platform, seed, episode, graph.num_tasks)
        return Instance(graph, self._platform(row), slowdown, self.information, outages)

    def _graph(self, row: int) -> TaskGraph:
        if row in self._given:
            return self._given[row].graph
        return self._workload.sample(int(self.seeds[row]), int(self.episodes[row]) % self._pool)

    def _platform(self, row: int) -> Platform:
        return self._given[row].platform if row in self._given else self.platform

    def state_arrays(self) -> Mapping[str, NDArray[Any]]:
        """Returns the state, the seeds and what the last step gave."""
        if self._given:
            raise HetgymError("episodes that play given instances cannot be saved")
        return {"seeds": self.seeds, "episodes": self.episodes, **self._changing()}

    def _changing(self) -> dict[str, NDArray[Any]]:
        arrays = {"outcome": self.outcome, **self.state._asdict()}
        if self._stream:
            graph = {f"active_{name}": array for name, array in self.instances.graph._asdict().items()}
            derived = self.instances._asdict()
            stream = self._world.stream._asdict()
            arrays |= {name: stream[name] for name in ("device_factors", "arrivals", "histogram", "log")}
            arrays |= graph | {
                f"active_{name}": derived[name] for name in ("tasks", "edge_costs", "upward_rank", "tail")
            }
        return arrays

    def load_state_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continues from arrays that `state_arrays` gave."""
        self.seeds[:] = arrays["seeds"]
        self.episodes[:] = arrays["episodes"]
        rows = np.arange(self.num_envs)
        self._draw(rows)
        self._begun = True
        for name, array in self._changing().items():
            array[...] = arrays[name]
        self._forget_shown()
        self._show(rows)

    def copy_rows(self, sources: IntArray) -> None:
        """Makes every episode stand where another one stands, as the next step will show.

        Args:
            sources: int64 (B,), which one; it must play the same instance.
        """
        for array in self._changing().values():
            # As bytes: field by field it would take ten times as long.
            content = array.reshape(self.num_envs, -1).view(np.uint8)
            content[...] = content[sources]
        self._forget_shown()

    def _forget_shown(self) -> None:
        """Makes views show episodes anew, not just what has changed."""
        for view in self._views:
            view.mark["episode"] = -1

    def metrics(self, rows: IntArray) -> dict[str, NDArray[np.float64]]:
        """Returns what the docstring of the environments lists; of the jobs and energy once an episode is over."""
        status = self.state.status[rows]
        makespan, num_devices = status["makespan"], self.platform.num_devices
        busy = self.state.lanes["busy"][rows]
        elapsed = np.maximum(makespan - self._world.law["warmup"], 1e-300)
        metrics = {
            "makespan": makespan,
            "job_latency_mean": status["job_latency_mean"],
            "deadlines_missed": status["deadlines_missed"].astype(np.float64),
            "energy": status["energy"],
            "energy_delay_product": status["energy"] * makespan,
            "utilisation": busy.sum(axis=1) / num_devices / elapsed,
        }
        if self._stream:
            return metrics | self._stream_metrics(rows, elapsed)
        totals = self.instances.totals[status["slot"]]
        return metrics | {"heft_makespan": totals["heft_makespan"], "lower_bound": totals["lower_bound"]}

    def _stream_metrics(self, rows: IntArray, elapsed: FloatArray) -> dict[str, NDArray[np.float64]]:
        status = self.state.status[rows]
        counted = status["jobs_counted"].astype(np.float64)
        unit = float(self._world.stream.law["latency_unit"][0])
        quantiles = latency_quantiles(self._world.stream.histogram[rows], unit, (0.5, 0.95, 0.99))
        metrics = {
            "jobs_arrived": status["jobs_arrived"].astype(np.float64),
            "jobs_ended": status["jobs_ended"].astype(np.float64),
            "jobs_counted": counted,
            "job_latency_p50": quantiles[:, 0],
            "job_latency_p95": quantiles[:, 1],
            "job_latency_p99": quantiles[:, 2],
            "job_slowdown_mean": status["job_slowdown_sum"] / np.maximum(counted, 1.0),
            "throughput": counted / elapsed,
        }
        for index, device in enumerate(self.platform.devices):
            metrics[f"utilisation_{device.name}"] = self.state.lanes["busy"][rows, index] / elapsed
        return metrics

    def schedule(self, row: int) -> Schedule:
        """Returns what an episode has decided so far; in a stream, the runs that have ended and are remembered."""
        if self._stream:
            return remembered_schedule(self._stream, self.state, self._world.stream.log, row)
        status = self.state.status[row]
        num_tasks = self.instances.graph.num_tasks[status["slot"]]
        tasks, runs = self.state.tasks[row, :num_tasks], self.state.runs[row, :num_tasks]
        is_plan = self.rules.mode == "plan"
        return Schedule(
            device=tasks["device"].copy(),
            start=tasks["start"].copy(),
            finish=tasks["finish"].copy(),
            sequence=tasks["sequence"][: status["num_placed"]].copy(),
            decided=None if is_plan else runs["decided"].copy(),
            step=None if is_plan or self.rules.speed_steps == 1 else runs["step"].copy(),
        )

    def episode(self, row: int) -> pd.DataFrame:
        """Returns the schedule so far, one row a decided task, in order of decision (`Schedule.table`)."""
        return self.schedule(row).table(self.instance(row))

    def bars(self, row: int) -> pd.DataFrame:
        """Returns a bar for each decided task, on the lane of its device; groups are jobs, or tasks if there is one."""
        from .render import bars

        return bars(self.instance(row), self.schedule(row))

    def figure(self, row: int) -> Figure:
        """Returns a Gantt chart of the schedule so far."""
        from .render import gantt

        return gantt(self.instance(row), self.schedule(row), transfers=self.rules.contention == "none")
