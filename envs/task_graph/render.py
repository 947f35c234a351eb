"""Pictures of schedules."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from .instance import Instance
from .schedule import Schedule

LETTER_WIDTH = 0.009
"""A letter's share of the chart's width; names that are wider than their bar are left out."""


def gantt(instance: Instance, schedule: Schedule, title: str | None = None) -> Figure:
    """Returns a Gantt chart: a row for each device, a bar for each task, a line for each transfer.

    Colours tell jobs apart, or tasks where there is only one job. A line leads from the end of the sender, on its
    device, to when the data have arrived on the receiver's.

    Args:
        instance: The problem.
        schedule: Its decisions, all or the first few.
        title: Above the chart; by default the graph's name and the makespan.
    """
    return gantts(instance, {title or f"{instance.graph.name}: makespan {schedule.makespan:.6g} s": schedule})


def gantts(instance: Instance, schedules: Mapping[str, Schedule]) -> Figure:
    """Returns the Gantt charts of several schedules of one instance, one above the other on the same clock.

    Args:
        instance: The problem.
        schedules: By the title of their charts.
    """
    height = 1.2 + 0.55 * instance.platform.num_devices
    figure = Figure(figsize=(10, height * len(schedules)), layout="constrained")
    end = max(schedule.makespan for schedule in schedules.values())
    charts = figure.subplots(len(schedules), sharex=True, squeeze=False)[:, 0]
    for axes, (title, schedule) in zip(charts, schedules.items(), strict=True):
        _draw(axes, instance, schedule, end)
        axes.set_title(title)
    charts[-1].set_xlabel("time (s)")
    charts[-1].set_xlim(0.0, max(end * 1.01, 1e-12))
    return figure


def _draw(axes: Axes, instance: Instance, schedule: Schedule, end: float) -> None:
    """Draws a schedule on a clock that ends, in seconds, then."""
    devices = instance.platform.devices
    colours = mpl.colormaps["tab10"]
    number = instance.graph.job if instance.graph.num_jobs > 1 else np.arange(instance.graph.num_tasks)
    for task in schedule.sequence.tolist():
        device, start = int(schedule.device[task]), float(schedule.start[task])
        width = float(schedule.finish[task]) - start
        colour = colours(int(number[task]) % colours.N)
        axes.barh(device, width, left=start, height=0.7, color=colour, edgecolor="white", linewidth=0.5)
        name = instance.graph.task_names[task]
        if width >= LETTER_WIDTH * len(name) * end:
            axes.text(start + width / 2, device, name, ha="center", va="center", fontsize=7, clip_on=True)
    axes.add_collection(LineCollection(_transfers(instance, schedule), colors="0.35", linewidths=0.6, alpha=0.6))
    axes.set_yticks(range(len(devices)), [device.name for device in devices])
    axes.set_ylim(len(devices) - 0.5, -0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _transfers(instance: Instance, schedule: Schedule) -> list[list[tuple[float, float]]]:
    """Returns a line (time, device) -> (time, device) for each transfer between decided tasks."""
    latency, seconds_per_byte = instance.platform.latency, instance.platform.seconds_per_byte
    lines = []
    for (sender, receiver), size in zip(
        instance.graph.edges.T.tolist(), instance.graph.edge_bytes.tolist(), strict=True
    ):
        source, target = int(schedule.device[sender]), int(schedule.device[receiver])
        if source != target and source >= 0 and target >= 0:
            sent = float(schedule.finish[sender])
            arrived = sent + float(latency[source, target] + size * seconds_per_byte[source, target])
            lines.append([(sent, float(source)), (arrived, float(target))])
    return lines
