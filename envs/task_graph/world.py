"""What the kernels of Plan and of Dispatch work on, and what they have in common."""

from __future__ import annotations

from typing import NamedTuple

from ...compilation import inner
from .features import View
from .instance import Instances, Problem, Records
from .list_scheduling import clear
from .ranks import transfer_time
from .reward import reward
from .state import Episode, State, is_allowed

NOTHING = -(2**63)
"""The action that decides nothing, and only shows an episode as it is."""


class World(NamedTuple):
    """All that a kernel works on."""

    instances: Instances
    state: State
    outcome: Records  # (B,) of OUTCOME
    shown: View


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
    status.makespan = 0.0
    status.bound = total.lower_bound
    status.makespan_unit = total.heft_makespan if total.heft_makespan > 0.0 else 1.0
    status.bound_unit = total.lower_bound if total.lower_bound > 0.0 else 1.0
    clear(problem, episode.plan)
    outcome[0].reward = 0.0
    outcome[0].terminated = False
    outcome[0].invalid_action = False
    outcome[0].episode_return = 0.0
    outcome[0].episode_length = 0


@inner
def account(world: World, b: int, bound_before: float, is_over: bool, reward_code: int) -> None:
    """Writes what a decision gave an episode.

    Args:
        world: What the kernels work on.
        b: Which episode.
        bound_before: Its lower bound before the decision, seconds.
        is_over: Whether it has ended.
        reward_code: Place in `REWARDS`.
    """
    status, outcome = world.state.status[b], world.outcome[b]
    outcome.terminated = is_over
    outcome.reward = reward(reward_code, bound_before, status.bound, status.makespan, is_over, status.makespan_unit)
    outcome.episode_return += outcome.reward
    outcome.episode_length += 1
    if is_over:
        _settle_jobs(world, b)


@inner
def _settle_jobs(world: World, b: int) -> None:
    """Finds when the jobs of an episode that is over have ended."""
    graphs, status, finish = world.instances.graph, world.state.status[b], world.state.job_finish[b]
    n = status.slot
    num_jobs = graphs.num_jobs[n]
    finish[:] = 0.0
    for task in range(graphs.num_tasks[n]):
        job = graphs.job[n, task]
        finish[job] = max(finish[job], world.state.tasks[b, task].finish)
    status.job_latency_mean = 0.0
    status.deadlines_missed = 0
    for job in range(num_jobs):
        status.job_latency_mean += (finish[job] - graphs.jobs[n, job].arrival) / num_jobs
        status.deadlines_missed += finish[job] > graphs.jobs[n, job].deadline


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
def decode(problem: Problem, episode: Episode, num_candidates: int, action: int) -> tuple[int, int]:
    """Returns the (task, device) that an action means, or (-1, -1) if it means none that is allowed.

    Args:
        problem: What is played.
        episode: Where it stands.
        num_candidates: A; actions from there on name a task directly (`TaskGraphSimulator.name_action`).
        action: From the agent.
    """
    num_devices = problem.duration.shape[1]
    if action <= 0:
        return -1, -1
    if action < num_candidates:
        position, device = divmod(action - 1, num_devices)
        if position >= episode.status[0].num_ready:
            return -1, -1
        task = episode.plan.tasks[position].ready
    else:
        task, device = divmod(action - num_candidates, num_devices)
        if task >= problem.total[0].num_tasks:
            return -1, -1
        if episode.plan.tasks[task].pending > 0 or episode.plan.tasks[task].device >= 0:
            return -1, -1
    if not is_allowed(problem, episode, task, device):
        return -1, -1
    return task, device


@inner
def first_allowed(problem: Problem, episode: Episode) -> tuple[int, int]:
    """Returns the allowed (task, device) of lowest index, or (-1, -1) if there is none."""
    for position in range(episode.status[0].num_ready):
        task = episode.plan.tasks[position].ready
        for device in range(problem.duration.shape[1]):
            if is_allowed(problem, episode, task, device):
                return task, device
    return -1, -1
