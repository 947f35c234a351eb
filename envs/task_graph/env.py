"""The Gymnasium faces of the task-graph family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.scenario import Scenario
from ..core.single import SingleEnv
from ..core.vector import BatchedEnv


class TaskGraphPlanEnv(SingleEnv):
    """Decides which task of a job graph runs on which device, before anything runs.

    ## Description
    A directed acyclic graph of tasks is to run on unlike devices. A task takes a different time on every device;
    data from a task to its successor take time if the two run on different devices. At each step one task whose
    predecessors are all decided is given a device. It starts there as early as its inputs and the device allow,
    in a gap between decided tasks if one holds it (``placement: insertion``).

    ## Action Space
    ``Discrete(1 + ready_window * P)``. Action 0 waits, and is never allowed here. Action ``1 + slot * P + device``
    puts the slot-th most urgent ready task (by upward rank, ties by index) on a device. A masked action does not
    raise: the lowest-index allowed one is executed.

    ## Observation Space
    A dictionary (``observation="flat"``: the same numbers as one Box). Features are float32, clipped to [-10, 10],
    and listed one by one in `hetgym.envs.task_graph.features.PLAN_SCHEMA`.

    | key | shape | dtype | content |
    |---|---|---|---|
    | ``candidates`` | (A, 15) | float32 | features of each possible action, zeros where it is masked |
    | ``action_mask`` | (A,) | int8 | 1 where an action is allowed |
    | ``context`` | (8,) | float32 | features of the situation |
    | ``nodes`` | (N, 12) | float32 | the P devices, then the tasks, then padding |
    | ``node_jobs`` | (N,) | int32 | which job a task is of; N for devices and padding |
    | ``edges`` | (2, E) | int32 | sender and receiver, as indices of nodes |
    | ``edge_features`` | (E, 1) | float32 | mean transfer time |
    | ``counts`` | (2,) | int32 | how many nodes and edges there are |
    | ``candidate_nodes`` | (A, 2) | int32 | each candidate's task and device as nodes; N where it is masked |

    ## Starting State
    Nothing is decided. The graph is that of (seed, episode).

    ## Reward
    ``lower-bound`` (default): minus the increase of a lower bound on the makespan, over the makespan of HEFT's
    schedule. An episode returns -(makespan - lower bound at reset) / HEFT makespan. ``makespan``, ``energy`` and
    ``deadlines``: minus these, at the end (`hetgym.envs.task_graph.reward`).

    ## Episode End
    Terminates when all tasks are decided; is never truncated.

    ## Information
    ``invalid_action`` where a masked action was asked for. At the end ``metrics``: ``makespan``, ``heft_makespan``,
    ``lower_bound`` (at reset) and ``job_latency_mean`` (from arrival to end) in seconds; ``deadlines_missed``, of jobs;
    ``energy`` in J, ``energy_delay_product`` (with the makespan) in J s; ``utilisation``, the mean share of time that
    devices are busy. ``env.unwrapped.episode()`` gives the schedule as a table.

    ## Arguments
    ``scenario`` (a name, a path or a `Scenario`; default ``random``), its settings by keyword (``num_tasks=50``),
    ``reward``, ``observation`` (``dict`` or ``flat``), ``render_mode`` (``rgb_array``: a Gantt chart), ``copy``
    (default true; false gives live arrays that are valid for one further step).
    ``reset(options={"instance": ...})`` plays an `Instance` or a `TaskGraph` that fits the scenario's bounds.

    ```python
    import gymnasium
    import hetgym

    env = gymnasium.make("hetgym/TaskGraphPlan-v0", scenario="random", num_tasks=50)
    observation, info = env.reset(seed=0)
    ```

    ## References
    Topcuoglu, Hariri, Wu, IEEE TPDS 13(3), 2002, doi:10.1109/71.993206: the model and HEFT.
    Zhang et al., Learning to Dispatch, NeurIPS 2020, arXiv:2010.12367: the reward by a lower bound.

    ## Version History
    v0: the first.
    """

    def __init__(self, scenario: str | Path | Scenario = "random", **arguments: Any) -> None:
        """Prepares the environment; the arguments are those of the class."""
        super().__init__(scenario, mode="plan", **arguments)


class TaskGraphPlanVectorEnv(BatchedEnv):
    """`TaskGraphPlanEnv`, many at once; takes ``num_envs`` besides, and ``copy`` is false by default."""

    def __init__(self, scenario: str | Path | Scenario = "random", **arguments: Any) -> None:
        """Prepares the environments; the arguments are those of `TaskGraphPlanEnv`, and ``num_envs``."""
        super().__init__(scenario, mode="plan", **arguments)


class TaskGraphDispatchEnv(SingleEnv):
    """Decides which task of which job runs on which device, while tasks run and take longer than expected.

    ## Description
    Jobs, directed acyclic graphs of tasks, run on unlike devices: one graph, several that arrive, or a stream that does
    not end. A task can be decided when its predecessors have finished and its job has arrived. It is given to a
    device, and stands in line there: a device runs its tasks one at a time in the order in which they were given to it,
    each as soon as its inputs have arrived. Tasks take their expected duration times a factor that is drawn for each
    task and known to nobody before the task has finished. Transfers may have to share links, devices may fail, run
    at several speeds and under a power cap. Time passes when nothing can be decided, or when the agent waits.
    ``docs/dispatch.md`` has all rules.

    ## Action Space
    ``Discrete(1 + ready_window * P * M)``, for P devices with up to M speed steps. Action 0 waits until the next event;
    it is masked where none will come. Action ``1 + (slot * P + device) * M + step`` gives the slot-th most urgent ready
    task (by upward rank, ties by job, then index) to a device at a speed step; it is masked where the device cannot
    run the task, is down, has ``queue_limit`` tasks waiting behind the one in front, or where the power cap would not
    hold. A masked action does not raise: the lowest-index allowed one is executed.

    ## Observation Space
    That of `TaskGraphPlanEnv` with further features of candidates (22 in all), context (13) and nodes (13), listed in
    `hetgym.envs.task_graph.features.DISPATCH_SCHEMA`. What has not finished is shown as it is expected. In a stream the
    graph is that of the jobs that are active, at most ``active_jobs``, each in a place of its own.

    ## Starting State
    Nothing is decided. Jobs and luck are those of (seed, episode).

    ## Reward
    ``lower-bound`` (default): minus the increase of a bound on the makespan that expected durations give, over the
    makespan of HEFT's plan; at the end the bound is the makespan. ``jobs-in-system`` (default in streams): minus the
    integral of the jobs in the system over time, over HEFT's makespan (in a stream its mean over the kinds of job); a
    finite episode returns minus the sum of all latencies. ``makespan``, ``energy``, ``deadlines`` and ``elapsed``
    (time): minus these; ``weighted``: the sum of those in ``reward_weights``.

    ## Episode End
    Terminates when all jobs have ended, or at the ``horizon`` of a stream, which is part of the problem (``elapsed`` in
    the context shows how near it is); is never truncated.

    ## Information
    Those of `TaskGraphPlanEnv`; ``heft_makespan`` and ``lower_bound`` are those of expected durations. In a stream,
    instead of these two: ``jobs_arrived``, ``jobs_ended``, and of the jobs that have arrived after the ``warmup`` and
    ended (``jobs_counted``) ``job_latency_mean``, ``_p50``, ``_p95``, ``_p99`` in seconds (quantiles within 0.6 %),
    ``job_slowdown_mean`` (latency over the job's critical path) and ``throughput`` in jobs per second;
    ``utilisation_<device>``. In the schedule, what has not finished is as it is expected; in a stream it holds the last
    2,048 runs that have ended.

    ## Arguments
    Those of `TaskGraphPlanEnv`; the default scenario is ``random-noisy``. `TaskGraphScenario` explains the settings.

    ```python
    import gymnasium
    import hetgym

    env = gymnasium.make("hetgym/TaskGraphDispatch-v0", scenario="random-noisy", noise_sigma=0.5)
    observation, info = env.reset(seed=0)
    ```

    ## References
    Grinsztajn, Beaumont, Jeannot, Preux (READYS), IEEE Cluster 2021, doi:10.1109/Cluster48925.2021.00031: deciding
    at run time, with waiting, under noise.
    Sung et al. (DeepSoCS), Electronics 9(6), 2020, doi:10.3390/electronics9060936: jobs that arrive at a SoC.
    Mao et al. (Decima), SIGCOMM 2019, doi:10.1145/3341302.3342080: the reward by jobs in the system, moving delays.

    ## Version History
    v0: the first.
    """

    def __init__(self, scenario: str | Path | Scenario = "random-noisy", **arguments: Any) -> None:
        """Prepares the environment; the arguments are those of the class."""
        super().__init__(scenario, mode="dispatch", **arguments)


class TaskGraphDispatchVectorEnv(BatchedEnv):
    """`TaskGraphDispatchEnv`, many at once; takes ``num_envs`` besides, and ``copy`` is false by default."""

    def __init__(self, scenario: str | Path | Scenario = "random-noisy", **arguments: Any) -> None:
        """Prepares the environments; the arguments are those of `TaskGraphDispatchEnv`, and ``num_envs``."""
        super().__init__(scenario, mode="dispatch", **arguments)
