"""HEFT beside SAGA's on the same graphs, in CPU time.

    python benchmarks/peers.py

SAGA (`pip install anrg-saga`) is not a dependency of hetgym, and its licence forbids commercial use: install it in an
environment of its own. Without it, only hetgym is measured. SAGA knows a speed of each device and a cost of each task,
so both schedule related machines here; makespans are compared, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from hetgym.agents import make_policy
from hetgym.envs.task_graph.instance import Instance
from hetgym.hardware_models import Device, Link, Platform
from hetgym.workloads import TaskGraph, random_task_graph

try:
    import saga
    from saga.schedulers.heft import HeftScheduler
except ImportError:
    saga = None

SIZES = ((100, 4), (100, 16), (1000, 4), (1000, 16))


def problem(num_tasks: int, num_devices: int) -> Instance:
    """Returns a random graph of the costs that tasks have on the first kind, on devices of several speeds."""
    graph = random_task_graph(num_tasks, 2, seed=1)
    plain = TaskGraph(graph.name, ("any",), graph.duration[:, :1], graph.edges, graph.edge_bytes)
    speeds = np.random.default_rng(0).uniform(0.5, 2.0, num_devices)
    devices = tuple(Device(name=f"d{index}", kind="any", speed=speed) for index, speed in enumerate(speeds))
    links = (Link(between=tuple(device.name for device in devices), bandwidth=1.0),)
    return Instance(plain, Platform(name="related", devices=devices, links=links))


def for_saga(instance: Instance) -> tuple[object, object]:
    """Returns the same problem as SAGA's network and task graph."""
    graph, devices = instance.graph, instance.platform.devices
    names = [device.name for device in devices]
    network = saga.Network.create(
        nodes=[(device.name, device.speed) for device in devices],
        edges=[(one, other, 1.0) for place, one in enumerate(names) for other in names[place + 1 :]],
    )
    tasks = [(name, float(cost)) for name, cost in zip(graph.task_names, graph.duration[:, 0], strict=True)]
    edges = [
        (graph.task_names[sender], graph.task_names[receiver], float(size))
        for sender, receiver, size in zip(*graph.edges, graph.edge_bytes, strict=True)
    ]
    return network, saga.TaskGraph.create(tasks=tasks, dependencies=edges)


def milliseconds(function: Callable[[], object], repeats: int) -> float:
    """Returns the least CPU time of several runs."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times) * 1e3


def main() -> None:
    heft = make_policy("heft")
    print("HEFT, CPU milliseconds: tasks x devices, hetgym, SAGA, ratio; makespans of both")
    for num_tasks, num_devices in SIZES:
        instance = problem(num_tasks, num_devices)
        heft.schedule(instance)  # type: ignore[attr-defined]
        own = milliseconds(lambda: heft.schedule(instance), 20)  # type: ignore[attr-defined]  # noqa: B023
        line = f"  {num_tasks:5} x {num_devices:2} {own:9.3f}"
        if saga is None:
            print(line + "   SAGA is not installed")
            continue
        network, graph = for_saga(instance)
        peer = milliseconds(lambda: HeftScheduler().schedule(network, graph), 2)  # noqa: B023
        makespan = HeftScheduler().schedule(network, graph).makespan
        mine = heft.schedule(instance).makespan  # type: ignore[attr-defined]
        print(line + f" {peer:9.1f} {peer / own:8.0f}   {mine:.6g} {makespan:.6g}")


if __name__ == "__main__":
    main()
