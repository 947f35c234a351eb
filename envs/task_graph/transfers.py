"""How transfers get their shares of links and ports, as `docs/dispatch.md` has it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...compilation import inner, rare
from ...hardware_models import Platform
from ...workloads.task_graph import FloatArray, IntArray
from .instance import Problem
from .ranks import transfer_time
from .rules import Contention
from .state import Episode, Surroundings

NONE, LINK, NIC, FAIR = range(4)
"""Codes of `CONTENTIONS`."""

_ROUNDING = 1e-12
"""Transfers whose ends differ by less than this part of the time end together."""


class Network(NamedTuple):
    """What transfers share."""

    route: IntArray  # (P, P, H) the channels that data pass from device to device, then -1
    bandwidth: FloatArray  # (C,) byte/s of each channel

    @classmethod
    def of(cls, platform: Platform, contention: Contention) -> Network:
        """Returns the channels of a platform: its links, or its devices' ports; none without contention."""
        devices = [device.name for device in platform.devices]
        pairs = [(one, two) for one in range(len(devices)) for two in range(len(devices)) if one != two]
        routes: dict[tuple[int, int], list[int]] = {}
        if contention == "nic":
            routes = {pair: list(pair) for pair in pairs}
        elif contention != "none":
            number = {id(link): index for index, link in enumerate(platform.links)}
            for one, two in pairs:
                routes[one, two] = [number[id(link)] for link in platform.route(devices[one], devices[two])]
        hops = max((len(route) for route in routes.values()), default=0)
        table = np.full((len(devices), len(devices), hops), -1)
        for (one, two), route in routes.items():
            table[one, two, : len(route)] = route
        if contention in ("none", "nic"):
            return cls(table, np.full(len(devices) if contention == "nic" else 0, np.inf))
        return cls(table, np.array([link.bandwidth for link in platform.links]))


@inner
def send_inputs(problem: Problem, episode: Episode, around: Surroundings, task: int, device: int) -> None:
    """Sends the inputs of a task that has just been given to a device."""
    run, contention = episode.runs[task], episode.law[0].contention
    run.flows = 0
    if contention == NONE:
        run.inputs = episode.options[task, device].data_ready
        return
    run.inputs = episode.status[0].now
    for entry in range(problem.tasks[task].in_begin, problem.tasks[task + 1].in_begin):
        edge = problem.edges[problem.edge_costs[entry].incoming]
        source = episode.plan.tasks[edge.source].device
        if source == device:
            continue
        if contention == FAIR:
            _begin_flow(episode, around, task, source, device, edge.bytes)
        else:
            seconds = transfer_time(problem, edge.bytes, source, device)
            run.inputs = max(run.inputs, _book(episode, around, source, device, seconds))
    if run.flows > 0:
        _share(episode, around)


@rare
def _book(episode: Episode, around: Surroundings, source: int, target: int, seconds: float) -> float:
    """Books all channels of a route as soon as they are free, and returns when the transfer ends."""
    begin = episode.status[0].now
    for hop in range(around.route.shape[2]):
        channel = around.route[source, target, hop]
        if channel >= 0:
            begin = max(begin, around.channels[channel].free)
    for hop in range(around.route.shape[2]):
        channel = around.route[source, target, hop]
        if channel >= 0:
            around.channels[channel].free = begin + seconds
    return float(begin + seconds)


@inner
def _begin_flow(episode: Episode, around: Surroundings, task: int, source: int, target: int, size: float) -> None:
    """Adds a transfer to those that share links; `_share` gives it a rate."""
    status = episode.status[0]
    flow = around.flows[status.num_flows]
    flow.task = task
    flow.source = source
    flow.target = target
    flow.left = size
    flow.rate = 0.0
    episode.runs[task].flows += 1
    status.num_flows += 1


@inner
def next_flow_end(episode: Episode, around: Surroundings) -> float:
    """Returns when the first shared transfer ends, seconds; inf if there is none."""
    time = np.inf
    for f in range(episode.status[0].num_flows):
        time = min(time, around.flows[f].end)
    return time


@rare
def end_flows(problem: Problem, episode: Episode, around: Surroundings) -> None:
    """Ends the shared transfers that are due, and lets the others have what they leave."""
    status, kept = episode.status[0], 0
    due = status.now * (1.0 + _ROUNDING)
    count = status.num_flows
    for f in range(count):
        flow = around.flows[f]
        if flow.end <= due:
            run = episode.runs[flow.task]
            run.flows -= 1
            run.inputs = max(run.inputs, status.now + problem.links[flow.source, flow.target].latency)
        else:
            _keep_flow(around, f, kept)
            kept += 1
    if kept < count:
        status.num_flows = kept
        _share(episode, around)


@rare
def drop_flows(episode: Episode, around: Surroundings, task: int) -> None:
    """Stops the shared transfers to a task."""
    status, kept = episode.status[0], 0
    for f in range(status.num_flows):
        if around.flows[f].task != task:
            _keep_flow(around, f, kept)
            kept += 1
    if kept < status.num_flows:
        status.num_flows = kept
        _share(episode, around)


@inner
def _keep_flow(around: Surroundings, f: int, place: int) -> None:
    flow, kept = around.flows[f], around.flows[place]
    kept.task = flow.task
    kept.source = flow.source
    kept.target = flow.target
    kept.left = flow.left
    kept.rate = flow.rate
    kept.end = flow.end


@rare
def _share(episode: Episode, around: Surroundings) -> None:
    """Gives all shared transfers their max-min fair rates, by filling links progressively.

    Bertsekas and Gallager, Data Networks, 2nd edition, 1992, section 6.5.2.
    """
    status, channels, flows, route = episode.status[0], around.channels, around.flows, around.route
    for channel in range(channels.size):
        channels[channel].rest = around.bandwidth[channel]
        channels[channel].flows = 0
    unshared = status.num_flows
    for f in range(status.num_flows):
        flow = flows[f]
        flow.left = max(flow.left - flow.rate * (status.now - status.flows_at), 0.0)
        flow.rate = -1.0
        for hop in range(route.shape[2]):
            if route[flow.source, flow.target, hop] >= 0:
                channels[route[flow.source, flow.target, hop]].flows += 1
    status.flows_at = status.now
    while unshared > 0:
        narrowest, share = -1, np.inf
        for channel in range(channels.size):
            if channels[channel].flows > 0 and channels[channel].rest / channels[channel].flows < share:
                narrowest, share = channel, channels[channel].rest / channels[channel].flows
        for f in range(status.num_flows):
            if flows[f].rate < 0.0 and _passes(around, flows[f].source, flows[f].target, narrowest):
                flows[f].rate = share
                flows[f].end = status.now + flows[f].left / share
                unshared -= 1
                for hop in range(route.shape[2]):
                    channel = route[flows[f].source, flows[f].target, hop]
                    if channel >= 0:
                        channels[channel].flows -= 1
                        channels[channel].rest = max(channels[channel].rest - share, 0.0)


@inner
def _passes(around: Surroundings, source: int, target: int, channel: int) -> bool:
    passes = False
    for hop in range(around.route.shape[2]):
        passes |= around.route[source, target, hop] == channel
    return passes
