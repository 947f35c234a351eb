"""What the kernels of Plan and of Dispatch work on, and what they have in common."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...compilation import inner
from ...workloads.task_graph import FloatArray, IntArray
from .features import View
from .instance import Instances, Problem, Records
from .list_scheduling import Plan, clear
from .ranks import transfer_time
from .reward import cost
from .state import Episode, State, Surroundings, is_allowed, is_open
from .transfers import Network

NOTHING = -(2**63)
"""The action that decides nothing, and only shows an episode as it is."""


class Templates(NamedTuple):
    """The kinds of job of a stream, N of them; without a stream there are none."""

    totals: Records  # (N,) of TOTAL
    duration: FloatArray  # (N, T, P) seconds, as known
    expected: FloatArray  # (N, T, P) seconds
    upward_rank: FloatArray  # (N, T) seconds
    tail: FloatArray  # (N, T, P) seconds
    tasks: Records  # (N, T + 1) of TASK
    edges: Records  # (N, E) of EDGE
    edge_costs: Records  # (N, E) of EDGE_COST
    share: FloatArray  # (N,) of jobs that are of this kind or one before it
    critical_path: FloatArray  # (N,) seconds, of least durations


class Stream(NamedTuple):
    """Where the jobs of a stream come from; in kernels, with what one episode knows of them."""

    law: Records  # (1,) of STREAM
    process: Records  # (1,) of PROCESS
    recorded: FloatArray  # (A,) seconds; recorded arrivals
    templates: Templates
    luck: Records  # (1,) of LUCK
    exposure: Records  # (P,) of EXPOSURE
    device_factors: FloatArray  # (B, P) how far off expected durations are on each device
    arrivals: Records  # (B, 2) of ARRIVAL: the next job, and the next to become active
    histogram: IntArray  # (B, BINS) counted jobs by latency
    log: Records  # (B, R) of LOGGED; goes round


class World(NamedTuple):
    """All that a kernel works on."""

    instances: Instances
    state: State
    outcome: Records  # (B,) of OUTCOME
    shown: View
    law: Records  # (1,) of LAW
    weights: FloatArray  # of the rewards
    luck: Records  # (1,) of LUCK
    network: Network
    stream: Stream


@inner
def episode_at(world: World, b: int) -> Any:
    """Returns where one episode stands."""
    state = world.state
    return Episode(
        state.status[b : b + 1],
        Plan(state.tasks[b], state.intervals[b], state.lanes[b]),
        state.options[b],
        state.runs[b],
        state.queues[b],
        state.touched[b],
        state.actual[b],
        state.jobs[b],
        world.law,
    )


@inner
def surroundings_of(world: World, b: int) -> Any:
    """Returns what one episode meets."""
    state, network = world.state, world.network
    return Surroundings(
        state.channels[b], state.flows[b], network.route, network.bandwidth, state.outages[b], world.luck
    )


@inner
def stream_at(world: World, b: int) -> Any:
    """Returns where one episode's jobs come from."""
    s = world.stream
    return Stream(
        s.law,
        s.process,
        s.recorded,
        s.templates,
        s.luck,
        s.exposure,
        s.device_factors[b],
        s.arrivals[b],
        s.histogram[b],
        s.log[b],
    )


@inner
def clear_episode(problem: Problem, episode: Episode, outcome: Records) -> None:
    """Undoes all decisions of an episode, and its rewards.

    Args:
        problem: What it plays.
        episode: Where it stands.
        outcome: (1,) of OUTCOME.
    """
    status, total = episode.status[0], problem.total[0]
    status.serial += 1
    status.num_placed = 0
    status.num_ready = 0
    status.num_touched = 0
    status.is_over = False
    status.makespan = 0.0
    status.bound = total.lower_bound
    status.makespan_unit = total.heft_makespan if total.heft_makespan > 0.0 else 1.0
    status.bound_unit = total.lower_bound if total.lower_bound > 0.0 else 1.0
    status.energy = 0.0
    status.idle_power = 0.0
    status.energy_unit = 0.0
    for device in range(problem.duration.shape[1]):
        status.idle_power += problem.steps[device, 0].idle_power
        status.energy_unit += (
            problem.steps[device, 0].idle_power + problem.steps[device, 0].power
        ) * status.makespan_unit
    if status.energy_unit == 0.0:
        status.energy_unit = 1.0
    status.deadlines_missed = 0
    clear(problem, episode.plan)
    outcome[0].reward = 0.0
    outcome[0].terminated = False
    outcome[0].invalid_action = False
    outcome[0].episode_return = 0.0
    outcome[0].episode_length = 0


@inner
def account(world: World, b: int, cost_before: float) -> None:
    """Writes what a decision gave an episode.

    Args:
        world: What the kernels work on.
        b: Which episode.
        cost_before: What it had cost before the decision.
    """
    outcome = world.outcome[b]
    outcome.terminated = world.state.status[b].is_over
    outcome.reward = cost_before - cost(world.state.status[b : b + 1], world.weights)
    outcome.episode_return += outcome.reward
    outcome.episode_length += 1


@inner
def find_inputs(problem: Problem, episode: Episode, task: int) -> None:
    """Finds when the inputs of a task, whose senders are all decided, are on each device."""
    plan, options = episode.plan, episode.options
    num_devices = problem.duration.shape[1]
    for device in range(num_devices):
        options[task, device].data_ready = problem.tasks[task].release
        options[task, device].transfer = 0.0
    for entry in range(problem.tasks[task].in_begin, problem.tasks[task + 1].in_begin):
        edge = problem.edges[problem.edge_costs[entry].incoming]
        sender = plan.tasks[edge.source]
        for device in range(num_devices):
            option = options[task, device]
            transfer = transfer_time(problem, edge.bytes, sender.device, device)
            option.data_ready = max(option.data_ready, sender.finish + transfer)
            option.transfer += transfer


@inner
def decode(problem: Problem, episode: Episode, num_candidates: int, action: int) -> tuple[int, int, int]:
    """Returns the (task, device, speed step) that an action means, or (-1, -1, -1) if it means none that is allowed.

    Args:
        problem: What is played.
        episode: Where it stands.
        num_candidates: A; actions from there on name a task directly (`TaskGraphSimulator.name_action`).
        action: From the agent.
    """
    num_devices, num_steps = problem.steps.shape
    if action <= 0:
        return -1, -1, -1
    first = 1 if action < num_candidates else num_candidates
    pair, step = divmod(action - first, num_steps)
    place, device = divmod(pair, num_devices)
    if action < num_candidates:
        if place >= episode.status[0].num_ready:
            return -1, -1, -1
        task = episode.plan.tasks[place].ready
    else:
        task = place
        if task >= problem.total[0].num_tasks:
            return -1, -1, -1
        if episode.plan.tasks[task].pending > 0 or episode.plan.tasks[task].device >= 0:
            return -1, -1, -1
    if not is_allowed(problem, episode, task, device, step):
        return -1, -1, -1
    return task, device, step


@inner
def is_any_allowed(problem: Problem, episode: Episode) -> bool:
    """Whether some ready task may be given to some device."""
    num_devices, num_steps = problem.steps.shape
    for device in range(num_devices):
        if is_open(episode, device):
            for position in range(episode.status[0].num_ready):
                for step in range(num_steps):
                    if is_allowed(problem, episode, episode.plan.tasks[position].ready, device, step):
                        return True
    return False


@inner
def first_allowed(problem: Problem, episode: Episode) -> tuple[int, int, int]:
    """Returns the allowed (task, device, speed step) of lowest index, or (-1, -1, -1) if there is none."""
    num_devices, num_steps = problem.steps.shape
    for position in range(episode.status[0].num_ready):
        task = episode.plan.tasks[position].ready
        for device in range(num_devices):
            for step in range(num_steps):
                if is_allowed(problem, episode, task, device, step):
                    return task, device, step
    return -1, -1, -1
